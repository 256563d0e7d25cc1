"""Sersic profiles, against GalSim's."""

import galsim
import numpy as np
import pytest

from btk_generative import sersic

RADII = np.array([0.05, 0.3, 1.0, 2.5, 6.0])


@pytest.mark.parametrize("n", [0.5, 1.0, 2.3, 4.0, 6.0])
def test_profiles_are_galsim_s(n):
    profile = galsim.Sersic(n, half_light_radius=1.0)
    brightness = [profile.xValue(radius, 0) for radius in RADII]
    np.testing.assert_allclose(sersic.surface_brightness(RADII, n), brightness, rtol=1e-5)
    light = [profile.calculateIntegratedFlux(radius) for radius in RADII[2:]]
    np.testing.assert_allclose(sersic.light_within(RADII[2:], n), light, rtol=1e-5)
    np.testing.assert_allclose(sersic.radius_within(sersic.light_within(RADII, n), n), RADII)
    assert sersic.light_within(1.0, n) == pytest.approx(0.5)


def test_the_half_light_radius_of_a_sum():
    small, large, share = np.array([0.1, 0.3]), np.array([0.8, 0.4]), np.array([0.7, 0.2])
    radius = sersic.half_light_radius([(small, share, 4), (large, 1 - share, 1)])
    for k in range(2):
        both = galsim.DeVaucouleurs(half_light_radius=small[k], flux=share[k])
        both += galsim.Exponential(half_light_radius=large[k], flux=1 - share[k])
        inside = sum(
            part.flux * sersic.light_within(radius[k] / size, n)
            for part, size, n in zip(both.obj_list, (small[k], large[k]), (4, 1), strict=True)
        )
        assert inside == pytest.approx(0.5, abs=1e-9)

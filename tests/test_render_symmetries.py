"""What must hold of any renderer, whatever galaxy, place and PSF."""

import galsim
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from test_render import LOPSIDED, profile

from btk_generative.models import LightProfiles
from btk_generative.render import SurveyRenderer

STAMP, PIXEL = 40, 0.2
RENDERER = SurveyRenderer([LOPSIDED], PIXEL, STAMP)
TURNED = SurveyRenderer([LOPSIDED.rotate(90 * galsim.degrees)], PIXEL, STAMP)
FINE = SurveyRenderer([LOPSIDED], PIXEL / 2, 2 * STAMP)

poses = st.fixed_dictionaries(
    {
        "x": st.floats(-3, 3),
        "y": st.floats(-3, 3),
        "angle": st.floats(-7, 7),
        "g1": st.floats(-0.5, 0.5),
        "g2": st.floats(-0.5, 0.5),
    }
)
galaxies = st.builds(
    profile, st.integers(0, 50), st.sampled_from([15, 32]), st.sampled_from([0.05, 0.15])
)
few = settings(max_examples=15, deadline=None, derandomize=True)


def draw(renderer, galaxy, flux=1.0, **pose):
    return renderer.draw(galaxy, [[flux]], **pose)[0, 0].astype(float)


def agree(one, other):
    return np.abs(one - other).max() <= 1e-5 * np.abs(other).max()


@few
@given(galaxies, poses)
def test_turning_sky_and_psf_turns_the_image(galaxy, pose):
    turned = {
        "x": -pose["y"],
        "y": pose["x"],
        "angle": pose["angle"] + np.pi / 2,
        "g1": -pose["g1"],
        "g2": -pose["g2"],
    }
    # rows go up in y, so a turn from +x to +y is clockwise in the order of the array
    assert agree(draw(TURNED, galaxy, **turned), np.rot90(draw(RENDERER, galaxy, **pose), -1))


@few
@given(galaxies, poses)
def test_turning_the_pixels_of_a_profile_is_its_angle(galaxy, pose):
    turned = LightProfiles(np.rot90(galaxy.images, -1, axes=(1, 2)), galaxy.pixel_scale)
    back = pose | {"angle": pose["angle"] - np.pi / 2}
    assert agree(draw(RENDERER, turned, **back), draw(RENDERER, galaxy, **pose))


@few
@given(galaxies, poses, st.floats(1e-3, 1e9))
def test_image_is_linear_in_flux(galaxy, pose, flux):
    assert agree(draw(RENDERER, galaxy, flux, **pose), flux * draw(RENDERER, galaxy, **pose))


@few
@given(galaxies, poses, st.integers(-5, 5), st.integers(-5, 5))
def test_moving_by_whole_pixels_moves_the_array(galaxy, pose, dx, dy):
    there = draw(
        RENDERER, galaxy, **pose | {"x": pose["x"] + dx * PIXEL, "y": pose["y"] + dy * PIXEL}
    )
    moved = np.roll(draw(RENDERER, galaxy, **pose), (dy, dx), axis=(0, 1))
    inside = slice(5, STAMP - 5), slice(5, STAMP - 5)
    # the box, and with it the cut of the PSF's far wings, follows the distance from the centre
    assert np.abs(there[inside] - moved[inside]).max() <= 1e-5 * max(there.max(), moved.max())


@few
@given(galaxies, poses)
def test_drawing_finer_and_binning_agrees(galaxy, pose):
    binned = draw(FINE, galaxy, **pose).reshape(STAMP, 2, STAMP, 2).sum((1, 3))
    assert agree(binned, draw(RENDERER, galaxy, **pose))

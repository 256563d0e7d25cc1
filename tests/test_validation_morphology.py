"""The morphology statistics against closed forms, brute force and GalSim."""

import galsim
import numpy as np
import pytest

from btk_generative.validation import morphology


def gaussian(x, y, sigma, amplitude, size=64):
    """Returns a Gaussian of a given amplitude on a square image."""
    row, column = np.indices((size, size))
    return amplitude * np.exp(-((column - x) ** 2 + (row - y) ** 2) / (2 * sigma**2))


def noisy(image, rms=0.003, seed=0):
    return image + rms * np.random.default_rng(seed).standard_normal(image.shape)


def test_gini_is_the_mean_absolute_difference_of_pairs_over_twice_the_mean():
    values = np.random.default_rng(1).lognormal(size=(8, 8))
    n = values.size
    pairs = np.abs(values.ravel()[:, None] - values.ravel()[None]).sum()
    assert morphology.gini(values) == pytest.approx(pairs / (2 * n * (n - 1) * values.mean()))


def test_gini_ignores_dark_pixels_and_is_zero_for_even_light():
    flux = np.zeros((16, 16))
    flux[4:8, 4:8] = 3.0
    assert morphology.gini(flux) == pytest.approx(0.0)


def test_m20_of_light_in_a_ring_and_at_the_centre():
    flux = np.zeros((21, 21))
    flux[10, 10] = 1.0
    for x, y in ((0, 10), (20, 10), (10, 0), (10, 20)):
        flux[y, x] = 2.0
    # 20 % of 9 is 1.8, so one of the four outer pixels, a quarter of the moment, is the bright part
    assert morphology.m20(flux) == pytest.approx(np.log10(1 / 4))


def test_multimode_of_two_plateaus_is_the_ratio_of_areas_times_the_share_of_pixels():
    flux = np.full((64, 64), 0.0)
    flux[20:40, 20:40] = 1.0
    flux[22:28, 22:28] = 5.0
    flux[30:34, 30:34] = 5.0
    assert morphology.multimode(flux) == pytest.approx((16 / 36) * (16 / 400))


def test_multimode_of_one_peak_is_zero():
    assert morphology.multimode(gaussian(31, 31, 4, 1.0)) == 0


def test_intensity_is_the_flux_ratio_of_two_separate_blobs():
    image = gaussian(24, 31, 2.5, 1.0) + gaussian(40, 31, 2.5, 0.25)
    image[image < 1e-4] = 0
    log_intensity, deviation = morphology._intensity_and_deviation(image)
    assert 10**log_intensity == pytest.approx(0.25, rel=0.02)
    # the centroid lies a fifth of the way from the brighter blob to the fainter
    radius = np.sqrt(np.count_nonzero(image) / np.pi)
    assert deviation == pytest.approx(16 / 5 / radius, rel=0.02)


def test_intensity_of_one_blob_is_undefined_and_its_peak_is_its_centroid():
    log_intensity, deviation = morphology._intensity_and_deviation(gaussian(31, 31, 3, 1.0))
    assert np.isnan(log_intensity)
    assert deviation == pytest.approx(0, abs=1e-9)


def test_the_mask_is_the_galaxy_and_not_its_neighbour():
    image = noisy(gaussian(31, 31, 3, 1.0) + gaussian(52, 52, 1.0, 1.0))
    mask = morphology.galaxy_mask(image)
    assert mask[gaussian(31, 31, 3, 1.0) > 0.1].all()
    assert not mask[gaussian(31, 31, 3, 1.0) < 0.01].any()


def test_the_mask_has_no_holes_inside():
    mask = morphology.galaxy_mask(noisy(gaussian(31, 31, 4, 1.0)))
    around = sum(np.roll(mask, (a, b), (0, 1)).astype(int) for a in (-1, 0, 1) for b in (-1, 0, 1))
    assert not (~mask & (around - mask > 4))[1:-1, 1:-1].any()


def test_moments_are_those_of_the_gaussian_that_was_drawn():
    profile = galsim.Gaussian(sigma=0.2, flux=7.0).shear(g1=0.2, g2=-0.1).shift(0.015, -0.03)
    stamp = profile.drawImage(nx=128, ny=128, scale=0.03, method="no_pixel").array
    found = morphology.measure(noisy(stamp, 1e-6))
    assert found.flux == pytest.approx(7.0, rel=1e-3)
    assert (found.x, found.y) == pytest.approx((0.5, -1.0), abs=1e-3)
    assert (found.g1, found.g2) == pytest.approx((0.2, -0.1), abs=1e-4)
    assert found.g == pytest.approx(np.hypot(0.2, 0.1), abs=1e-4)
    assert found.size == pytest.approx(0.2, rel=1e-3)
    assert found.rho4 == pytest.approx(2.0, rel=1e-3)


def test_an_empty_stamp_gives_nan_and_no_error():
    found = morphology.measure(np.zeros((128, 128)))
    assert np.isnan(found.rho4)
    assert np.isnan(found.gini)


def test_a_mask_without_light_gives_nan_and_no_error():
    dark = noisy(gaussian(31, 31, 4, 1.0)) - 10
    assert morphology.galaxy_mask(dark).any()
    assert np.isnan(morphology.nonparametric(dark)).all()


def test_statistics_do_not_depend_on_the_unit_of_flux():
    image = noisy(gaussian(31, 31, 4, 1.0) + gaussian(40, 33, 2, 0.5))
    one, ten = morphology.nonparametric(image), morphology.nonparametric(8 * image)
    assert ten == pytest.approx(one, rel=1e-9)


def test_a_stamp_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"128 x 128 pixels, not \(64, 64\)"):
        morphology.measure(np.zeros((64, 64)))

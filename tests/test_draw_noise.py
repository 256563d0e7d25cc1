"""The noise of a blend, against the Poisson distribution."""

import numpy as np
import pytest
from btk.survey import get_surveys
from scipy.stats import chisquare, poisson

from btk_generative.draw.noise import add_noise
from btk_generative.surveys import sky_levels

LSST = get_surveys("LSST")
SKY = sky_levels(LSST)


@pytest.mark.parametrize("mean", [1000.0, 1612.3, 24790.0])
def test_large_means_give_poisson_variates(mean):
    images = np.zeros((1, 6, 600, 601))
    add_noise(images, "background", LSST, np.full(6, mean), seed=1, first=0)
    draws = images.ravel() + mean
    np.testing.assert_allclose(draws, np.round(draws), rtol=0, atol=1e-9)
    edges = np.unique(poisson.ppf(np.linspace(0.001, 0.999, 60), mean)) + 0.5
    counts = np.bincount(np.searchsorted(edges, draws), minlength=len(edges) + 1)
    expected = np.diff(poisson.cdf(edges, mean), prepend=0, append=1) * len(draws)
    assert chisquare(counts, expected).pvalue > 1e-3


def noise(kind, signal=0.0, blend=0, seed=3):
    images = np.full((1, 6, 120, 120), float(signal))
    add_noise(images, kind, LSST, SKY, seed, blend)
    return images[0] - signal


def test_noise_of_signal_and_sky_has_their_variance():
    signal = 20_000.0
    for kind, level in (("all", SKY + signal), ("background", SKY), ("galaxy", 0 * SKY + signal)):
        drawn = noise(kind, signal)
        pixels = drawn[0].size
        assert (np.abs(drawn.mean((1, 2))) < 4.5 * np.sqrt(level / pixels)).all(), kind
        assert drawn.var((1, 2)) == pytest.approx(level, rel=4.5 * np.sqrt(2 / pixels)), kind


def test_noise_is_independent_between_pixels_bands_and_blends():
    one, other = noise("all"), noise("all", blend=1)
    limit = 4.5 / np.sqrt(one[0].size)
    flat = np.concatenate([one.reshape(6, -1), other.reshape(6, -1)])
    correlation = np.corrcoef(flat) - np.eye(12)
    assert np.abs(correlation).max() < limit
    for band in one:
        assert abs(np.corrcoef(band[:, 1:].ravel(), band[:, :-1].ravel())[0, 1]) < limit
        assert abs(np.corrcoef(band[1:].ravel(), band[:-1].ravel())[0, 1]) < limit


def test_noise_is_a_function_of_seed_and_blend():
    np.testing.assert_array_equal(noise("all", blend=4), noise("all", blend=4))
    assert (noise("all", blend=4) != noise("all", blend=5)).mean() > 0.9
    assert (noise("all", seed=4) != noise("all", seed=5)).mean() > 0.9
    several = np.zeros((3, 6, 120, 120))
    add_noise(several, "all", LSST, SKY, 3, 4)
    np.testing.assert_array_equal(several[1], noise("all", blend=5))

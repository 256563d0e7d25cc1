"""Pixel noise of a blend."""

import zlib

import numba
import numpy as np
from btk.survey import Survey
from surveycodex.utilities import mean_sky_level

from btk_generative.randomness import NOISE, stream

_LARGE = 1000.0  # sky level from which Poisson variates are drawn by inverting their distribution


def sky_levels(survey: Survey) -> np.ndarray:
    """Returns the mean sky level of every band, electrons per pixel, shape ``[bands]``."""
    filters = [survey.get_filter(band) for band in survey.available_filters]
    return np.array([mean_sky_level(survey, filt).to_value("electron") for filt in filters])


def add_noise(
    images: np.ndarray, kind: str, survey: Survey, sky: np.ndarray, seed: int, blend: int
) -> None:
    """Adds noise to the images of one blend, in place.

    Background noise is a Poisson draw of the mean sky level less that level, galaxy noise a
    Poisson draw of the signal. With both, signal and sky are drawn together: BTK draws the two
    from the same random numbers, which correlates them and makes the variance too large. Each
    blend and band has a stream of its own, so that "background" noise is the same whatever the
    galaxies look like.

    Args:
        images: Electrons per pixel, shape ``[bands, N, N]``.
        kind: "none", "background", "galaxy" or "all".
        survey: Survey whose bands these are.
        sky: Its `sky_levels`.
        seed: Seed of the generator.
        blend: Index of the blend.
    """
    if kind == "none":
        return
    for image, band, level in zip(images, survey.available_filters, sky, strict=True):
        key = zlib.crc32(f"{survey.name}/{band}".encode())
        rng = np.random.default_rng(stream(seed, NOISE, blend, key))
        if kind == "galaxy":
            image[:] = rng.poisson(np.maximum(image, 0.0))
            continue
        mean = np.maximum(image + level, 0.0) if kind == "all" else np.full(image.shape, level)
        draw = _poisson_of_large_mean(rng, mean) if level >= _LARGE else rng.poisson(mean)
        if kind == "all":
            np.subtract(draw, level, out=image)
        else:
            image += draw - level


def _poisson_of_large_mean(rng: np.random.Generator, mean: np.ndarray) -> np.ndarray:
    """Returns Poisson variates, several times as fast as NumPy's rejection.

    A normal variate goes through the expansion of the inverse of the distribution function of Giles
    2016, ACM Trans. Math. Softw. 42, 7 (Algorithm 955), his Q_N2. From a mean of 1000 on it is off
    by less than 0.001 before it is rounded down.
    """
    draw = rng.standard_normal(mean.shape)
    _invert(draw, mean)
    return draw


@numba.njit(nogil=True, cache=True)
def _invert(draw, mean):
    """Replaces normal variates by Poisson variates, ``[N, N]``."""
    for row in range(draw.shape[0]):
        for column in range(draw.shape[1]):
            z, root = draw[row, column], np.sqrt(mean[row, column])
            shift = mean[row, column] + z * z / 6.0 + 1.0 / 3.0
            draw[row, column] = np.floor(shift + z * (root - (2.0 + z * z) / (72.0 * root)))

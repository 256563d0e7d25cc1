"""Pixel noise of a blend."""

import zlib

import numpy as np
from btk.survey import Survey
from surveycodex.utilities import mean_sky_level

from btk_generative.randomness import NOISE, stream


def add_noise(images: np.ndarray, kind: str, survey: Survey, seed: int, blend: int) -> None:
    """Adds noise to the images of one blend, in place.

    Background noise is a Poisson draw of the mean sky level less that level, galaxy noise a
    Poisson draw of the signal. With both, signal and sky are drawn together: BTK draws the two
    from the same random numbers, which correlates them and makes the variance too large. Each
    blend and band has a stream of its own, so that "background" noise is the same whatever the
    galaxies look like.

    Args:
        images: Electrons per pixel, shape ``[bands, N, N]``.
        kind: "none", "background", "galaxy" or "all".
        survey: Survey whose sky level is used.
        seed: Seed of the generator.
        blend: Index of the blend.
    """
    if kind == "none":
        return
    for image, band in zip(images, survey.available_filters, strict=True):
        key = zlib.crc32(f"{survey.name}/{band}".encode())
        rng = np.random.default_rng(stream(seed, NOISE, blend, key))
        sky = mean_sky_level(survey, survey.get_filter(band)).to_value("electron")
        if kind == "background":
            image += rng.poisson(sky, image.shape) - sky
        else:
            level = sky if kind == "all" else 0.0
            image[:] = rng.poisson(np.maximum(image + level, 0.0)) - level

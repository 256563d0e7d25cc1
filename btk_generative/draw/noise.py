"""Pixel noise of blends."""

import functools
import itertools
import zlib

import numpy as np
import scipy.special
from btk.survey import Survey

from btk_generative.randomness import NOISE, stream
from btk_generative.render.compiled import compiled

_LARGE = 1000.0  # sky level from which Poisson variates are drawn by inverting their distribution
_MANTISSA = 9  # bits of the mantissa by which the quantiles are tabulated
_REST = np.int32((1 << (23 - _MANTISSA)) - 1)
_STEP = np.float32(2.0**-31)


def add_noise(
    images: np.ndarray, kind: str, survey: Survey, sky: np.ndarray, seed: int, first: int
) -> None:
    """Adds noise to the images of blends, in place.

    Background noise is a Poisson draw of the mean sky level less that level, galaxy noise a
    Poisson draw of the signal. With both, signal and sky are drawn together: BTK draws the two
    from the same random numbers, which correlates them and makes the variance too large. Each
    blend and band has random numbers of its own, so that "background" noise is the same whatever
    the galaxies look like.

    Args:
        images: Electrons per pixel, shape ``[n, bands, N, N]``.
        kind: "none", "background", "galaxy" or "all".
        survey: Survey whose bands these are.
        sky: Its `sky_levels`.
        seed: Seed of the generator.
        first: Index of the first blend.
    """
    if kind == "none":
        return
    blends, bands = range(first, first + len(images)), images.shape[1]
    large = (sky >= _LARGE) & (kind != "galaxy")
    for blend, index in itertools.product(blends, np.flatnonzero(~large)):
        image, level = images[blend - first, index], sky[index]
        random = np.random.default_rng(_stream(survey, seed, blend, index))
        if kind == "galaxy":
            image[:] = random.poisson(np.maximum(image, 0.0))
        elif kind == "all":
            np.subtract(random.poisson(np.maximum(image + level, 0.0)), level, out=image)
        else:
            image += random.poisson(level, image.shape) - level
    if large.any():
        words = -(-images[0, 0].size // 2)  # of 64 bits for a band, which has its own part
        raw = [
            np.random.PCG64(_stream(survey, seed, blend)).random_raw((bands, words))
            for blend in blends
        ]
        bits = np.array(raw).view(np.uint32)
        _add_poisson_to_all(images, np.flatnonzero(large), sky, kind == "all", bits, *_quantiles())


def _stream(survey: Survey, seed: int, blend: int, *band: int) -> np.random.SeedSequence:
    return stream(seed, NOISE, blend, zlib.crc32(survey.name.encode()), *band)


@functools.cache
def _quantiles() -> tuple[np.ndarray, np.int32]:
    """Returns quantiles of the normal distribution at p / 2 for p from 2^-32 to 1.

    The values of p are all numbers with so many leading bits of a float32's mantissa, so that the
    place of a p in the table is the leading bits of its representation; linear interpolation is off
    by less than 1e-6.

    Returns:
        The table, float32, and the leading bits of its first p.
    """
    first = (127 - 32) << _MANTISSA
    leading = np.arange(first, (127 << _MANTISSA) + 2, dtype=np.uint32)
    p = (leading << (23 - _MANTISSA)).view(np.float32).astype(np.float64)
    return scipy.special.ndtri(p / 2).astype(np.float32), np.int32(first)


_index = np.uintp  # of an unsigned index the compiler need not ask whether it counts from the end

_compiled = compiled(error_model="numpy", fastmath={"contract", "nsz"})


@_compiled
def _add_poisson(image, level, signal, words, quantiles, first):
    """Adds to an image ``[N, N]`` the noise of Poisson variates of a large mean.

    A normal variate goes through the expansion of the inverse of the distribution function of Giles
    2016, ACM Trans. Math. Softw. 42, 7 (Algorithm 955), his Q_N2. From a mean of 1000 on it is off
    by less than 0.001 before it is rounded down.

    Args:
        image: Electrons per pixel; where ``signal`` is true they are part of the Poisson mean.
        level: The sky, electrons.
        signal: Whether to draw signal and sky, or the sky only.
        words: 32 random bits for every pixel, at least N * N: a sign and a probability.
        quantiles: See `_quantiles`.
        first: See `_quantiles`.
    """
    columns = image.shape[1]
    normal = np.empty(columns, np.float32)
    represented = normal.view(np.int32)
    for row in range(image.shape[0]):  # in separate loops, so that the compiler vectorises them
        random = words[row * columns : (row + 1) * columns]
        for column in range(_index(columns)):
            word = random[column]
            normal[column] = (np.float32(word >> np.uint32(1)) + np.float32(0.5)) * _STEP
        for column in range(_index(columns)):
            bits = represented[column]
            at = _index((bits >> np.int32(23 - _MANTISSA)) - first)
            rest = np.float32(bits & _REST) * np.float32(1 / (_REST + 1))
            z = quantiles[at] + rest * (quantiles[at + _index(1)] - quantiles[at])
            normal[column] = z if random[column] & np.uint32(1) == 0 else -z
        for column in range(_index(columns)):
            z = np.float64(normal[column])
            value = image[row, column] if signal else 0.0
            mean = max(value + level, 1.0)
            root = np.sqrt(mean)
            shift = mean + z * z / 6.0 + 1.0 / 3.0
            draw = np.floor(shift + z * (root - (2.0 + z * z) / (72.0 * root)))
            image[row, column] = draw - level + (image[row, column] - value)


@_compiled
def _add_poisson_to_all(images, bands, sky, signal, words, quantiles, first):
    """Does so for some of the bands of images ``[n, :, N, N]``, without Python between."""
    for blend in range(len(images)):
        for band in bands:
            image, random = images[blend, band], words[blend, band]
            _add_poisson(image, sky[band], signal, random, quantiles, first)

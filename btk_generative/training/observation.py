"""What a telescope does to a light profile, on a square grid: its PSF and its noise.

Both are diagonal in Fourier space, as arrays ``[S, S // 2 + 1]`` in the layout of
`numpy.fft.rfft2`.
"""

from functools import cache

import galsim
import numpy as np

_FLOOR = 1e-3
"""Smallest noise power, over the largest. A frame finer than the camera's pixels has frequencies
at which nothing was observed, not even noise; they must not weigh infinitely."""


_REACH = 15
"""Pixels of the camera over which noise is correlated at most."""


def psf_transfer(psf: galsim.GSObject, size: int, pixel_scale: float) -> np.ndarray:
    """Returns by what a PSF multiplies the Fourier transform of a profile given as pixels.

    A profile between its pixels is what GalSim's quintic interpolant makes of it, as when galaxies
    are drawn. The product with this array is therefore what GalSim draws for the convolution of
    that `galsim.InterpolatedImage` and the PSF, up to light that leaves the stamp and comes in on
    the other side.

    Args:
        psf: The PSF, pixel response included, centred on its origin.
        size: Pixels S on a side, even.
        pixel_scale: Of the grid, arcsec.

    Returns:
        complex128 array of shape ``[S, S // 2 + 1]``.
    """
    half = size // 2
    bounds = galsim.BoundsI(0, half, -half, half - 1)
    kimage = galsim.Image(bounds, dtype=complex, scale=2 * np.pi / (size * pixel_scale))
    values = psf.drawKImage(image=kimage, recenter=False).array
    quintic = galsim.Quintic()
    response = np.array([quintic.kval(2 * np.pi * k / size) for k in range(half + 1)])
    response_y = response[np.abs(np.arange(-half, half))]
    return np.fft.ifftshift(values * response_y[:, None] * response, axes=0)


def noise_power(noise: galsim.BaseCorrelatedNoise, size: int, pixel_scale: float) -> np.ndarray:
    """Returns the expected ``|FFT|^2 / S^2`` of a stamp of noise.

    The stamp is a window on a wider field, not periodic: the correlation at a lag counts in
    proportion to the pairs of pixels that lie this far apart inside the stamp. White noise of
    variance v has power v everywhere. Nowhere is it below a thousandth of its peak.

    Args:
        noise: GalSim's noise model.
        size: Pixels S on a side, even.
        pixel_scale: Of the grid, arcsec.

    Returns:
        float64 array of shape ``[S, S // 2 + 1]``, positive.
    """
    lags = np.arange(1 - size, size)
    image = galsim.Image(2 * size - 1, 2 * size - 1, scale=pixel_scale, dtype=float)
    correlation = noise.drawImage(image, scale=pixel_scale).array
    pairs = 1 - np.abs(lags) / size
    folded = np.zeros((size, size))
    np.add.at(
        folded, (lags[:, None] % size, lags[None] % size), correlation * pairs * pairs[:, None]
    )
    power = np.fft.rfft2(folded).real
    return np.maximum(power, _FLOOR * power.max())


def resampled(
    noise: galsim.BaseCorrelatedNoise, pixel_scale: float, turn: galsim.Angle, new_scale: float
) -> galsim.BaseCorrelatedNoise:
    """Returns the noise of an image that is turned and drawn on another grid.

    Values between the pixels come from GalSim's quintic interpolant, which acts on the correlation
    function twice, once for either pixel of a pair. (GalSim's own interpolation of it, linear,
    gives a sixth of the noise at the highest frequencies back too much.)

    Args:
        noise: Of the image before.
        pixel_scale: Of the image before, arcsec.
        turn: Angle by which the image is turned.
        new_scale: Of the image after, arcsec; its pixels count the light of another area.
    """
    size = 2 * _REACH + 1
    grid = galsim.Image(size, size, scale=pixel_scale, dtype=float)
    before = noise.drawImage(grid, scale=pixel_scale).array
    lags, response = _response()
    half = int(np.ceil((_REACH + lags[-1]) * pixel_scale / new_scale))
    step = np.arange(-half, half + 1) * new_scale / pixel_scale
    cos, sin = np.cos(turn.rad), np.sin(turn.rad)
    x = cos * step + sin * step[:, None]
    y = cos * step[:, None] - sin * step
    at = np.arange(-_REACH, _REACH + 1)
    near_x, near_y = (
        np.interp(np.abs(place.ravel()[:, None] - at), lags, response, right=0.0)
        for place in (x, y)
    )
    after = np.einsum("li,li->l", near_y @ before, near_x).reshape(x.shape)
    after *= (new_scale / pixel_scale) ** 4
    profile = galsim.InterpolatedImage(galsim.Image(after, scale=new_scale), normalization="sb")
    return galsim.BaseCorrelatedNoise(noise.rng, profile, galsim.PixelScale(new_scale))


@cache
def _response() -> tuple[np.ndarray, np.ndarray]:
    """Returns the quintic interpolant's correlation with itself at lags in pixels, from 0 on."""
    quintic, step = galsim.Quintic(), 1 / 128
    x = np.arange(-3, 3 + step, step)
    values = np.array([quintic.xval(place) for place in x])
    both = np.convolve(values, values) * step
    middle = len(both) // 2
    return np.arange(len(both) - middle) * step, both[middle:]


def add_noise(
    image: np.ndarray, noise: galsim.BaseCorrelatedNoise, pixel_scale: float, seed: int
) -> np.ndarray:
    """Adds noise to a stamp, cut out of a field of twice its width.

    Args:
        image: Counts per pixel, shape ``[S, S]``.
        noise: GalSim's noise model.
        pixel_scale: Of the stamp, arcsec.
        seed: Seed in [1, 2**31).

    Returns:
        Stamp of the same shape.
    """
    size = image.shape[0]
    field = galsim.Image(2 * size, 2 * size, scale=pixel_scale, dtype=float)
    field.addNoise(noise.copy(rng=galsim.BaseDeviate(seed)))
    return image + field.array[:size, :size]


def flip_x(transform: np.ndarray) -> np.ndarray:
    """Returns the transform ``[..., S, S // 2 + 1]`` of the image mirrored in x."""
    return np.conj(flip_y(transform))


def flip_y(transform: np.ndarray) -> np.ndarray:
    """Returns the transform ``[..., S, S // 2 + 1]`` of the image mirrored in y."""
    return np.roll(transform[..., ::-1, :], 1, axis=-2)

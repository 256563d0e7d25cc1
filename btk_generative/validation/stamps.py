"""HST stamps of galaxies: an ACS PSF, COSMOS noise, 128 x 128 pixels of 0.03 arcsec."""

import galsim
import numpy as np
from scipy import fft

from btk_generative.hst.instrument import cosmos_noise
from btk_generative.randomness import stream
from btk_generative.validation.morphology import PIXEL_SCALE, STAMP_SIZE

_GRID = 256
_STEP = 2 * np.pi / (_GRID * PIXEL_SCALE)


def convolved(galaxy: galsim.GSObject, psf: galsim.GSObject) -> np.ndarray:
    """Returns a galaxy as the camera sees it, without noise (the pixel is part of the PSF).

    GalSim draws it wherever its transform fits into 256 x 256 pixels. Wide and steep profiles ask
    for up to 4096, a second each; those are transformed on 256 pixels too, and what they have
    beyond 3.84 arcsec folds back: less than 0.5 % of the peak for 99 % of them.

    Args:
        galaxy: Light profile.
        psf: PSF, with the pixel's response.

    Returns:
        Counts per pixel, float64, shape ``[128, 128]``, centred on (63.5, 63.5).
    """
    seen = galsim.Convolve(galaxy, psf)
    if seen.getGoodImageSize(PIXEL_SCALE) <= _GRID:
        image = galsim.Image(STAMP_SIZE, STAMP_SIZE, scale=PIXEL_SCALE, dtype=float)
        return seen.drawImage(image, method="no_pixel").array
    edge = (_GRID - STAMP_SIZE) // 2
    frequencies = np.arange(-_GRID // 2, _GRID // 2) * _STEP
    half_pixel = np.exp(0.5j * PIXEL_SCALE * frequencies)
    transform = _transform(galaxy) * _transform(psf)
    transform *= half_pixel[:, None] * np.exp(
        0.5j * PIXEL_SCALE * _STEP * np.arange(_GRID // 2 + 1)
    )
    folded = fft.irfft2(np.fft.ifftshift(transform, axes=0), s=(_GRID, _GRID))
    return np.fft.fftshift(folded)[edge:-edge, edge:-edge]


def _transform(profile: galsim.GSObject) -> np.ndarray:
    """Returns the Fourier transform on the half plane kx >= 0, ky ascending."""
    bounds = galsim.BoundsI(0, _GRID // 2, -_GRID // 2, _GRID // 2 - 1)
    image = galsim.Image(bounds, dtype=complex, scale=_STEP)
    return profile.drawKImage(image=image, recenter=False).array


def choices(seed: int, row: int) -> tuple[float, int]:
    """Returns what a row's stamp has besides the galaxy: which PSF, in [0, 1), and a noise seed."""
    rng = np.random.default_rng(stream(seed, row))
    return rng.random(), int(rng.integers(1, 2**31))


def add_cosmos_noise(stamp: np.ndarray, noise_seed: int) -> np.ndarray:
    """Returns a stamp with the correlated noise of COSMOS F814W images (rms 0.00316 counts).

    Args:
        stamp: Counts per pixel, shape ``[128, 128]``.
        noise_seed: Seed in [1, 2**31).
    """
    noise = cosmos_noise()
    noise.rng.seed(noise_seed)
    image = galsim.Image(stamp.copy(), scale=PIXEL_SCALE)
    image.addNoise(noise)
    return image.array

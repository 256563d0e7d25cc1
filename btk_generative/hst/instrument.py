"""HST's ACS in F814W: point-spread functions and noise."""

from functools import cache
from pathlib import Path

import galsim
from astropy.io import fits

from btk_generative.errors import CatalogError
from btk_generative.hst.cosmos import PIXEL_SCALE


@cache
def read_psfs(path: str | Path) -> tuple[galsim.InterpolatedImage, ...]:
    """Returns the PSFs of a FITS file, an image of 0.03 arcsec pixels per HDU, each of flux 1.

    Raises:
        CatalogError: If the file cannot be read or holds no image.
    """
    try:
        with fits.open(path) as hdus:
            images = [hdu.data.astype(float) for hdu in hdus if hdu.data is not None]
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read as FITS images of PSFs ({error})") from error
    if not images:
        raise CatalogError(f"{path}: holds no image of a PSF")
    return tuple(
        galsim.InterpolatedImage(galsim.Image(image, scale=PIXEL_SCALE), flux=1.0)
        for image in images
    )


@cache
def aperture_psf() -> galsim.GSObject:
    """Returns the diffraction of HST's aperture, with the camera's pixel of 0.05 arcsec."""
    optics = galsim.OpticalPSF(lam=814, diam=2.4, obscuration=0.33)
    return galsim.Convolve(optics, galsim.Pixel(0.05))


@cache
def cosmos_noise() -> galsim.BaseCorrelatedNoise:
    """Returns the correlated noise of COSMOS images, which keeps the power that it has computed."""
    return galsim.getCOSMOSNoise(rng=galsim.BaseDeviate(1))

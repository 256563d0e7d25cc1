"""A catalogue like GalSim's COSMOS sample, of a few galaxies made here."""

import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Table

SCALE = 0.03
NAME = "tiny.fits"


def galaxy(row):
    """Returns the galaxy of a row: an exponential disk of its own flux, size, shape and angle."""
    disk = galsim.Exponential(half_light_radius=0.2 + 0.02 * row, flux=20.0 + row)
    return disk.shear(q=0.5, beta=(0.3 * row) * galsim.radians)


def psf(row):
    """Returns the PSF of a row; it is elliptical."""
    return galsim.Gaussian(fwhm=0.1).shear(g1=0.1, g2=0.02 * row)


def write(folder, count=6, size=64, nan_row=None):
    """Writes catalogue, images, PSFs, noise, fits and selection; returns the catalogue's path."""
    rng = galsim.BaseDeviate(5)
    images, psfs = [], []
    for row in range(count):
        image = galsim.Image(size, size, scale=SCALE, dtype=np.float32)
        galsim.Convolve(galaxy(row), psf(row)).drawImage(image, method="no_pixel")
        image.addNoise(galsim.getCOSMOSNoise(rng=rng))
        if row == nan_row:
            image.array[3, 4] = np.nan
        images.append(image)
        psfs.append(psf(row).drawImage(nx=41, ny=41, scale=SCALE, method="no_pixel"))
    galsim.fits.writeMulti(images, str(folder / "images.fits"))
    galsim.fits.writeMulti(psfs, str(folder / "psfs.fits"))
    correlation = galsim.Image(41, 41, scale=SCALE)
    noise = galsim.getCOSMOSNoise()
    noise.drawImage(correlation).write(str(folder / "noise.fits"))
    rows = np.arange(count)
    ident = 1000 + 7 * rows
    Table(
        {
            "IDENT": ident,
            "RA": 150.0 + rows,
            "DEC": 2.0 + rows,
            "MAG": 25.94 - 2.5 * np.log10(20.0 + rows),
            "BAND": ["F814W"] * count,
            "WEIGHT": np.ones(count),
            "GAL_FILENAME": ["images.fits"] * count,
            "PSF_FILENAME": ["psfs.fits"] * count,
            "GAL_HDU": rows,
            "PSF_HDU": rows,
            "PIXEL_SCALE": np.full(count, SCALE),
            "NOISE_MEAN": np.zeros(count),
            "NOISE_VARIANCE": np.full(count, noise.getVariance()),
            "NOISE_FILENAME": ["noise.fits"] * count,
            "stamp_flux": 20.0 + rows,
        }
    ).write(folder / NAME)
    sersic, radius = np.zeros((count, 8)), 0.2 + 0.02 * rows
    sersic[:, 1], sersic[:, 2], sersic[:, 3], sersic[:, 7] = radius / SCALE, 1.0, 0.5, 0.3 * rows
    hlr, flux = np.zeros((count, 3)), np.zeros((count, 4))
    hlr[:, 0], flux[:, 0] = radius, 20.0 + rows
    Table(
        {
            "IDENT": ident,
            "mag_auto": 25.94 - 2.5 * np.log10(20.0 + rows),
            "flux_radius": radius / SCALE,
            "zphot": 0.5 + 0.1 * rows,
            "sersicfit": sersic,
            "bulgefit": np.zeros((count, 16)),
            "fit_status": np.ones((count, 5), dtype=int),
            "use_bulgefit": np.zeros(count, dtype=int),
            "hlr": hlr,
            "flux": flux,
        }
    ).write(folder / NAME.replace(".fits", "_fits.fits"))
    Table(
        {
            "IDENT": ident,
            "sn_ellip_gauss": np.full(count, 50.0),
            "min_mask_dist_pixels": np.full(count, 30.0),
            "average_mask_adjacent_pixel_count": np.zeros(count),
            "peak_image_pixel_count": np.ones(count),
            "dmag": np.zeros(count),
        }
    ).write(folder / NAME.replace(".fits", "_selection.fits"))
    return folder / NAME


def pixels(path, row):
    """Returns the image of a row as it is in the file."""
    return fits.getdata(path.parent / "images.fits", row)

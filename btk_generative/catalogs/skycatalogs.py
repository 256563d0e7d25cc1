"""Galaxy tables of skyCatalogs (imSim, OpenUniverse), to the CatSim schema.

Sizes, angles and lensing are those of cosmoDC2 (see that module). There are no magnitudes: they
are integrated here from each component's spectrum, which the table holds as luminosities in 30
top-hat bands (``sed_val_*``) or, where it lacks those, names as a file of the SED library
(``*_sed_file_path``) with its magnitude at 500 nm (``*_magnorm``). Knots of star formation follow
the disk's shape and are added to its flux. Extinction by the Milky Way is not applied.
"""

import os
from functools import cache
from pathlib import Path

import galsim
import numpy as np
from astropy.cosmology import FlatLambdaCDM

from btk_generative.catalogs.cosmodc2 import (
    BANDS,
    LENSING,
    SIZES,
    angle_columns,
    catsim_columns,
)
from btk_generative.catalogs.files import Source, require
from btk_generative.errors import CatalogError

TELLTALES = ("sersic_disk",)

COSMOLOGY = FlatLambdaCDM(H0=71.0, Om0=0.2648)
"""The cosmology of cosmoDC2 (Korytov et al. 2019, ApJS 245, 26)."""

EDGES = np.array(
    "1000 1246 1552 1933 2407 2998 3184 3381 3590 3812 4048 4299 4565 4848 5148 5467 5806 6166 6548"
    " 6954 7385 7843 8329 8846 9395 9978 11467 13177 15143 17402 19998".split(),
    dtype=float,
)
"""Edges of the top-hat bands [angstrom], rest frame."""

_COMPONENTS = ("bulge", "disk", "knots")
_AB = 3631e-23  # erg / s / cm^2 / Hz
_LIGHT = 2.99792458e18  # angstrom / s


def columns(source: Source) -> list[str]:
    """Columns to read from a source."""
    wanted = [require(source, n) for n in ("ra", "dec", "redshift", "redshift_hubble", *SIZES)]
    wanted += angle_columns(source)
    for component in _present(source.names):
        if f"sed_val_{component}" in source.names:
            wanted.append(f"sed_val_{component}")
        else:
            wanted.append(require(source, f"{component}_magnorm"))
            # knots have the disk's spectrum
            owner = "disk" if component == "knots" else component
            wanted.append(require(source, f"{owner}_sed_file_path"))
    return list(dict.fromkeys(wanted + [n for n in ("galaxy_id", *LENSING) if n in source.names]))


def i_magnitude(source: Source) -> None:
    """There is no column by which faint galaxies are left out: magnitudes are integrated."""
    return None


def convert(
    rows: dict, path: str | os.PathLike, sed_library: str | os.PathLike | None = None
) -> dict:
    """Columns of CatSim from some rows of a source."""
    flux = {}
    for component in _present(rows):
        if f"sed_val_{component}" in rows:
            flux[component] = tophat_flux(
                rows[f"sed_val_{component}"], rows["redshift_hubble"], rows["redshift"]
            )
        else:
            owner = "disk" if component == "knots" else component
            flux[component] = _library_flux(
                rows[f"{owner}_sed_file_path"],
                rows[f"{component}_magnorm"],
                rows["redshift"],
                path,
                sed_library,
            )
    bulge = flux["bulge"]
    total = np.add.reduce(list(flux.values()))
    share = np.divide(bulge, total, out=np.zeros_like(bulge), where=total > 0)
    scale = 10 ** (0.4 * 22.5)
    return catsim_columns(
        rows,
        {band: scale * total[:, k] for k, band in enumerate(BANDS)},
        {band: share[:, k] for k, band in enumerate(BANDS)},
    )


def tophat_flux(
    luminosity: np.ndarray, redshift_hubble: np.ndarray, redshift: np.ndarray
) -> np.ndarray:
    """Flux in the LSST bands of galaxies whose spectra are top-hat luminosities.

    The unit of luminosity is that of an object of absolute magnitude 0, the distance that of the
    cosmological redshift, as for the magnitudes of cosmoDC2. Inside a band the energy per
    wavelength is constant, as skyCatalogs has it.

    Args:
        luminosity: Rest-frame luminosities in the 30 bands of `EDGES` [n, 30].
        redshift_hubble: Cosmological redshift [n].
        redshift: Redshift with the peculiar velocity [n].

    Returns:
        Flux relative to an object of magnitude 0 [n, 6].
    """
    luminosity = np.asarray(luminosity, dtype=float)
    if luminosity.shape[1:] != (len(EDGES) - 1,):
        raise ValueError(
            f"sed_val columns hold {luminosity.shape[1:]} luminosities, not {len(EDGES) - 1}"
        )
    modulus = COSMOLOGY.distmod(redshift_hubble).value
    # per wavelength: f_nu times the width in frequency over that in wavelength
    density = luminosity * _LIGHT * np.diff(-1 / EDGES) / np.diff(EDGES)
    stretch = 1 + np.asarray(redshift, dtype=float)
    flux = np.empty((len(density), len(BANDS)))
    for k, (wavelength, cumulative, normalisation) in enumerate(_passbands()):
        # photons in each top hat, by the cumulative of transmission times wavelength
        photons = np.diff(np.interp(EDGES * stretch[:, None], wavelength, cumulative), axis=1)
        flux[:, k] = np.sum(density * photons, axis=1) / normalisation
    return flux / stretch[:, None] * 10 ** (-0.4 * modulus[:, None])


@cache
def _passbands():
    """Per LSST band: wavelengths, the cumulative of T(x) x dx, and that of an AB magnitude of 0."""
    bands = []
    for band in BANDS:
        path = os.path.join(galsim.meta_data.share_dir, "bandpasses", f"LSST_{band}.dat")
        nm, transmission = np.loadtxt(path).T
        wavelength = np.linspace(nm[0], nm[-1], 4000) * 10
        transmission = np.interp(wavelength, nm * 10, transmission)
        weight = transmission * wavelength
        step = np.diff(wavelength)
        cumulative = np.concatenate([[0], np.cumsum((weight[1:] + weight[:-1]) / 2 * step)])
        reference = transmission * _LIGHT / wavelength
        bands.append((wavelength, cumulative, np.sum((reference[1:] + reference[:-1]) / 2 * step)))
    return bands


def _library_flux(names, magnorm, redshift, path, library):
    """Flux in the LSST bands [n, 6] from SED files (wavelength in nm, energy per wavelength)."""
    if library is None:
        raise CatalogError(
            f"{path}: the spectra are in the SED library, not in this table; give the library's"
            " folder as sed_library"
        )
    flux = np.zeros((len(magnorm), len(BANDS)))
    for row in np.flatnonzero(np.isfinite(magnorm)):
        file = Path(library) / str(names[row])
        try:
            nm, density = np.loadtxt(file).T
        except (OSError, ValueError) as error:
            raise CatalogError(f"{path}: cannot read the spectrum {file} ({error})") from error
        stretch = 1 + redshift[row]
        # as bright at 5000 angstrom in the rest frame as magnorm says
        density = density / np.interp(500.0, nm, density) * _AB * _LIGHT / 5000.0**2
        for k, (wavelength, cumulative, normalisation) in enumerate(_passbands()):
            observed = np.interp(wavelength / stretch / 10, nm, density, left=0, right=0)
            photons = np.sum((observed[1:] + observed[:-1]) / 2 * np.diff(cumulative))
            flux[row, k] = photons / (_AB * normalisation) / stretch
        flux[row] *= 10 ** (-0.4 * magnorm[row])
    return flux


def _present(names):
    """Components of the table; knots are optional."""
    return [
        c for c in _COMPONENTS if c != "knots" or f"{c}_magnorm" in names or f"sed_val_{c}" in names
    ]

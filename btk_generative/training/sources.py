"""Galaxies to train on: HST images, drawings of parametric fits, mock galaxies."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import astropy.units as u
import galsim
import numpy as np
from astropy.io import fits
from astropy.table import Column, Table

from btk_generative.conditions import (
    fitted_position_angle,
    from_catsim,
    from_cosmos,
    position_angle,
)
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.hst.cosmos import FIT_COLUMNS, PIXEL_SCALE, open_cosmos
from btk_generative.hst.instrument import aperture_psf, cosmos_noise, read_psfs
from btk_generative.hst.paper import PAPER_ROWS, paper_rows
from btk_generative.training.settings import DataSettings

_MOCK_LIMIT = 25.2


@dataclass(frozen=True)
class View:
    """What HST sees of a galaxy, as GalSim objects in arcsec and counts."""

    image: galsim.GSObject
    """The galaxy behind the PSF, pixel response included."""

    psf: galsim.GSObject

    noise: galsim.BaseCorrelatedNoise
    """Of an image with pixels of `pixel_scale`."""

    pixel_scale: float

    noisy: bool
    """Whether the noise is in the image already."""


@dataclass(frozen=True)
class Galaxies:
    """A sample of galaxies, of which a view can be had one by one."""

    identity: np.ndarray
    """A number that is the galaxy's own, int64, shape ``[n]``."""

    conditions: Table
    """What is known of them, as from `btk_generative.conditions`; columns may be missing."""

    angle: np.ndarray | None
    """From +x to the major axis, radians, shape ``[n]``; None without parametric fits."""

    view: Callable[[int, int, float], View]
    """Function of (row, seed, least width of the image in arcsec)."""

    source: str = ""
    """The catalogue, how many of its rows, and from which on."""

    def __len__(self) -> int:
        return len(self.identity)


def open_galaxies(settings: DataSettings) -> Galaxies:
    """Opens the galaxies that a configuration names.

    Raises:
        CatalogError: If a file is missing or is not what it should be.
        ConfigError: If it cannot be told which rows to keep for validation.
    """
    if settings.catalog is not None and not settings.catalog.exists():
        raise CatalogError(
            f"{settings.catalog}: there is no such catalogue; get GalSim's COSMOS sample with "
            "'galsim_download_cosmos -s 25.2' and give its path as data.catalog"
        )
    if settings.catalog is None:
        galaxies = _mock((settings.first_row or 0) + (settings.rows or 1000))
    elif settings.images:
        galaxies = _real(settings.catalog, settings.exclusion_level)
    else:
        psfs = read_psfs(settings.psfs) if settings.psfs else (aperture_psf(),)
        galaxies = _parametric(settings.catalog, settings.exclusion_level, psfs)
    return _chosen(galaxies, settings)


def _chosen(galaxies: Galaxies, settings: DataSettings) -> Galaxies:
    """Returns the galaxies that are trained on, without those that are kept for validation."""
    first, order, marginal = settings.first_row, "", 0
    if settings.catalog is not None:
        try:
            kept = paper_rows(galaxies.identity)
        except ConfigError:
            if first is None:
                raise
            order = ", in an order of its own"
        else:
            first = kept if first is None else first
            marginal = max(kept - PAPER_ROWS, 0)  # ones among the paper's, which it did not count
    first = first or 0
    rows = slice(first, None if settings.rows is None else first + settings.rows)
    identity = galaxies.identity[rows]
    angle = None if galaxies.angle is None else galaxies.angle[rows]
    name = settings.catalog.name if settings.catalog else "mock catalogue of btk_generative"
    source = f"{name}, {len(identity)} rows from {max(first - marginal, 0)}{order}"

    def view(row, seed, width):
        return galaxies.view(first + row, seed, width)

    return Galaxies(identity, galaxies.conditions[rows], angle, view, source)


def _real(path: Path, exclusion_level: str) -> Galaxies:
    """Images of a `galsim.RealGalaxyCatalog`; parametric fits are used where they are there."""
    beside = path.with_name(path.name.replace(".fits", "_fits.fits"))
    table = _read_table(beside) if beside.exists() else None
    if table is not None and set(FIT_COLUMNS) <= set(table.dtype.names or ()):
        catalog = open_cosmos(path, True, exclusion_level)
        rows, real = catalog.orig_index, catalog.real_cat
        records = catalog.param_cat[rows]
        conditions, angle = from_cosmos(records), fitted_position_angle(records)
    else:
        if exclusion_level != "none":
            raise CatalogError(
                f"{path}: GalSim's exclusion level '{exclusion_level}' needs the parametric fits "
                f"{beside.name} of this catalogue; set data.exclusion_level to none without them"
            )
        real = _real_catalog(path)
        rows, angle = np.arange(real.nobjects), None
        conditions = _bare_conditions(real, table)

    def view(row, seed, width):
        rng = galsim.BaseDeviate(seed)
        try:
            galaxy = galsim.RealGalaxy(real, index=int(rows[row]), noise_pad_size=width, rng=rng)
        except (OSError, IndexError, galsim.GalSimError) as error:
            raise CatalogError(f"{path}: row {rows[row]}: no image or PSF ({error})") from error
        noise = real.getNoise(int(rows[row]), rng=rng)
        pixel_scale = float(real.pixel_scale[rows[row]])
        return View(galaxy.original_gal, galaxy.original_psf, noise, pixel_scale, True)

    return Galaxies(np.asarray(real.ident, dtype=np.int64)[rows], conditions, angle, view)


def _parametric(path: Path, exclusion_level: str, psfs: tuple) -> Galaxies:
    """Drawings of the fits of a `galsim.COSMOSCatalog`, with random PSFs and COSMOS noise."""
    catalog = open_cosmos(path, False, exclusion_level)
    records = catalog.param_cat[catalog.orig_index]

    def view(row, seed, width):
        psf = psfs[seed % len(psfs)]
        galaxy = catalog.makeGalaxy(int(row), gal_type="parametric")
        return View(galsim.Convolve(galaxy, psf), psf, cosmos_noise(), PIXEL_SCALE, False)

    identity = np.asarray(records["IDENT"], dtype=np.int64)
    return Galaxies(identity, from_cosmos(records), fitted_position_angle(records), view)


def _mock(n: int) -> Galaxies:
    """Bulges (n = 4) and disks (n = 1) of the mock catalogue, as bright as COSMOS 25.2."""
    from btk_generative.catalogs import mock_catsim

    table = mock_catsim(20 * n, seed=0).table
    table = table[np.asarray(table["i_ab"]) < _MOCK_LIMIT][:n]
    conditions, angle = from_catsim(table), position_angle(table)
    psf = aperture_psf()

    def view(row, seed, width):
        parts = []
        for part, index in (("bulge", 4), ("disk", 1)):
            if conditions[f"{part}_present"][row]:
                q, radius, flux = (
                    conditions[f"{part}_{name}"][row] for name in ("q", "hlr", "flux")
                )
                round_part = galsim.Sersic(index, half_light_radius=max(radius, 0.02), flux=flux)
                beta = angle[row] * galsim.radians
                parts.append(round_part.shear(q=max(q, 0.05), beta=beta))
        seen = galsim.Convolve(galsim.Add(parts), psf)
        return View(seen, psf, cosmos_noise(), PIXEL_SCALE, False)

    return Galaxies(np.arange(len(table)), conditions, angle, view)


def _real_catalog(path: Path) -> galsim.RealGalaxyCatalog:
    try:
        return galsim.RealGalaxyCatalog(path.name, dir=str(path.parent))
    except (OSError, KeyError, galsim.GalSimError) as error:
        raise CatalogError(f"{path}: is not a real galaxy catalogue ({error})") from error


def _read_table(path: Path) -> np.ndarray:
    try:
        return np.array(fits.getdata(path, 1))
    except (OSError, IndexError) as error:
        raise CatalogError(f"{path}: cannot be read as a FITS table ({error})") from error


def _bare_conditions(real: galsim.RealGalaxyCatalog, table: np.ndarray | None) -> Table:
    """What a catalogue without fits says: the magnitude, and perhaps radius and redshift."""
    conditions = Table()
    conditions["mag_auto"] = Column(np.asarray(real.mag, dtype=np.float64), unit=u.mag)
    if table is None:
        return conditions
    names = {name.lower(): name for name in table.dtype.names or ()}
    for name, unit in (("flux_radius", u.pix), ("zphot", None)):
        if name in names:
            conditions[name] = Column(table[names[name]].astype(np.float64), unit=unit)
    return conditions

"""GalSim's COSMOS catalogue: HST F814W galaxies with parametric fits, and perhaps their images."""

from collections.abc import Iterable
from pathlib import Path

import galsim
from astropy.io import fits

from btk_generative.errors import CatalogError

FIT_COLUMNS = "mag_auto flux_radius zphot sersicfit bulgefit use_bulgefit hlr flux".split()
"""Columns of the parametric fits that conditions are made of."""

PIXEL_SCALE = 0.03
"""Pixel of the images, arcsec."""

_GET_IT = "get one with galsim_download_cosmos -s 25.2"


def selection_files(path: Path) -> list[Path]:
    """Returns where GalSim looks for the list of 'marginal' galaxies of a catalogue or its fits."""
    names = path.name.replace(".fits", "_selection.fits"), path.name.replace("_fits", "_selection")
    return [path.with_name(name) for name in names if name != path.name]


def has_images(path: Path) -> bool:
    """Returns whether a catalogue is one of images, not of fits alone.

    Raises:
        CatalogError: If it is no FITS table.
    """
    try:
        with fits.open(path) as hdus:
            return "GAL_FILENAME" in hdus[1].columns.names
    except (OSError, LookupError, AttributeError) as error:
        raise CatalogError(
            f"{path}: not a COSMOS catalogue that GalSim can open ({error}); {_GET_IT}"
        ) from error


def open_cosmos(path: Path, images: bool, exclusion_level: str) -> galsim.COSMOSCatalog:
    """Opens a COSMOS catalogue with its fits.

    Args:
        path: ``real_galaxy_catalog_25.2.fits`` as `galsim_download_cosmos` leaves it, or a table of
            fits alone.
        images: Whether the images are to be used.
        exclusion_level: As for `galsim.COSMOSCatalog`.

    Raises:
        CatalogError: If it cannot be opened, or lacks a column or the file of the selection.
    """
    selections = selection_files(path)
    if exclusion_level in ("marginal", "bad_stamp") and not any(f.exists() for f in selections):
        raise CatalogError(
            f"{path}: GalSim's exclusion level '{exclusion_level}' needs the selection file "
            f"{selections[-1 if '_fits' in path.name else 0].name} beside it; get it with "
            "galsim_download_cosmos, or set data.exclusion_level to none"
        )
    options = {"dir": str(path.parent), "use_real": images, "exclusion_level": exclusion_level}
    try:
        catalog = galsim.COSMOSCatalog(path.name, **options)
    except (OSError, LookupError, AttributeError, galsim.GalSimError) as error:
        raise CatalogError(
            f"{path}: not a COSMOS catalogue that GalSim can open ({error}); {_GET_IT}"
        ) from error
    require_fits(catalog.param_cat.dtype.names, path)
    return catalog


def require_fits(names: Iterable[str], path: Path) -> None:
    """Raises a `CatalogError` if columns of the parametric fits are missing."""
    missing = [name for name in FIT_COLUMNS if name not in names]
    if missing:
        raise CatalogError(
            f"{path}: the parametric fits lack the columns {', '.join(missing)}; give the "
            "catalogue of parametric fits of a GalSim COSMOS sample"
        )

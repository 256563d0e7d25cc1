"""The galaxies that the statistics are compared on: a GalSim COSMOS catalogue."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import galsim
import numpy as np
from astropy.io import fits

from btk_generative.errors import CatalogError

_COLUMNS = "mag_auto flux_radius zphot sersicfit bulgefit use_bulgefit hlr flux".split()


@cache
def _open(path: Path) -> galsim.COSMOSCatalog:
    """Returns a catalogue, without GalSim's 'marginal' galaxies where their list is beside it."""
    others = path.name.replace(".fits", "_selection.fits"), path.name.replace("_fits", "_selection")
    selected = any(name != path.name and (path.parent / name).exists() for name in others)
    try:
        with fits.open(path) as hdus:
            images = "GAL_FILENAME" in hdus[1].columns.names
        catalog = galsim.COSMOSCatalog(
            path.name,
            dir=str(path.parent),
            use_real=images,
            exclusion_level="marginal" if selected else "none",
        )
    except (OSError, LookupError, AttributeError, galsim.GalSimError) as error:
        raise CatalogError(
            f"{path}: not a COSMOS catalogue that GalSim can open ({error}); "
            "get one with galsim_download_cosmos -s 25.2"
        ) from error
    missing = [name for name in _COLUMNS if name not in catalog.param_cat.dtype.names]
    if missing:
        raise CatalogError(f"{path}: the parametric fits lack the columns {missing}")
    return catalog


@dataclass(frozen=True)
class CosmosSample:
    """Parametric fits of HST galaxies and, where the user has them, their images.

    Raises:
        CatalogError: On first use, if the catalogue cannot be opened or lacks a column.
    """

    path: Path
    """`real_galaxy_catalog_25.2.fits` as `galsim_download_cosmos` leaves it, or a table of fits
    alone."""

    def __len__(self) -> int:
        return len(self.catalog)

    @property
    def catalog(self) -> galsim.COSMOSCatalog:
        """The catalogue; every process opens it once."""
        return _open(Path(self.path))

    @property
    def has_images(self) -> bool:
        """Whether the catalogue gives real galaxy images."""
        return self.catalog.canMakeReal()

    def records(self, rows: np.ndarray) -> np.ndarray:
        """Returns the fits of some rows, a structured array."""
        return self.catalog.param_cat[self.catalog.orig_index[rows]]

    def parametric(self, row: int) -> galsim.GSObject:
        """Returns the full parametric fit of a row."""
        return self.catalog.makeGalaxy(int(row), gal_type="parametric")

    def psf(self, row: int) -> galsim.GSObject:
        """Returns the PSF with which a row was observed; needs the images."""
        return self.catalog.real_cat.getPSF(self.catalog.getOrigIndex(int(row)))

    def real(self, row: int, noise_seed: int, width: float) -> galsim.RealGalaxy:
        """Returns the image of a row, deconvolved by its PSF, with its noise; needs the images.

        Args:
            row: Row of the catalogue.
            noise_seed: Seed of the noise that fills the stamp beyond the image.
            width: Width of the stamp to fill, arcsec.
        """
        rng = galsim.BaseDeviate(noise_seed)
        return self.catalog.makeGalaxy(int(row), gal_type="real", noise_pad_size=width, rng=rng)

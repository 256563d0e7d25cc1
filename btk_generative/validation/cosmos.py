"""The galaxies that the statistics are compared on: a GalSim COSMOS catalogue."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import galsim
import numpy as np

from btk_generative.hst.cosmos import has_images, open_cosmos, selection_files


@cache
def _open(path: Path) -> galsim.COSMOSCatalog:
    """Returns a catalogue, without GalSim's 'marginal' galaxies where their list is beside it."""
    selected = any(file.exists() for file in selection_files(path))
    return open_cosmos(path, has_images(path), "marginal" if selected else "none")


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

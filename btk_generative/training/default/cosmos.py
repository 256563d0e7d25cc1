"""Parametric fits of GalSim's COSMOS sample, as conditions and as shapes to learn."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from astropy.table import Table

from btk_generative.conditions import from_cosmos
from btk_generative.errors import CatalogError
from btk_generative.hst.cosmos import require_fits

_N_RANGE = (0.3, 6.0)  # as galsim.COSMOSCatalog clips them


@dataclass(frozen=True)
class FittedGalaxies:
    """What the fits say of each galaxy."""

    conditions: Table
    """Named inputs, as `btk_generative.conditions.from_cosmos` gives them."""

    index: np.ndarray
    """Sersic index of a galaxy with one component, NaN where it has two, shape ``[n]``."""

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, rows) -> "FittedGalaxies":
        return FittedGalaxies(self.conditions[rows], self.index[rows])


def read_fits(path: str | Path) -> FittedGalaxies:
    """Reads the fits of a `galsim.COSMOSCatalog` (the file whose name ends in ``_fits.fits``).

    A galaxy with ``use_bulgefit`` = 0 has a single Sersic profile; the columns of its bulge and
    disk hold the unused two-component fit, or zeros, and are not read.

    Args:
        path: FITS table with the columns of `from_cosmos`.

    Returns:
        One entry per row of the table, in its order.

    Raises:
        CatalogError: If the file cannot be read, or a column is missing.
    """
    try:
        table = Table.read(path, format="fits")
    except (OSError, ValueError) as error:
        raise CatalogError(f"{path}: cannot be read as a FITS table: {error}") from error
    require_fits(table.colnames, path)
    conditions = from_cosmos(table)
    single = np.asarray(table["use_bulgefit"]) == 0
    index = np.clip(np.asarray(table["sersicfit"], dtype=np.float64)[:, 2], *_N_RANGE)
    return FittedGalaxies(conditions, np.where(single, index, np.nan))

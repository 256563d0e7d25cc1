"""Reads a catalogue of any known format into the CatSim schema."""

from astropy.table import Table
from btk.catalog import CatsimCatalog

from btk_generative.catalogs.files import ColumnFile
from btk_generative.errors import CatalogError

FORMATS = ("catsim",)


def read_catalog(path, format: str | None = None, max_mag: float | None = None) -> CatsimCatalog:
    """Reads a catalogue from a FITS or Parquet file.

    Args:
        path: The file, or a folder of Parquet files.
        format: "catsim", the schema of BTK and WeakLensingDeblending. Told from the names of the
            columns when not given.
        max_mag: Galaxies fainter than this in the i band are left out while reading.

    Returns:
        A catalogue for BTK in the CatSim schema. Its table's ``meta["path"]`` names the file.

    Raises:
        CatalogError: If the file is missing, damaged or of another format, or lacks a column.
    """
    file = ColumnFile(path)
    if format not in (None, *FORMATS):
        raise CatalogError(f"{path}: unknown format '{format}'; it may be {', '.join(FORMATS)}")
    table = _read_catsim(file, max_mag)
    table.meta["path"] = str(path)
    return CatsimCatalog(table)


def _read_catsim(file, max_mag):
    limits = [] if max_mag is None else [("i_ab", -float("inf"), max_mag)]
    for name in ("ra", "dec", *(name for name, _, _ in limits)):
        if name not in file.names:
            raise CatalogError(
                f"{file.path}: column '{name}' is missing; it holds {', '.join(file.names)}"
            )
    return Table(file.read(file.names, limits))

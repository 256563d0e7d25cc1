"""Reads a catalogue of any known format into the CatSim schema."""

from types import MappingProxyType

import numpy as np
from astropy.table import Table
from btk.catalog import CatsimCatalog

from btk_generative.catalogs import catsim, cosmodc2, skycatalogs
from btk_generative.catalogs.files import open_source
from btk_generative.errors import CatalogError

FORMATS = MappingProxyType({"catsim": catsim, "cosmodc2": cosmodc2, "skycatalogs": skycatalogs})
"""Formats by name, tried in this order: a file of one has one of its ``TELLTALES`` columns."""


def read_catalog(
    path,
    format: str | None = None,
    max_mag: float | None = None,
    region: tuple[float, float, float, float] | None = None,
    sed_library=None,
) -> CatsimCatalog:
    """Reads a catalogue from a FITS or Parquet file into the CatSim schema.

    Only the columns that are needed are read, some rows at a time, and what `max_mag` and `region`
    leave out never stays in memory.

    Args:
        path: A file, a folder of Parquet files, the name of a catalogue of GCRCatalogs (where that
            is installed), or a catalogue object of GCRCatalogs.
        format: "catsim" (BTK, WeakLensingDeblending), "cosmodc2" (the names of GCRCatalogs) or
            "skycatalogs" (its galaxy table). Told from the columns when not given.
        max_mag: Galaxies fainter than this in the i band are left out.
        region: (ra_min, ra_max, dec_min, dec_max) [degrees]; galaxies outside are left out.
        sed_library: Folder of the SED files of a skyCatalogs table that holds their names but not
            the spectra themselves.

    Returns:
        A catalogue for BTK. Its table has the columns of CatSim and, where the file has them,
        ``g1`` and ``g2`` (reduced shear), ``convergence`` and ``bulge_share_{band}``;
        ``meta["path"]`` names the file. The values are checked where galaxies are drawn from them,
        by `btk_generative.conditions.check_catsim`.

    Raises:
        CatalogError: If the file is missing, damaged or of another format, or lacks a column.
    """
    source = open_source(path)
    reader = _format(source, format)
    columns, i_mag = reader.columns(source), reader.i_magnitude(source)
    limits = _limits(region)
    if max_mag is not None and i_mag:
        limits.append((i_mag, -np.inf, max_mag))
    parts = []
    for rows in source.batches(columns, limits):
        part = reader.convert(rows, source.path, sed_library)
        if max_mag is not None and not i_mag:
            keep = part["i_ab"] <= max_mag
            part = {name: values[keep] for name, values in part.items()}
        parts.append(part)
    if not any(len(part["ra"]) for part in parts):
        raise CatalogError(
            f"{source.path}: holds no galaxy (with max_mag={max_mag}, region={region}); widen"
            " these or choose another file"
        )
    table = Table({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    table.meta["path"] = str(source.path)
    return CatsimCatalog(table)


def _format(source, name):
    if name is None:
        found = [reader for reader in FORMATS.values() if set(reader.TELLTALES) & set(source.names)]
        if not found:
            raise CatalogError(
                f"{source.path}: its columns are those of no known format; give one of"
                f" {', '.join(FORMATS)} as format. It holds {', '.join(source.names)}"
            )
        return found[0]
    if name not in FORMATS:
        raise CatalogError(f"unknown format '{name}'; it may be {', '.join(FORMATS)}")
    return FORMATS[name]


def _limits(region):
    if region is None:
        return []
    ra_min, ra_max, dec_min, dec_max = region
    if not (ra_min < ra_max and dec_min < dec_max):
        raise CatalogError(
            "region is (ra_min, ra_max, dec_min, dec_max) with each min below its max,"
            f" not {region}"
        )
    return [("ra", ra_min, ra_max), ("dec", dec_min, dec_max)]

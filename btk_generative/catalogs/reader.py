"""Reads a catalogue of any known format into the CatSim schema."""

import os
from types import MappingProxyType
from typing import Any

import numpy as np
from astropy.table import Table
from btk.catalog import CatsimCatalog

from btk_generative.catalogs import catsim, cosmodc2, skycatalogs
from btk_generative.catalogs.files import open_source
from btk_generative.catalogs.schema import agrees, in_our_units, unit_of, usable
from btk_generative.errors import CatalogError

FORMATS = MappingProxyType({"catsim": catsim, "cosmodc2": cosmodc2, "skycatalogs": skycatalogs})
"""Formats by name, tried in this order: a file of one has one of its ``TELLTALES`` columns."""


def read_catalog(
    path: Any,
    format: str | None = None,
    max_mag: float | None = None,
    region: tuple[float, float, float, float] | None = None,
    sed_library: str | os.PathLike | None = None,
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
        ``meta["path"]`` names the file. A CatSim file's other columns are kept, where HDF5 and
        Parquet can hold them. The values are checked where galaxies are drawn from them,
        by `btk_generative.conditions.check_catsim`.

    Raises:
        CatalogError: If the file is missing, damaged or of another format, lacks a column, or has
            one whose unit cannot be converted or whose name is taken.
    """
    source = open_source(path)
    reader = _format(source, format)
    columns, i_mag = reader.columns(source), reader.i_magnitude(source)
    limits = _limits(region)
    if max_mag is not None and i_mag:
        limits.append((i_mag, -np.inf, max_mag))
    limits = [_in_units_of(source, *limit) for limit in limits]
    units = {name: unit for name, unit in source.units.items() if name in columns}
    parts = []
    for rows in source.batches(columns, limits):
        rows = in_our_units(rows, units, source.path)
        if reader is not catsim:  # whose columns are computed with
            rows = {name: _filled(values) for name, values in rows.items()}
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
    table = Table({name: _joined([part[name] for part in parts]) for name in parts[0]})
    for name in table.colnames:
        if name in units and unit_of(name) is None:
            table[name].unit = units[name]
    table.meta["path"] = str(source.path)
    return CatsimCatalog(usable(table))


def _filled(values):
    if not isinstance(values, np.ma.MaskedArray):
        return values
    return np.ma.filled(values.astype(float), np.nan)


def _joined(parts):
    masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
    return (np.ma if masked else np).concatenate(parts)


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


def _in_units_of(source, name, low, high):
    """Returns a limit in the unit that the source has for the column."""
    unit, ours = source.units.get(name), unit_of(name)
    if unit is None or ours is None or agrees(unit, ours):
        return name, low, high
    in_our_units({name: np.ones(1)}, source.units, source.path)  # says so if it cannot be done
    return name, *np.sort(ours.to(unit, np.array([low, high])))


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

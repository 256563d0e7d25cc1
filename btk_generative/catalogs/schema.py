"""The columns of a catalogue: units, names that are taken, and columns that are not ours.

A column that names no unit is in ours, which `unit_of` gives; one that names another is converted.
All other columns of a catalogue are foreign: they end up in the truth tables as they are, masks
included, where HDF5 and Parquet can hold them.
"""

import logging
import re
from collections.abc import Iterable
from typing import Any

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table

from btk_generative.errors import CatalogError

COLUMNS = (
    "ra dec redshift fluxnorm_bulge fluxnorm_disk fluxnorm_agn "
    "a_b b_b a_d b_d pa_bulge pa_disk i_ab"
).split()
"""The columns of a CatSim table that every galaxy needs."""

RESERVED = ("survey", "shard", "blend_index", "galaxy_index", "in_domain")
"""Columns that this package adds to the truth, which a catalogue may not have. Those that BTK adds
(``x_peak``, ``y_peak``, ``btk_rotation``, ``not_drawn_{band}``) take the catalogue's place."""

NO_UNIT = u.dimensionless_unscaled
_FLUXNORM = re.compile("fluxnorm_(bulge|disk|agn)")
_UNITS = {
    re.compile(pattern): unit
    for pattern, unit in {
        r"ra|dec|pa_(bulge|disk)|position_angle_(true|unlensed)": u.deg,
        r"[ab]_[bd]|size_(minor_)?(bulge|disk)_true": u.arcsec,
        r"\w+_ab|mag_(true_)?\w_lsst|(bulge|disk|knots)_magnorm": u.ABmag,
        r"redshift(_hubble)?|g[12]|shear_[12]|convergence|ellipticity_[12]_disk_true"
        r"|bulge_share_\w+|bulge_to_total_ratio_\w": NO_UNIT,
    }.items()
}
_SAME = {"mag": u.ABmag, "redshift": NO_UNIT}
"""Units by another name: a column is called ``_ab`` for the magnitudes' zero point."""

_log = logging.getLogger(__name__)


def unit_of(name: str) -> u.UnitBase | None:
    """Returns the unit in which a column is needed, None for a foreign one."""
    return next((unit for known, unit in _UNITS.items() if known.fullmatch(name)), None)


def is_ours(name: str) -> bool:
    """Returns whether galaxies are drawn from a column of that name."""
    return unit_of(name) is not None or _FLUXNORM.fullmatch(name) is not None


def agrees(unit: u.UnitBase, wanted: u.UnitBase | None) -> bool:
    """Returns whether a column that names a unit, or none, needs no conversion."""
    same = _SAME.get(unit.to_string(), unit)
    return same is wanted or same in (wanted, NO_UNIT)


def values(table: Table, name: str) -> np.ndarray:
    """Returns a column as float64 in our unit, masked entries as NaN.

    Args:
        table: A table, or a structured array.
        name: The column.

    Raises:
        CatalogError: If it holds no numbers, or a unit that cannot be converted.
    """
    column, where = table[name], _path(table)
    numbers = _numbers(column, name, where)
    if getattr(column, "unit", None) is not None:
        numbers = in_our_units({name: numbers}, _units(table), where)[name]
    if isinstance(numbers, np.ma.MaskedArray):
        return np.ma.filled(numbers.astype(np.float64), np.nan)
    return np.asarray(numbers, dtype=np.float64)


def in_our_units(columns: dict, units: dict, where: object, angles: u.UnitBase = u.deg) -> dict:
    """Converts the columns of which we know the unit; the others stay as they are.

    Fluxes of bulge, disk and AGN may have any unit, but have to be the same for all three.

    Args:
        columns: Arrays by name.
        units: Unit of each column that names one.
        where: Path of the catalogue, for messages.
        angles: Unit in which ``ra`` and ``dec`` are needed: arcsec for places in a stamp.

    Returns:
        Arrays by name; those that need no conversion are the same objects.

    Raises:
        CatalogError: If a unit cannot be converted.
    """
    converted = dict(columns)
    fluxes = next((unit for name, unit in units.items() if _FLUXNORM.fullmatch(name)), None)
    for name in columns.keys() & units.keys():
        wanted = angles if name in ("ra", "dec") else unit_of(name)
        if _FLUXNORM.fullmatch(name):
            wanted = fluxes
        if wanted is not None and not agrees(units[name], wanted):
            converted[name] = _convert(columns[name], units[name], wanted, name, where)
    return converted


def usable(table: Table) -> Table:
    """Returns a catalogue as galaxies are drawn from it: our columns in our units.

    What is converted or left out is logged. Values are not copied where they stay the same.

    Args:
        table: A catalogue in the CatSim schema.

    Returns:
        Table of plain and masked columns. The columns that a model or a simulator needs hold
        numbers and name no unit but ours, ``ra`` and ``dec`` none at all, since they become places
        in a stamp; foreign ones can be written to HDF5 and Parquet.

    Raises:
        CatalogError: If a column that every galaxy needs holds no numbers or cannot be converted,
            or a column has a name that is taken.
    """
    where = _path(table)
    kept, lost = take(table, where)
    warn_lost(lost, where)
    for name, column in kept.items():
        if isinstance(column, MaskedColumn) and not column.mask.any():
            kept[name] = Column(column.data.data, **_notes(column))
        elif isinstance(column, MaskedColumn) and f"{name}.mask" in kept:
            raise CatalogError(
                f"{where}: column '{name}.mask' has the name under which the mask of '{name}' is"
                " written; rename or remove it"
            )
    return Table(kept, copy=False, meta=table.meta)


def take(
    table: Table, where: str, angles: u.UnitBase = u.deg
) -> tuple[dict[str, Column], list[str]]:
    """Returns the columns of a table that can be used, as `usable` does.

    Args:
        table: A catalogue, or some of its rows.
        where: What it is, for messages.
        angles: Unit in which ``ra`` and ``dec`` are needed.

    Returns:
        Columns by name, and the names of those that no truth table can hold.

    Raises:
        CatalogError: See `usable`.
    """
    refuse_reserved(table.colnames, where)
    table = Table(table, copy=False)  # its Quantities become columns with a unit
    units, kept = _units(table), {}
    for name, column in table.columns.items():
        try:
            kept[name] = (
                _ours(column, name, units, where, angles) if is_ours(name) else foreign(column)
            )
        except CatalogError:
            if name in COLUMNS:
                raise
            kept[name] = foreign(column)  # refused where something is drawn from it
    lost = [name for name, column in kept.items() if column is None]
    return {name: column for name, column in kept.items() if name not in lost}, lost


def warn_lost(names: Iterable[str], where: object) -> None:
    """Logs which columns are left out of the truth."""
    if names:
        _log.warning(
            "%s: left out of the truth, which cannot hold them: %s", where, ", ".join(sorted(names))
        )


def refuse_reserved(names: Iterable[str], where: object) -> None:
    """Raises a `CatalogError` if a column has a name of `RESERVED`."""
    taken = sorted(set(names).intersection(RESERVED))
    if taken:
        raise CatalogError(
            f"{where}: the truth tables have a column '{taken[0]}' of their own; rename that of the"
            " catalogue, or remove it"
        )


def foreign(column: Any) -> Column | None:
    """Returns a column in a form that HDF5 and Parquet can hold, None where there is none.

    Flags, numbers (one or several a row) and text stay as they are, with missing ones masked.
    Coordinates, times, complex numbers and Python objects have no such form.
    """
    if not isinstance(column, Column):
        return None
    if column.dtype.kind == "O":
        column = _typed(column)
    if column is None:
        return None
    kind, size = column.dtype.kind, column.dtype.itemsize
    if kind == "U" and column.ndim == 1:
        return _wide_enough(column)
    numbers = kind in "biuf" and size <= 8 and column.ndim <= 2
    return column if numbers or (kind == "S" and column.ndim == 1) else None


def _ours(column: Any, name: str, units: dict, where: object, angles: u.UnitBase) -> Column:
    """Returns one of our columns in our unit."""
    numbers = _numbers(column, name, where)
    converted = in_our_units({name: numbers}, units, where, angles)[name]
    position = name in ("ra", "dec")
    if converted is column and not (position and name in units):
        return column
    notes = _notes(column)
    if name in units:
        wanted = next((units[n] for n in units if _FLUXNORM.fullmatch(n)), None)
        notes["unit"] = None if position else unit_of(name) or wanted
    make = MaskedColumn if isinstance(converted, np.ma.MaskedArray) else Column
    return make(converted, **notes)


def _numbers(column, name, where):
    """Returns a column of numbers; text and objects that are numbers become float64."""
    kind = column.dtype.kind if hasattr(column, "dtype") else "mixin"
    if kind in "biuf" and column.ndim == 1:
        return column
    if kind in "OSU" and column.ndim == 1:
        try:
            return np.array([np.nan if v is np.ma.masked else v for v in column], dtype=np.float64)
        except (TypeError, ValueError):
            pass
    shape = getattr(column, "shape", ())[1:]
    held = f"{shape} values a row" if shape else type(column[0]).__name__ if len(column) else kind
    raise CatalogError(f"{where}: column '{name}' holds {held}, not a number a row; correct it")


def _convert(column, unit, wanted, name, where):
    """Returns a column's numbers in another unit, masked as they were."""
    try:
        numbers = unit.to(wanted, np.asarray(np.ma.getdata(column, subok=False), dtype=np.float64))
    except (u.UnitsError, TypeError, ValueError) as error:
        raise CatalogError(
            f"{where}: column '{name}' is in '{unit}', which cannot be converted to {wanted};"
            " convert it, or correct its unit"
        ) from error
    _log.info("%s: column '%s' is converted from %s to %s", where, name, unit, wanted)
    if isinstance(column, np.ma.MaskedArray):
        return np.ma.MaskedArray(numbers, mask=np.ma.getmaskarray(column))
    return numbers


def _units(table: Table) -> dict:
    """Returns the unit of every column that names one."""
    if not isinstance(table, Table):
        return {}
    units = {name: getattr(column, "unit", None) for name, column in table.columns.items()}
    return {name: unit for name, unit in units.items() if unit not in (None, NO_UNIT)}


def _path(table: Table) -> str:
    return getattr(table, "meta", {}).get("path", "the catalogue")


def _notes(column: Any) -> dict:
    return {"name": column.name, "unit": column.unit, "description": column.description}


def _typed(column: Column) -> Column | None:
    """Returns a column of Python objects as one of text, flags or numbers, if all are."""
    given = column.tolist()
    missing = np.array([v is None or (isinstance(v, float) and v != v) for v in given], dtype=bool)
    there = [value for value, gone in zip(given, missing, strict=True) if not gone]
    kinds = list({type(value) for value in there})
    if len(kinds) != 1 or not issubclass(kinds[0], str | bytes | bool | int | float):
        return None
    empty = kinds[0]()
    data = np.array([empty if gone else v for v, gone in zip(given, missing, strict=True)])
    return MaskedColumn(data, mask=missing, **_notes(column)) if data.dtype.kind != "O" else None


def _wide_enough(column: Column) -> Column | None:
    """Returns a column of text in which its UTF-8 bytes find room, as many as characters."""
    try:
        size = np.char.encode(np.ma.getdata(column, subok=False), "utf-8").dtype.itemsize
    except UnicodeEncodeError:
        return None
    return column if 4 * size <= column.dtype.itemsize else column.astype(f"U{size}")

"""The tables of a batch's blends, as a sampling function made them, in one table."""

from collections.abc import Iterable

import astropy.units as u
import numpy as np
from astropy.table import Column, MaskedColumn, Table

from btk_generative.catalogs.schema import COLUMNS, is_ours, refuse_reserved, take, warn_lost
from btk_generative.errors import CatalogError


class Stacker:
    """Stacks the tables that a sampling function returns.

    They may differ in columns that nothing is drawn from. What the truth cannot hold is left out,
    and logged once.
    """

    def __init__(self, sampling_function):
        """Initialises the stacker.

        Args:
            sampling_function: The sampling function, for messages.
        """
        # one that gives another's galaxies by index is not the user's
        function = getattr(sampling_function, "sampling", sampling_function)
        self.where = f"sampling function {type(function).__name__}"
        self._lost = set()

    def stack(self, blends: list[Table], first: int) -> tuple[Table, dict[int, dict]]:
        """Stacks the tables of some blends.

        Args:
            blends: Table of each blend.
            first: Index of the first of them.

        Returns:
            All rows, with the columns that every blend has, in our units (``ra`` and ``dec`` in
            arcsec), and the columns that a blend has besides, by the blend's place in the list.

        Raises:
            CatalogError: If a blend is no table, lacks a column that is needed, or has one whose
                name is taken or whose unit cannot be converted.
        """
        blends = [self._plain(blend, first + k) for k, blend in enumerate(blends)]
        names, own = blends[0].keys(), {}
        if any(blend.keys() != names for blend in blends):
            names = [name for name in names if all(name in blend for blend in blends)]
            for place, blend in enumerate(blends):
                own[place] = {name: blend[name] for name in blend if name not in names}
        joined = {name: _join(name, [blend[name] for blend in blends]) for name in names}
        self._warn([name for name, column in joined.items() if column is None])
        kept = {name: column for name, column in joined.items() if column is not None}
        return Table(kept, copy=False), own

    def _plain(self, blend: Table, index: int) -> dict[str, Column]:
        """Returns the columns of a blend that truth tables can hold."""
        where = f"{self.where}, blend {index}"
        if not isinstance(blend, Table):
            raise CatalogError(f"{where}: it is a {type(blend).__name__}, not an astropy Table")
        columns = blend.columns
        for name in COLUMNS:
            if name not in columns:
                raise CatalogError(f"{where}: column '{name}' is missing, which is needed to draw")
        if not any(map(_is_odd, columns.values())):
            refuse_reserved(columns, where)
            return dict(columns)
        kept, lost = take(blend, where, u.arcsec)
        self._warn(lost)
        return kept

    def _warn(self, lost: Iterable[str]) -> None:
        warn_lost([name for name in lost if name not in self._lost], self.where)
        self._lost.update(lost)


def _join(name: str, parts: list[Column]) -> Column | None:
    """Returns a column of all blends, None where those of the blends do not fit together."""
    units = dict.fromkeys(column.unit for column in parts)
    if len({(column.dtype.kind in "SU", column.shape[1:]) for column in parts}) > 1:
        return None
    if len(units) > 1:
        if not is_ours(name):
            return None
        units.pop(None, None)  # ours in some blends, and not named in others
    masked = any(isinstance(column, MaskedColumn) for column in parts)
    make, join = (MaskedColumn, np.ma.concatenate) if masked else (Column, np.concatenate)
    data = join([column.data for column in parts])
    return make(data, unit=next(iter(units)), description=parts[0].description)


def _is_odd(column: Column) -> bool:
    plain = type(column) is Column and column.dtype.kind in "biuf" and column.ndim == 1
    return not plain or column.unit is not None

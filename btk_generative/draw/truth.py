"""The truth of a batch as one table, and as a file."""

import os
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table, vstack
from btk.blend_batch import BlendBatch


def truth_of(batch: BlendBatch, **constants: Any) -> Table:
    """Returns the truth tables of a batch in one, with the survey's name in column ``survey``.

    Args:
        batch: Blends.
        **constants: Further columns, by name, and the value that they have in every row.
    """
    table = vstack(batch.catalog_list, metadata_conflicts="silent")
    for name, value in {"survey": batch.survey.name, **constants}.items():
        table[name] = np.full(len(table), value)
    return table


def write_parquet(table: Table, path: str | os.PathLike) -> None:
    """Writes a truth table; masked values are missing in the file.

    Args:
        table: Plain and masked columns, of one or several numbers a row, or text.
        path: The file.
    """
    import pyarrow
    import pyarrow.parquet

    columns = {name: _arrow(table[name], pyarrow) for name in table.colnames}
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd")


def _arrow(column, pyarrow):
    if column.dtype.kind in "US":
        kind = pyarrow.string() if column.dtype.kind == "U" else pyarrow.binary()
        return pyarrow.array(column.tolist(), kind)
    data = np.ma.getdata(column, subok=False)
    mask = column.mask.ravel() if isinstance(column, MaskedColumn) else None
    values = pyarrow.array(data.ravel(), mask=mask)
    if column.ndim == 1:
        return values
    return pyarrow.FixedSizeListArray.from_arrays(values, column.shape[1])

"""Columns of a table on disk, read and filtered before they fill the memory."""

from pathlib import Path

import numpy as np
from astropy.io import fits

from btk_generative.errors import CatalogError

_CHUNK = 500_000  # rows of a FITS table that are looked at together

PARQUET = (".parquet", ".parq", ".pq")
FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")


class ColumnFile:
    """A FITS or Parquet table (or a folder of Parquet files), opened but not read.

    Attributes:
        path: Where it is.
        names: Its columns.
    """

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.exists():
            raise CatalogError(
                f"{self.path}: no such file; give the path of a FITS or Parquet table"
            )
        name = self.path.name.lower()
        try:
            if self.path.is_dir() or name.endswith(PARQUET):
                import pyarrow.dataset

                self._dataset = pyarrow.dataset.dataset(self.path, format="parquet")
                self.names = tuple(self._dataset.schema.names)
            elif name.endswith(FITS):
                self._dataset = None
                with fits.open(self.path, memmap=True) as hdus:
                    self.names = tuple(_table_hdu(hdus).columns.names)
            else:
                raise CatalogError(
                    f"{self.path}: neither FITS ({', '.join(FITS)}) nor Parquet"
                    f" ({', '.join(PARQUET)}) by its name; convert or rename it"
                )
        except CatalogError:
            raise
        except (OSError, ValueError, IndexError, TypeError) as error:
            raise CatalogError(f"{self.path}: cannot be read ({_one_line(error)})") from error

    def read(self, columns, limits=()) -> dict[str, np.ndarray]:
        """Reads columns of the rows that lie within limits.

        Args:
            columns: Names of the columns.
            limits: Triples (column, low, high); a row stays if low <= value <= high for all of
                them. A value that is not a number is outside of every limit.

        Returns:
            An array per column, in native byte order.

        Raises:
            CatalogError: If the file is damaged.
        """
        try:
            read = self._read_fits if self._dataset is None else self._read_parquet
            return read(list(columns), limits)
        except (OSError, ValueError, TypeError) as error:
            raise CatalogError(f"{self.path}: cannot be read ({_one_line(error)})") from error

    def _read_parquet(self, columns, limits):
        import pyarrow.compute

        condition = None
        for name, low, high in limits:
            field = pyarrow.compute.field(name)
            inside = (field >= low) & (field <= high)
            condition = inside if condition is None else condition & inside
        table = self._dataset.to_table(columns=columns, filter=condition)
        return {name: _to_numpy(table.column(name)) for name in columns}

    def _read_fits(self, columns, limits):
        parts = {name: [] for name in columns}
        with fits.open(self.path, memmap=True) as hdus:
            data = _table_hdu(hdus).data
            for start in range(0, max(len(data), 1), _CHUNK):
                rows = data[start : start + _CHUNK]
                keep = np.ones(len(rows), bool)
                for name, low, high in limits:
                    keep &= (rows[name] >= low) & (rows[name] <= high)
                for name in columns:
                    values = rows[name][keep]
                    parts[name].append(values.astype(values.dtype.newbyteorder("=")))
        return {name: np.concatenate(values) for name, values in parts.items()}


def _table_hdu(hdus):
    for hdu in hdus:
        if isinstance(hdu, fits.BinTableHDU | fits.TableHDU):
            return hdu
    raise ValueError("it holds no table")


def _to_numpy(column):
    """A missing number becomes NaN, as it does in FITS, so that the checks find it."""
    import pyarrow

    if column.null_count and not pyarrow.types.is_floating(column.type):
        if pyarrow.types.is_integer(column.type):
            column = column.cast("float64")
    return column.to_numpy()


def _one_line(error):
    return " ".join(str(error).split()) or type(error).__name__

"""Tables on disk, read by column and filtered before they fill the memory.

Every source has ``path`` (where it is, for messages), ``names`` (its columns) and
``batches(columns, limits)``, which yields dictionaries of arrays for some thousands of rows at a
time. A limit is a triple (column, low, high): a row stays if low <= value <= high, which a value
that is not a number never fulfils.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from astropy.io import fits

from btk_generative.errors import CatalogError

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
PARQUET = (".parquet", ".parq", ".pq")

_ROWS = 200_000  # rows of a table that are in memory together, besides those that stay


def open_source(path) -> "FitsSource | ParquetSource | GcrSource":
    """Opens a catalogue without reading it.

    Args:
        path: A FITS or Parquet file, a folder of Parquet files, the name of a catalogue that
            GCRCatalogs knows, or a catalogue object of GCRCatalogs.

    Raises:
        CatalogError: If there is no such thing, or it is damaged.
    """
    if hasattr(path, "get_quantities"):
        return GcrSource(path)
    file = Path(path)
    if not file.exists():
        return _gcr_by_name(path)
    name = file.name.lower()
    if file.is_dir() or name.endswith(PARQUET):
        return ParquetSource(file)
    if name.endswith(FITS):
        return FitsSource(file)
    raise CatalogError(
        f"{path}: neither FITS ({', '.join(FITS)}) nor Parquet ({', '.join(PARQUET)}) by its"
        " name; convert or rename it"
    )


class FitsSource:
    """The first table of a FITS file."""

    def __init__(self, path):
        self.path = path
        with _readable(path), self._table() as hdu:
            self.names = tuple(hdu.columns.names)

    @contextmanager
    def _table(self):
        with fits.open(self.path, memmap=True) as hdus:
            tables = [h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
            if not tables:
                raise ValueError("it holds no table")
            yield tables[0]

    def batches(self, columns, limits=()) -> Iterator[dict[str, np.ndarray]]:
        """See the module."""
        with _readable(self.path), self._table() as hdu:
            for start in range(0, len(hdu.data), _ROWS):
                rows = hdu.data[start : start + _ROWS]
                keep = np.ones(len(rows), bool)
                for name, low, high in limits:
                    keep &= (rows[name] >= low) & (rows[name] <= high)
                yield {name: _native(rows[name][keep]) for name in columns}


class ParquetSource:
    """A Parquet file or a folder of them."""

    def __init__(self, path):
        import pyarrow.dataset

        self.path = path
        with _readable(path):
            self._dataset = pyarrow.dataset.dataset(path, format="parquet")
            self.names = tuple(self._dataset.schema.names)

    def batches(self, columns, limits=()) -> Iterator[dict[str, np.ndarray]]:
        """See the module. A column of equally long lists becomes a two-dimensional array."""
        import pyarrow.compute

        condition = None
        for name, low, high in limits:
            field = pyarrow.compute.field(name)
            inside = (field >= low) & (field <= high)
            condition = inside if condition is None else condition & inside
        with _readable(self.path):
            for batch in self._dataset.to_batches(
                columns=list(columns), filter=condition, batch_size=_ROWS
            ):
                yield {name: _from_arrow(batch.column(name)) for name in columns}


class GcrSource:
    """A catalogue of GCRCatalogs, the reader of the Dark Energy Science Collaboration."""

    def __init__(self, catalog):
        self.path = getattr(catalog, "name", None) or type(catalog).__name__
        self.names = tuple(catalog.list_all_quantities())
        self._catalog = catalog

    def batches(self, columns, limits=()) -> Iterator[dict[str, np.ndarray]]:
        """See the module."""
        filters = [
            (lambda x, low=low, high=high: (x >= low) & (x <= high), name)
            for name, low, high in limits
        ]
        for part in self._catalog.get_quantities(
            list(columns), filters=filters, return_iterator=True
        ):
            yield {name: np.asarray(part[name]) for name in columns}


def require(source, name: str) -> str:
    """Returns the name of a column after making sure that a source has it.

    Raises:
        CatalogError: If it has not.
    """
    if name not in source.names:
        raise CatalogError(
            f"{source.path}: column '{name}' is missing; it holds {', '.join(source.names)}"
        )
    return name


def _gcr_by_name(name):
    if find_spec("GCRCatalogs") is None:
        raise CatalogError(
            f"{name}: no such file; give the path of a FITS or Parquet table"
            " (or install GCRCatalogs to load its catalogues by name)"
        )
    import GCRCatalogs

    try:
        return GcrSource(GCRCatalogs.load_catalog(str(name)))
    except Exception as error:  # GCRCatalogs raises whatever its readers raise
        raise CatalogError(
            f"{name}: neither a file nor a catalogue that GCRCatalogs can load ({error})"
        ) from error


def _native(values):
    return values.astype(values.dtype.newbyteorder("="))


def _from_arrow(column):
    import pyarrow

    if pyarrow.types.is_list(column.type):
        return column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    if pyarrow.types.is_integer(column.type) and column.null_count:
        column = column.cast(pyarrow.float64())  # a missing number becomes NaN, as in FITS
    return column.to_numpy(zero_copy_only=False)


@contextmanager
def _readable(path):
    try:
        yield
    except CatalogError:
        raise
    except Exception as error:  # on a damaged file the readers raise anything
        text = " ".join(str(error).split()) or type(error).__name__
        raise CatalogError(f"{path}: cannot be read ({text})") from error

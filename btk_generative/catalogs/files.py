"""Tables on disk, read by column and filtered before they fill the memory.

Every source has ``path`` (where it is, for messages), ``names`` (its columns), ``units`` (of those
that name one) and ``batches(columns, limits)``, which yields dictionaries of arrays for some
thousands of rows at a time, masked where the file marks values as missing. A limit is a triple
(column, low, high): a row stays if low <= value <= high, which a value that is not a number never
fulfils.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
from astropy.io import fits
from astropy.table.meta import get_header_from_yaml

from btk_generative.errors import CatalogError

FITS = (".fits", ".fit", ".fits.gz", ".fit.gz")
PARQUET = (".parquet", ".parq", ".pq")

_ROWS = 200_000  # rows of a table that are in memory together, besides those that stay


def open_source(path: Any) -> "Source":
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
            self.units = {c.name: _unit(c.unit, "fits") for c in hdu.columns if c.unit}

    @contextmanager
    def _table(self):
        with fits.open(self.path, memmap=True) as hdus:
            tables = [h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
            if not tables:
                raise ValueError("it holds no table")
            yield tables[0]

    def batches(
        self, columns: Iterable[str], limits: Iterable[tuple[str, float, float]] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """See the module."""
        with _readable(self.path), self._table() as hdu:
            for start in range(0, len(hdu.data), _ROWS):
                rows = hdu.data[start : start + _ROWS]
                keep = np.ones(len(rows), bool)
                for name, low, high in limits:
                    keep &= (rows[name] >= low) & (rows[name] <= high)
                yield {
                    name: _masked(_native(rows[name][keep]), hdu.columns[name].null)
                    for name in columns
                }


class ParquetSource:
    """A Parquet file or a folder of them."""

    def __init__(self, path):
        import pyarrow.dataset

        self.path = path
        with _readable(path):
            self._dataset = pyarrow.dataset.dataset(path, format="parquet")
            self.units, self._masks = _notes(self._dataset.schema)
        masks = self._masks.values()
        self.names = tuple(name for name in self._dataset.schema.names if name not in masks)

    def batches(
        self, columns: Iterable[str], limits: Iterable[tuple[str, float, float]] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """See the module. A column of equally long lists becomes a two-dimensional array."""
        import pyarrow.compute

        condition = None
        for name, low, high in limits:
            field = pyarrow.compute.field(name)
            inside = (field >= low) & (field <= high)
            condition = inside if condition is None else condition & inside
        with _readable(self.path):
            masks = {name: self._masks[name] for name in columns if name in self._masks}
            for batch in self._dataset.to_batches(
                columns=[*columns, *masks.values()], filter=condition, batch_size=_ROWS
            ):
                rows = {name: _from_arrow(batch.column(name)) for name in columns}
                for name, mask in masks.items():
                    rows[name] = np.ma.MaskedArray(rows[name], _from_arrow(batch.column(mask)))
                yield rows


class GcrSource:
    """A catalogue of GCRCatalogs, the reader of the Dark Energy Science Collaboration."""

    def __init__(self, catalog):
        self.path = getattr(catalog, "name", None) or type(catalog).__name__
        self.names = tuple(catalog.list_all_quantities())
        self.units = {}  # GCRCatalogs converts to the units of its schema
        self._catalog = catalog

    def batches(
        self, columns: Iterable[str], limits: Iterable[tuple[str, float, float]] = ()
    ) -> Iterator[dict[str, np.ndarray]]:
        """See the module."""
        filters = [
            (lambda x, low=low, high=high: (x >= low) & (x <= high), name)
            for name, low, high in limits
        ]
        for part in self._catalog.get_quantities(
            list(columns), filters=filters, return_iterator=True
        ):
            yield {name: np.asarray(part[name]) for name in columns}


Source = FitsSource | ParquetSource | GcrSource
"""A table on disk."""


def require(source: Source, name: str) -> str:
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


def _masked(values, null):
    """Returns a column of integers, masked where it holds FITS's TNULL."""
    if null is None or values.dtype.kind not in "iu":
        return values
    return np.ma.MaskedArray(values, values == null)


def _unit(text: str | None, convention: str | None = None) -> u.UnitBase:
    """Returns a unit; one that is not known is kept as it is written."""
    return u.Unit(text, format=convention, parse_strict="silent")


def _notes(schema: Any) -> tuple[dict, dict]:
    """Returns what the metadata of a Parquet file say: units, and which column masks which.

    Units are in astropy's header, or in the metadata of each field (as the Rubin Observatory's).
    """
    units = {}
    for field in schema:
        said = field.metadata or {}
        text = said.get(b"unit") or said.get(b"units")
        if text:
            units[field.name] = _unit(text.decode())
    written = (schema.metadata or {}).get(b"table_meta_yaml")
    if written is None:
        return units, {}
    header = get_header_from_yaml(written.decode().splitlines())
    units |= {c["name"]: _unit(c["unit"]) for c in header["datatype"] if c.get("unit")}
    serialized = (header.get("meta") or {}).get("__serialized_columns__", {})
    masks = {
        name: parts["mask"]["name"]
        for name, parts in serialized.items()
        if parts["__class__"] == "astropy.table.column.MaskedColumn" and "mask" in parts
    }
    return units, masks


def _from_arrow(column):
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pyarrow.types.is_list(column.type) or pyarrow.types.is_fixed_size_list(column.type):
        values = column.flatten()
        if not column.null_count and not values.null_count:
            lengths = set(column.value_lengths().to_pylist())
            if len(lengths) == 1:
                return values.to_numpy(zero_copy_only=False).reshape(len(column), *lengths)
    if pyarrow.types.is_integer(column.type) and column.null_count:
        missing = column.is_null().to_numpy(zero_copy_only=False)
        return np.ma.MaskedArray(column.fill_null(0).to_numpy(zero_copy_only=False), missing)
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

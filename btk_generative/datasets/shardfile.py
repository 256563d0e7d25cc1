"""Blends in an HDF5 file that `btk.blend_batch.BlendBatch.load` reads.

The layout is BTK's own, in float32, compressed (shuffle and gzip), a chunk for each blend and each
isolated galaxy, so that one blend is read without the others and a galaxy that is not there takes
no space. Isolated images are smooth, and the last digits of their wings, which are noise of the
arithmetic, would not compress: each pixel is rounded to float32's resolution at the brightest
pixel of its image.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import h5py
import numpy as np
from astropy.io.misc.hdf5 import meta_path
from astropy.table import MaskedColumn, Table
from astropy.table.meta import get_yaml_from_table
from astropy.table.serialize import represent_mixins_as_columns
from astropy.utils.data_info import serialize_context_as

if TYPE_CHECKING:
    from btk.blend_batch import BlendBatch

_FILTERS = {"compression": "gzip", "compression_opts": 1, "shuffle": True}


@contextmanager
def create(path: str, blends: int, isolated: bool) -> "Iterator[Callable[[BlendBatch], None]]":
    """Creates a shard.

    Args:
        path: The file.
        blends: Number of blends that it will hold.
        isolated: Whether to keep isolated images. Without them BTK reads zeros in their place.

    Yields:
        A function that adds a batch (`btk_generative.draw.SurveyBatch`) to the file.

    Raises:
        OSError: If the file cannot be written.
    """
    with open(path, "w+b", buffering=0) as raw:
        disk = _Disk(raw)
        with h5py.File(disk, "w") as file:
            writer = _Writer(file, disk, blends, isolated)
            yield writer.append
            if writer.count != blends:
                raise ValueError(f"{path} got {writer.count} blends instead of {blends}")
        disk.check()


class _Disk:
    """A file that keeps its errors to itself until it is asked.

    HDF5 does not survive a full disk: closing the file fails, and the process crashes later. It
    must not notice, so what cannot be written is kept in memory, which is little: nothing more is
    written once `check` was called.
    """

    def __init__(self, raw):
        self._raw, self._unwritten, self._error = raw, [], None
        for name in ("read", "seek", "tell", "truncate", "flush"):
            setattr(self, name, getattr(raw, name))

    def check(self) -> None:
        """Raises what went wrong in writing, if anything did."""
        if self._error is not None:
            raise self._error

    def write(self, data: memoryview) -> int:
        view, position = memoryview(data).cast("B"), self._raw.tell()
        written = 0
        try:
            while self._error is None and written < len(view):
                written += self._raw.write(view[written:])
        except OSError as error:
            self._error = error
        if written < len(view):
            self._unwritten.append((position + written, bytes(view[written:])))
            self._raw.seek(position + len(view))
        return len(view)

    def readinto(self, buffer: memoryview) -> int:
        view, start = memoryview(buffer).cast("B"), self._raw.tell()
        count = self._raw.readinto(view)
        view[count:] = bytes(len(view) - count)
        for position, data in self._unwritten:
            low, high = max(position, start), min(position + len(data), start + len(view))
            if low < high:
                view[low - start : high - start] = data[low - position : high - position]
        self._raw.seek(start + len(view))
        return len(view)


class _Writer:
    def __init__(self, file, disk, blends, isolated):
        self.file, self.disk, self.blends, self.isolated = file, disk, blends, isolated
        self.count = 0

    def append(self, batch: "BlendBatch") -> None:
        self.disk.check()
        if self.count == 0:
            self._prepare(batch)
        for index, table in enumerate(batch.catalog_list):
            self.images[self.count] = batch.blend_images[index]
            if self.isolated:
                for galaxy in range(len(table)):
                    image = batch.isolated_images[index, galaxy]
                    self.isolated_images[self.count, galaxy] = _rounded(image)
            rows = _as_rows(table, self.kind)
            self.tables.create_dataset(str(self.count), data=rows, dtype=self.row)
            if self.notes is not None:
                self.tables[meta_path(str(self.count))] = self.notes
            self.count += 1

    def _prepare(self, batch):
        file, shape = self.file, batch.isolated_images.shape[1:]

        def create(name, one):
            chunk = (1,) * (1 + len(one) - 3) + one[-3:]
            return file.create_dataset(name, (self.blends, *one), "f4", chunks=chunk, **_FILTERS)

        # open until the file is closed: HDF5 would write out what it holds back at each closing,
        # and the order of the bytes would depend on the batches
        self.images = create("blend_images", shape[1:])
        self.isolated_images = create("isolated_images", shape)
        self.tables = file.create_group("catalog_list")
        self.kind, notes = _row_of(batch.catalog_list[0])
        file["row"] = self.kind  # shared by the blends' tables, as are the notes
        self.row, self.notes = file["row"], None
        if notes is not None:
            self.notes = file.create_dataset("notes", data=notes)
        file.create_dataset("psf", data=batch.get_numpy_psf().astype(np.float32))
        file.attrs["batch_size"] = self.blends
        file.attrs["max_n_sources"] = batch.max_n_sources
        file.attrs["stamp_size"] = batch.stamp_size
        file.attrs["survey_name"] = batch.survey.name
        file.attrs["isolated"] = self.isolated


def _row_of(table: Table) -> tuple[np.dtype, np.ndarray | None]:
    """Returns the type of a row of the truth in the file, and what else there is to its columns.

    That is a mask after each column that may have one, and astropy's header, by which its reader
    puts masks, units and descriptions back; None where there are neither.
    """
    one = Table()
    for name, column in table.columns.items():
        kind = f"S{column.dtype.itemsize // 4}" if column.dtype.kind == "U" else column.dtype
        make = type(column)
        one[name] = make(
            np.zeros((1, *column.shape[1:]), kind), unit=column.unit, description=column.description
        )
        if make is MaskedColumn:
            one[name].mask = True
    with serialize_context_as("hdf5"):
        encoded = represent_mixins_as_columns(one)
    if encoded is one and not any(c.unit or c.description for c in one.columns.values()):
        return encoded.dtype, None
    return encoded.dtype, np.array([line.encode() for line in get_yaml_from_table(encoded)])


def _as_rows(table: Table, kind: np.dtype) -> np.ndarray:
    rows = np.empty(len(table), kind)
    for name, column in table.columns.items():
        data = np.ma.getdata(column, subok=False)
        rows[name] = np.char.encode(data, "utf-8") if data.dtype.kind == "U" else data
        if isinstance(column, MaskedColumn):
            rows[f"{name}.mask"] = column.mask
    return rows


def _rounded(images):
    """Images [bands, N, N] as float32, each in steps of its maximum's last digit."""
    peak = np.abs(images).max(axis=(-1, -2), keepdims=True)
    step = 2.0 ** (np.ceil(np.log2(np.maximum(peak, 1e-30))) - 23)
    return (np.round(images / step) * step).astype(np.float32)

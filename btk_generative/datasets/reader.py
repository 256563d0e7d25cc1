"""Reads a data set of blends: one blend, batches in order or shuffled, TensorFlow, PyTorch."""

import os
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
from astropy.io.misc.hdf5 import read_table_hdf5
from astropy.table import Table

from btk_generative.datasets import layout, manifest
from btk_generative.datasets.store import Store
from btk_generative.errors import OutputError
from btk_generative.runs.processes import Lock

if TYPE_CHECKING:
    import pyarrow.dataset
    import tensorflow as tf
    import torch

_OPEN_FILES = 16
_SHUFFLED_TOGETHER = 8  # shards whose blends are mixed; as many files are open


@dataclass(frozen=True)
class Blend:
    """One blend as one survey sees it."""

    image: np.ndarray
    """Electrons per pixel, float32 [bands, N, N]."""
    isolated: np.ndarray | None
    """Image of each galaxy without noise, float32 [galaxies, bands, N, N]; None if not kept."""
    catalog: Table
    """Truth, a row for each galaxy."""


def open_dataset(folder: str | os.PathLike, survey: str | None = None) -> "BlendDataset":
    """Opens a data set that `btk-generative generate` wrote.

    Args:
        folder: The folder, or an address in an object store.
        survey: Which survey's images to read; may be left out where there is only one.

    Returns:
        The data set: a sequence of blends.

    Raises:
        OutputError: If the folder is no data set, is not complete, or has no such survey.
    """
    return BlendDataset(folder, survey)


class BlendDataset:
    """The blends of a data set, in order; `open_dataset` makes one.

    It has a length, gives a `Blend` for an index, can be pickled and read from any number of
    threads and processes, forked ones too, so that it is a map-style data set for PyTorch as it is.

    Attributes:
        manifest: Configuration, versions and checksums that the data set was made from.
        survey: Name of the survey whose images are read.
    """

    def __init__(self, folder: str | os.PathLike, survey: str | None = None) -> None:
        self._store = Store(folder)
        self.manifest = manifest.read(self._store)
        shape = manifest.read_as(manifest.Shape, self._store)
        surveys = shape.survey
        if survey is None and len(surveys) == 1:
            survey = surveys[0]
        if survey not in surveys:
            raise OutputError(
                f"{folder} has the surveys {', '.join(surveys)}; give one of them as survey,"
                f" not {survey!r}"
            )
        self.survey = survey
        self._shards, self._per_shard = shape.shards, shape.blends_per_shard
        self._isolated = shape.isolated
        self._files: OrderedDict[int, h5py.File] = OrderedDict()
        self._process, self._lock = os.getpid(), Lock()
        missing = self._shards - len(manifest.finished(self._store, self._shards))
        if missing:
            raise OutputError(
                f"{folder} lacks {missing} of its {self._shards} shards; run 'btk-generative"
                " generate' with the same configuration again, which draws them"
            )

    def __len__(self) -> int:
        return self._shards * self._per_shard

    def __getitem__(self, index: int) -> Blend:
        if not -len(self) <= index < len(self):
            raise IndexError(f"blend {index} of a data set of {len(self)}")
        shard, row = divmod(int(index) % len(self), self._per_shard)
        with self._lock:
            file = self._open(shard)
            catalog = read_table_hdf5(file, f"catalog_list/{row}")
            isolated = file["isolated_images"][row, : len(catalog)] if self._isolated else None
            return Blend(file["blend_images"][row], isolated, catalog)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_files": OrderedDict()}

    @property
    def truth(self) -> "pyarrow.dataset.Dataset":
        """The truth catalogue of all blends, a `pyarrow.dataset.Dataset`.

        It is read by column and row group: ``dataset.truth.to_table(columns=["i_ab"])``.
        """
        import pyarrow.dataset

        with self._lock:
            self._renew_after_a_fork()
        return pyarrow.dataset.dataset(
            self._store.path(layout.TRUTH), filesystem=self._store.filesystem, format="parquet"
        )

    def batches(
        self,
        batch_size: int,
        shuffle_seed: int | None = None,
        part: int = 0,
        parts: int = 1,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Goes once through the blends.

        Args:
            batch_size: Blends in a batch; the last one may be smaller.
            shuffle_seed: Shuffles: the order of the shards, and the blends of some shards
                together. Another seed for each epoch gives another order.
            part: With `parts`, which of them to go through.
            parts: Splits the shards among so many readers.

        Yields:
            ``index`` int64 [n]; ``image`` float32 [n, bands, N, N]; ``isolated`` float32
            [n, max_number, bands, N, N], zero beyond the galaxies of a blend, where it was kept.
        """
        pending = []
        for index in self._order(shuffle_seed, part, parts):
            pending.append(index)
            if len(pending) == batch_size:
                yield self._batch(pending)
                pending = []
        if pending:
            yield self._batch(pending)

    def to_tensorflow(self, batch_size: int, shuffle_seed: int | None = None) -> "tf.data.Dataset":
        """Returns `batches` as a `tf.data.Dataset` of dictionaries of tensors."""
        import tensorflow as tf

        signature = {
            name: tf.TensorSpec((None, *values.shape[1:]), values.dtype)
            for name, values in self._batch([0]).items()
        }
        return tf.data.Dataset.from_generator(
            lambda: self.batches(batch_size, shuffle_seed), output_signature=signature
        ).prefetch(tf.data.AUTOTUNE)

    def to_torch(
        self, batch_size: int, shuffle_seed: int | None = None
    ) -> "torch.utils.data.IterableDataset":
        """Returns `batches` as a `torch.utils.data.IterableDataset` of dictionaries of tensors.

        The workers of a `torch.utils.data.DataLoader` (with ``batch_size=None``) share the shards.
        """
        import torch
        from torch.utils.data import IterableDataset, get_worker_info

        dataset = self

        class Batches(IterableDataset):
            def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
                worker = get_worker_info()
                part, parts = (worker.id, worker.num_workers) if worker else (0, 1)
                for batch in dataset.batches(batch_size, shuffle_seed, part, parts):
                    yield {name: torch.from_numpy(values) for name, values in batch.items()}

        return Batches()

    def _order(self, seed, part, parts):
        rng = None if seed is None else np.random.default_rng(seed)
        shards = np.arange(self._shards) if rng is None else rng.permutation(self._shards)
        shards = shards[part::parts]
        for start in range(0, len(shards), _SHUFFLED_TOGETHER):
            together = shards[start : start + _SHUFFLED_TOGETHER]
            indices = (together[:, None] * self._per_shard + np.arange(self._per_shard)).ravel()
            yield from indices if rng is None else rng.permutation(indices)

    def _batch(self, indices):
        batch = {"index": np.array(indices, dtype=np.int64)}
        names = {"image": "blend_images"} | (
            {"isolated": "isolated_images"} if self._isolated else {}
        )
        for name, stored in names.items():
            with self._lock:
                batch[name] = np.stack(
                    [
                        self._open(shard)[stored][row]
                        for shard, row in (divmod(i, self._per_shard) for i in indices)
                    ]
                )
        return batch

    def _renew_after_a_fork(self):
        if self._process != os.getpid():
            self._store = Store(self._store.url)
            self._files, self._process = OrderedDict(), os.getpid()

    def _open(self, shard):
        """The file of a shard; the ones used last are kept open, by the process that opened them.

        Open files share their position with those of the process that this one was forked from.
        """
        self._renew_after_a_fork()
        if shard not in self._files:
            name = layout.images(self.survey, shard)
            try:
                self._files[shard] = h5py.File(self._store.open(name), "r")
            except OSError as error:
                raise OutputError(
                    f"{self._store.path(name)} cannot be read ({error}); 'btk-generative dataset"
                    " verify --repair' draws damaged shards again"
                ) from error
            if len(self._files) > _OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard)
        return self._files[shard]

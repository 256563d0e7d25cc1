"""Draws one shard: the same files, bit for bit, whoever draws it and when."""

import time
from contextlib import ExitStack

from astropy.table import Table, vstack
from btk.catalog import CatsimCatalog

from btk_generative.datasets import layout, shardfile
from btk_generative.datasets.config import GenerateConfig
from btk_generative.datasets.store import Store
from btk_generative.draw import GenerativeGenerator, SurveyBatches
from btk_generative.draw.truth import truth_of, write_parquet
from btk_generative.models.model import GenerativeModel


class ShardMaker:
    """What a thread keeps from shard to shard."""

    def __init__(
        self, config: GenerateConfig, catalog: CatsimCatalog, model: GenerativeModel
    ) -> None:
        """Sets up the generator.

        Args:
            config: What to draw.
            catalog: The configuration's catalogue, already read.
            model: Its model, already loaded.

        Raises:
            GenerativeError: If the catalogue or an option is not usable.
        """
        self._config = config
        sampling = config.sampling.build(config.seed)
        options = config.generator_options() | {"model": model}
        self._generator = GenerativeGenerator(catalog, sampling, config.surveys(), **options)

    def make(self, store: Store, shard: int) -> dict:
        """Draws a shard into a store, a batch of blends at a time.

        Args:
            store: Where its files go: an image file for each survey, the truth, and at last the
                shard's row of the manifest, without which the shard does not count.
            shard: Number of the shard.

        Returns:
            The row of the manifest: ``shard``, ``blends``, ``galaxies``, ``files`` (name, bytes
            and SHA-256 of each), ``finished`` (seconds since 1970), and the ``seconds`` that it
            took, with the parts of them spent in drawing and writing.

        Raises:
            OutputError: If a file cannot be written; the shard is not there then.
        """
        started = time.perf_counter()
        with ExitStack() as stack:
            images = {
                survey: stack.enter_context(store.new_file(layout.images(survey, shard)))
                for survey in self._config.survey
            }
            tables, drawing, writing = self._stream({s: f.path for s, f in images.items()}, shard)
            closing = time.perf_counter()
        table = vstack(tables, metadata_conflicts="silent")
        with store.new_file(layout.truth(shard)) as truth:
            write_parquet(table, truth.path)
        writing += time.perf_counter() - closing
        files = {layout.images(survey, shard): file for survey, file in images.items()}
        files[layout.truth(shard)] = truth
        row = {
            "shard": shard,
            "blends": self._config.blends_per_shard,
            "galaxies": len(table) // len(images),
            "files": {
                name: {"bytes": file.size, "sha256": file.sha256} for name, file in files.items()
            },
            "finished": round(time.time(), 3),
            "seconds": {
                "drawing": round(drawing, 4),
                "writing": round(writing, 4),
                "total": round(time.perf_counter() - started, 4),
            },
        }
        store.write_json(layout.row(shard), row)
        return row

    def _stream(self, paths: dict[str, str], shard: int) -> tuple[list[Table], float, float]:
        """Draws the shard's blends into image files; returns truth tables and seconds."""
        config, tables, drawing, writing = self._config, [], 0.0, 0.0
        first = shard * config.blends_per_shard
        last = first + config.blends_per_shard
        with ExitStack() as stack:
            append = {
                survey: stack.enter_context(
                    shardfile.create(path, config.blends_per_shard, config.isolated)
                )
                for survey, path in paths.items()
            }
            for blend in range(first, last, config.batch_size):
                clock = time.perf_counter()
                self._generator.seek(blend, min(config.batch_size, last - blend))
                batch = next(self._generator)
                parts = batch[:] if isinstance(batch, SurveyBatches) else [batch]
                drawn = time.perf_counter()
                for part in parts:
                    append[part.survey.name](part)
                    tables.append(truth_of(part, shard=shard))
                drawing += drawn - clock
                writing += time.perf_counter() - drawn
        return tables, drawing, writing

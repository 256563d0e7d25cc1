"""The work of `btk-generative draw`: batches on disk, with truth, figure and summary."""

import json
import time
from pathlib import Path

from astropy.table import vstack
from tqdm.auto import tqdm

from btk_generative.draw.batch import SurveyBatch, SurveyBatches
from btk_generative.draw.config import DrawConfig
from btk_generative.draw.figure import save_figure
from btk_generative.draw.generative import GenerativeGenerator
from btk_generative.draw.truth import truth_of, write_parquet
from btk_generative.errors import OutputError
from btk_generative.runs.folder import new_folder
from btk_generative.runs.provenance import model_facts, versions


def run(config: DrawConfig, output: str | Path) -> dict:
    """Draws the configured batches into a new folder.

    The folder gets ``blend_{k}.hdf5`` for each batch (``{k}/{survey}/blend_{k}.hdf5`` with
    several surveys), which `btk.blend_batch.BlendBatch.load` reads, ``truth.parquet``,
    ``blends.png`` (and ``.pdf``) and ``summary.json``.

    Args:
        config: What to draw.
        output: The folder, which must be new or empty.

    Returns:
        What ``summary.json`` holds.
    """
    started = time.perf_counter()
    with new_folder(output) as folder:
        generator = GenerativeGenerator(
            config.catalog.read(),
            config.sampling.build(config.seed),
            config.surveys(),
            batch_size=config.batch_size,
            njobs=config.njobs,
            verbose=config.verbose,
            **config.generator_options(),
        )
        truth = []
        bar = tqdm(
            total=config.batches * config.batch_size, unit="blend", disable=not config.use_bar
        )
        with bar:
            for number in range(config.batches):
                batch = next(generator)
                _save(batch, folder, number)
                truth += [truth_of(part) for part in _surveys(batch)]
                if number == 0:
                    save_figure(_surveys(batch)[0], folder / "blends")
                bar.update(config.batch_size)
        truth = vstack(truth, metadata_conflicts="silent")
        if truth.has_masked_columns:  # astropy would write what is under the masks
            write_parquet(truth, folder / "truth.parquet")
        else:
            truth.write(folder / "truth.parquet")
        first = truth[truth["survey"] == config.survey[0]]
        summary = {
            "blends": config.batches * config.batch_size,
            "galaxies": len(first),
            "outside_domain": int((~first["in_domain"]).sum()),
            "seed": config.seed,
            "survey": config.survey,
            "model": model_facts(generator.model),
            "seconds": round(time.perf_counter() - started, 3),
            "versions": versions(),
            "configuration": config.model_dump(mode="json"),
        }
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    return summary


def _save(batch: SurveyBatch | SurveyBatches, folder: Path, number: int) -> None:
    try:
        batch.save(str(folder), number)
    except (RuntimeError, OSError) as error:  # HDF5 raises either where the disk is full
        raise OutputError(f"cannot write batch {number} to {folder.parent}: {error}") from error


def _surveys(batch: SurveyBatch | SurveyBatches) -> list[SurveyBatch]:
    return batch[:] if isinstance(batch, SurveyBatches) else [batch]

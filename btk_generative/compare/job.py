"""A comparison from configuration to numbers: in parts, resumed where it stopped."""

import json
import os
import shutil
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from btk.survey import get_surveys
from tqdm.auto import tqdm

from btk_generative.compare.comparison import Comparison, gallery
from btk_generative.compare.config import CompareConfig
from btk_generative.compare.metrics import reference_band
from btk_generative.errors import ConfigError, OutputError
from btk_generative.runs.files import new_file, write_json
from btk_generative.runs.provenance import model_facts, versions
from btk_generative.runs.workers import Workers

if TYPE_CHECKING:
    from btk_generative.compare.bench import Bench

PART = 5
"""Blends in a part, which is what a killed run loses at most."""

_PACKAGES = (
    "btk-generative", "blending-toolkit", "galsim", "scarlet2", "jax", "sep", "numpy",
)  # fmt: skip
_ONE_THREAD = {
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1",
    "TF_NUM_INTRAOP_THREADS": "1",
    "TF_NUM_INTEROP_THREADS": "1",
    "OMP_NUM_THREADS": "1",
}


def run(
    config: CompareConfig, output: str | Path | None = None, jobs: int = 1, progress: bool = True
) -> Comparison:
    """Runs a comparison and, where an output folder is given, writes its report.

    The folder gets ``report.html``, ``metrics.parquet``, ``metrics.csv``, ``summary.csv``,
    ``run.json`` and ``figures/``. Parts are kept in ``parts/`` as they are measured: the same
    command on the same folder goes on where it was stopped, and gives the same numbers.

    Args:
        config: What to compare.
        output: Folder, new, empty, or of the same comparison.
        jobs: Number of processes, which are spawned.
        progress: Whether to show a progress bar.

    Returns:
        The measurements.

    Raises:
        ConfigError: If an argument is out of range.
        OutputError: If the folder holds something else or cannot be written.
        GenerativeError: If catalogue, model or a deblender cannot be had.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1, not {jobs}")
    folder = Path(tempfile.mkdtemp()) if output is None else Path(output)
    facts = _claim(folder, config)
    try:
        started = time.perf_counter()
        comparison = _measure(config, folder, jobs, progress, facts)
        facts["seconds"] = round(time.perf_counter() - started, 1)
        if output is not None:
            from btk_generative.compare.report import write_report

            write_report(comparison, folder)
        return comparison
    except BaseException:
        if not any((folder / "parts").glob("*.parquet")):  # nothing that a later run could use
            shutil.rmtree(folder / "parts", ignore_errors=True)
            (folder / "run.json").unlink(missing_ok=True)
        raise
    finally:
        if output is None:
            shutil.rmtree(folder, ignore_errors=True)


def _claim(folder: Path, config: CompareConfig) -> dict:
    """Makes the folder, or checks that it is of the same comparison; returns the run's facts."""
    from btk_generative.models import load_model

    note = folder / "run.json"
    facts = {
        "fingerprint": config.fingerprint(),
        "seed": config.seed,
        "model": None,
        "versions": versions(_PACKAGES),
        "configuration": config.model_dump(mode="json"),
    }
    if {"generative", "fitted"} & set(config.arms):
        model = load_model(config.model)
        facts["model"] = model_facts(model)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if note.exists():
            known = json.loads(note.read_text())
            for key in ("fingerprint", "model", "versions"):
                if known.get(key) != facts[key]:
                    raise OutputError(
                        f"{folder} holds another comparison ({key} differs): "
                        "remove it or choose another folder"
                    )
        elif any(folder.iterdir()):
            raise OutputError(f"{folder} is not empty: remove it or choose another folder")
        (folder / "parts").mkdir(exist_ok=True)
        for left in (folder / "parts").glob(".*"):
            left.unlink()
        write_json(note, facts)
    except (OSError, json.JSONDecodeError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot use {folder}: {error}") from error
    return facts


def _measure(
    config: CompareConfig, folder: Path, jobs: int, progress: bool, facts: dict
) -> Comparison:
    wanted = [
        range(start, min(start + PART, config.blends)) for start in range(0, config.blends, PART)
    ]
    path = {part: folder / "parts" / f"{part.start:08d}-{part.stop:08d}.parquet" for part in wanted}
    missing = [part for part in wanted if not path[part].exists()]
    bar = tqdm(
        total=config.blends,
        initial=config.blends - sum(map(len, missing)),
        unit="blend",
        desc="Comparing",
        disable=not progress,
    )
    if missing and jobs > 1:
        _start(config)  # here first, where what is wrong with it raises its own error
    with bar, Workers(jobs, _start, config) as workers:
        for index, rows in workers.map(_rows, missing):
            with new_file(path[missing[index]]) as partial:
                pd.DataFrame(rows).to_parquet(partial)
            bar.update(len(missing[index]))
        frames = [pd.read_parquet(path[part]) for part in wanted]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            raise ConfigError(
                f"none of the {config.blends} blends has a galaxy, so there is nothing to compare;"
                " give more blends, or a sampling with more galaxies"
            )
        table = pd.concat(frames, ignore_index=True)
        survey = get_surveys(config.survey[0])
        bands, band = list(survey.available_filters), reference_band(survey)
        comparison = Comparison(config, table, bands, band, facts)
        shown = list(dict.fromkeys(chain(*gallery(comparison).values())))
        pictures = dict(workers.map(_pictures, shown))
        comparison.pictures = {shown[index]: seen for index, seen in pictures.items()}
    return comparison


_BENCH: "Bench"  # of a process that works


def _start(config: CompareConfig) -> None:
    """Makes the bench of this process, on one thread unless JAX was imported before."""
    global _BENCH
    if "jax" not in sys.modules:
        for key, value in _ONE_THREAD.items():
            os.environ.setdefault(key, value)
    from btk_generative.compare.bench import Bench

    _BENCH = Bench(config)


def _rows(part: range) -> list[dict]:
    return [row for blend in part for row in _BENCH.rows(blend)]


def _pictures(blend: int) -> dict:
    return _BENCH.pictures(blend)

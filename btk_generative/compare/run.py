"""A comparison from configuration to numbers: in parts, resumed where it stopped."""

import json
import multiprocessing
import os
import platform
import shutil
import sys
import tempfile
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from pathlib import Path

import pandas as pd
from tqdm.auto import tqdm

from btk_generative.compare.config import CompareConfig
from btk_generative.compare.metrics import Metric, metrics_of
from btk_generative.compare.statistics import Difference, paired_difference
from btk_generative.errors import ConfigError, OutputError

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


@dataclass
class Comparison:
    """What a run measured."""

    config: CompareConfig
    table: pd.DataFrame
    """A row per blend, galaxy, scene ("blend" or "alone"), arm and deblender."""
    bands: list[str]
    band: str
    """The reference band."""
    facts: dict
    """Versions, seed, model and times of the run."""
    pictures: dict = field(default_factory=dict, repr=False)
    """Images of the blends in the galleries, by index of the blend."""

    @property
    def metrics(self) -> list[Metric]:
        """The metrics of the headline table."""
        return metrics_of(self.bands, self.band)

    def pairs(self, deblender: str, arms: tuple[str, str], scene: str = "blend") -> pd.DataFrame:
        """Returns the sources side by side, columns with suffix ``_0`` and ``_1`` for the arms."""
        keys = ["blend", "galaxy"]
        chosen = self.table[(self.table.deblender == deblender) & (self.table.scene == scene)]
        first, second = (chosen[chosen.arm == arm] for arm in arms)
        return first.merge(second, on=keys, suffixes=("_0", "_1"), validate="one_to_one")

    def difference(
        self, metric: Metric, deblender: str, arms: tuple[str, str], scene: str = "blend"
    ) -> Difference:
        """Compares the second arm with the first in one metric.

        Args:
            metric: One of `metrics`, or any other column.
            deblender: Label of the deblender.
            arms: Baseline, and the arm that is compared with it.
            scene: "blend", or "alone" for the control.
        """
        pairs = self.pairs(deblender, arms, scene)
        if f"{metric.column}_0" not in pairs:
            return paired_difference([], [], [], metric.statistic)
        return paired_difference(
            pairs[f"{metric.column}_1"].to_numpy(float),
            pairs[f"{metric.column}_0"].to_numpy(float),
            pairs["blend"].to_numpy(),
            metric.statistic,
            self.config.seed,
        )


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
        "versions": {"python": platform.python_version(), **_versions()},
        "configuration": config.model_dump(mode="json"),
    }
    if {"generative", "fitted"} & set(config.arms):
        model = load_model(config.model)
        facts["model"] = {"name": model.name, "sha256": model.sha256}
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
        write_text(note, json.dumps(facts, indent=2) + "\n")
    except (OSError, json.JSONDecodeError) as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"cannot use {folder}: {error}") from error
    return facts


def _measure(config, folder, jobs, progress, facts) -> Comparison:
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
    with bar, _workers(config, jobs) as workers:
        for part, rows in workers("rows", missing):
            frame = pd.DataFrame(rows)
            temporary = path[part].with_name("." + path[part].name)
            frame.to_parquet(temporary)
            os.replace(temporary, path[part])
            bar.update(len(part))
        frames = [pd.read_parquet(path[part]) for part in wanted]
        frames = [frame for frame in frames if len(frame)]
        if not frames:
            raise ConfigError(
                f"none of the {config.blends} blends has a galaxy, so there is nothing to compare;"
                " give more blends, or a sampling with more galaxies"
            )
        table = pd.concat(frames, ignore_index=True)
        bands, band = workers.bands
        comparison = Comparison(config, table, bands, band, facts)
        chosen = gallery(comparison)
        shown = [range(blend, blend + 1) for blend in dict.fromkeys(chain(*chosen.values()))]
        comparison.pictures = {part.start: seen for part, seen in workers("pictures", shown)}
    return comparison


def gallery(comparison: Comparison) -> dict[str, list[int]]:
    """Returns the best, median and worst blends, by the first deblender's χ² in the second arm."""
    config = comparison.config
    table = comparison.table
    table = table[
        (table.deblender == config.deblenders[0].label)
        & (table.arm == config.arms[1])
        & (table.scene == "blend")
        & ~table.failed
    ]
    if "chi2" not in table or table.chi2.notna().sum() == 0:
        return {"best": [], "median": [], "worst": []}
    ranked = table.groupby("blend").chi2.mean().dropna().sort_values().index.to_list()
    count = min(config.gallery, max(1, len(ranked) // 3))
    middle = (len(ranked) - count) // 2
    return {
        "best": ranked[:count],
        "median": ranked[middle : middle + count],
        "worst": ranked[::-1][:count],
    }


class _workers:
    """Benches in this process or in spawned ones, made when there is something to do."""

    def __init__(self, config: CompareConfig, jobs: int):
        self.config, self.jobs, self._pool, self._bench = config, jobs, None, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._pool:
            self._pool.shutdown(cancel_futures=True)

    @property
    def bands(self):
        from btk.survey import get_surveys

        from btk_generative.compare.metrics import reference_band

        survey = get_surveys(self.config.survey[0])
        return list(survey.available_filters), reference_band(survey)

    def __call__(self, task: str, parts: list[range]):
        """Yields each part with its result: rows of all its blends, or pictures of its only one."""
        if self.jobs == 1:
            for part in parts:
                if self._bench is None:
                    self._bench = _start(self.config)
                yield part, _do(task, part, self._bench)
            return
        if parts and self._pool is None:
            _start(self.config)  # here first, where what is wrong with it raises its own error
            self._pool = ProcessPoolExecutor(
                self.jobs, multiprocessing.get_context("spawn"), _start, (self.config,)
            )
        waiting = {self._pool.submit(_do, task, part): part for part in parts}
        for future in as_completed(waiting):
            yield waiting[future], future.result()


_BENCH = None  # of a spawned process


def _start(config: CompareConfig):
    """Makes the bench of this process, on one thread unless JAX was imported before."""
    global _BENCH
    if "jax" not in sys.modules:
        for key, value in _ONE_THREAD.items():
            os.environ.setdefault(key, value)
    parent = multiprocessing.parent_process()
    if parent is not None:  # a worker ends with the run, even one that was killed
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()
    from btk_generative.compare.bench import Bench

    _BENCH = Bench(config)
    return _BENCH


def _do(task: str, part: range, bench=None):
    bench = bench or _BENCH
    if task == "pictures":
        return bench.pictures(part.start)
    return [row for blend in part for row in bench.rows(blend)]


def write_text(path: Path, text: str) -> None:
    """Writes a file that is complete as soon as it has its name."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found

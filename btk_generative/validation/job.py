"""The whole validation of a model, from its galaxies to the report."""

import time
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import galsim
import numpy as np
from astropy.table import vstack
from tqdm import tqdm

from btk_generative.conditions import from_cosmos
from btk_generative.errors import ModelError, need
from btk_generative.hst.instrument import read_psfs
from btk_generative.runs.folder import new_folder
from btk_generative.runs.provenance import model_facts
from btk_generative.runs.workers import Workers
from btk_generative.validation import sections
from btk_generative.validation.arms import Arms, PairBatch
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.distances import STATISTICS, distance_table, measured, sanity
from btk_generative.validation.held_out import held_out
from btk_generative.validation.published import read_published
from btk_generative.validation.real_stamps import DRAWS, RealStamps
from btk_generative.validation.report import write_report
from btk_generative.validation.tasks import measured_by

if TYPE_CHECKING:
    from btk_generative.models import GenerativeModel

FULL, QUICK = 10_240, 1_500
"""Galaxies of the catalogue that are drawn: the paper's own, or fewer."""

_PAIRS = 1_000


@dataclass(frozen=True)
class Inputs:
    """Where the data are."""

    published: Path
    """Folder of the published curves."""

    sample: CosmosSample
    """The galaxies that are drawn."""

    psfs: Path
    """FITS file of ACS PSFs, for a catalogue without images."""

    real_stamps: Path
    """Catalogue of real HST stamps; that part is left out where it does not exist."""

    training_stamps: Path
    """Stamps to look for in what the model draws; left out likewise."""


def find_inputs(data: Path, catalog: Path | None = None) -> Inputs:
    """Returns where the data are, below one folder.

    Args:
        data: Folder with ``lanusse2021``, ``cosmos_catalog``, ``cosmos_hst`` and ``ceers_f200w``.
        catalog: Another COSMOS catalogue than that folder's.

    Raises:
        CatalogError: If something is missing without which nothing can be compared, or is broken.
        PackageMissing: If the extra `validate` is not installed.
    """
    need("jinja2", "sklearn", extra="validate", what="validation")
    inputs = Inputs(
        data / "lanusse2021",
        CosmosSample(catalog or data / "cosmos_catalog" / "cosmos_25.2_parametric.fits"),
        data / "cosmos_hst" / "acs_psfs_100.fits",
        data / "cosmos_hst" / "real_galaxy_catalog.fits",
        data / "ceers_f200w" / "stamps_96px.npz",
    )
    read_published(inputs.published)
    if not inputs.sample.has_images:
        read_psfs(inputs.psfs)
    if inputs.real_stamps.exists():
        len(RealStamps(inputs.real_stamps))
    return inputs


def run(
    model: "GenerativeModel",
    output: Path,
    inputs: Inputs,
    number: int = FULL,
    seed: int = 0,
    jobs: int = 1,
) -> dict:
    """Draws and measures the galaxies, and writes the report.

    Args:
        model: A model that `load_model` returned.
        output: Folder to write; it must be new or empty.
        inputs: Result of `find_inputs`.
        number: Galaxies to draw, the first of the catalogue.
        seed: Seed of everything random.
        jobs: Worker processes, started afresh.

    Returns:
        What is written to ``summary.json``.

    Raises:
        CatalogError: If an input cannot be read.
        ModelError: If the model asks for inputs that a COSMOS catalogue does not give.
        OutputError: If the folder cannot be written.
    """
    begin = time.monotonic()
    sample = inputs.sample
    rows = np.arange(min(number, len(sample)))
    given = from_cosmos(sample.records(rows))
    unknown = {i.name for i in model.inputs} - set(given.colnames)
    if unknown:
        raise ModelError(
            f"model '{model.name}' asks for {sorted(unknown)}, "
            "which cannot be had from a COSMOS catalogue"
        )
    distributions = read_published(inputs.published)
    arms = Arms(inputs.sample, inputs.psfs, model, seed)
    few = rows[:_PAIRS]
    with new_folder(output) as folder, Workers(jobs) as workers:
        others = []  # first, as a damaged file should be found in the first minute
        if inputs.training_stamps.exists():
            others.append(sections.memorisation(arms, few, inputs.training_stamps))
        if inputs.real_stamps.exists():
            stamps = RealStamps(inputs.real_stamps)
            draws = 1 if number <= QUICK else DRAWS
            others.append(sections.real_stamps(model, stamps, draws, seed, workers))
        tables = {}
        if sample.has_images:
            tables["real"] = vstack(measured_by(workers, arms.real(rows), len(rows), "real"))
        batches = arms.parametric(rows)
        tables["parametric"] = vstack(measured_by(workers, batches, len(rows), "parametric"))
        tables["model"] = vstack(measured_by(workers, arms.drawn(rows), len(rows), "model"))
        lacking = [k for k in STATISTICS if not np.isfinite(measured(tables["model"])[k]).any()]
        if lacking:
            raise ModelError(
                f"model '{model.name}': {', '.join(lacking)} could be measured of none of "
                f"{len(rows)} galaxies; look at some with btk-generative draw"
            )
        twice = map(PairBatch, arms.drawn(few), arms.drawn(few, draw=1))
        pairs = vstack(measured_by(workers, twice, len(few), "second draw"))
        table = distance_table(distributions, tables, seed)
        made = (
            partial(sections.distances, table, distributions, tables),
            partial(sections.histograms, table, distributions, tables),
            partial(sections.splits, tables, given),
            partial(sections.fidelity, sample, tables),
            partial(sections.diversity, arms, few, tables["model"], pairs),
        )
        parts = [make() for make in tqdm(made, desc="report", unit="section")] + others
        check, seen = sanity(table), held_out(model.card, sample, len(rows))
        summary = {
            "model": model_facts(model),
            "galaxies": len(rows),
            "held_out": asdict(seen),
            "in_domain": float(np.mean(model.in_domain(given))),
            "seed": seed,
            "sanity": asdict(check),
            **{part.name: part.numbers for part in parts},
            "versions": {
                "btk_generative": version("btk-generative"),
                "galsim": galsim.__version__,
            },
            "seconds": round(time.monotonic() - begin, 1),
        }
        for name, measurements in tables.items():
            measurements.write(folder / f"galaxies_{name}.csv", format="ascii.csv")
        write_report(folder, f"Validation of the model '{model.name}'", seen, check, parts, summary)
    return summary

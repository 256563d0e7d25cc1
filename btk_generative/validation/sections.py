"""The parts of the report."""

from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table
from scipy.stats import wasserstein_distance
from tqdm import tqdm

from btk_generative.conditions import from_cosmos, half_light_radius
from btk_generative.galaxies import GalaxySampler
from btk_generative.models.profiles import LightProfiles
from btk_generative.randomness import stream
from btk_generative.runs.workers import Workers
from btk_generative.validation import conditional, figures
from btk_generative.validation.arms import Arms
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.distances import PUBLISHED_NOISE, STATISTICS, measured, select
from btk_generative.validation.memorisation import nearest_neighbours, read_training_stamps
from btk_generative.validation.published import SAMPLES, Distribution
from btk_generative.validation.real_stamps import (
    FEATURES,
    RealStamps,
    StampTask,
    conditions_of_fits,
    placed,
    two_sample,
)
from btk_generative.validation.report import Section
from btk_generative.validation.tasks import measured_by

if TYPE_CHECKING:
    from btk_generative.models import GenerativeModel

COSMOS_NOISE = 0.00316
"""Standard deviation of a pixel's noise in COSMOS, counts."""


def distances(table: Table, distributions: list[Distribution], arms: dict[str, Table]) -> Section:
    """Returns the distances to the published curves, the page's first table."""
    sane = select(table, "parametric", "parametric")
    errors = select(table, "parametric", "parametric", "error")
    lines = [
        ["sanity check", *(_with_error(sane[k], errors[k]) for k in STATISTICS)],
        ["published noise, rms", *(f"{PUBLISHED_NOISE[k]:.3f}" for k in STATISTICS)],
    ]
    numbers = {"sanity": {k: {"w1": sane[k], "error": errors[k]} for k in STATISTICS}}
    for sample in ("published generative", "published parametric", *arms):
        values = select(table, sample, "cosmos")
        errors = select(table, sample, "cosmos", "error")
        name = sample.replace("generative", SAMPLES["generative"])
        name = name if sample.startswith("published") else f"this run: {sample}"
        lines.append([name, *(_with_error(values[k], errors[k]) for k in STATISTICS)])
        numbers[sample] = {k: {"w1": values[k], "error": errors[k]} for k in STATISTICS}
    floors = select(table, "model", "cosmos", "floor")
    lines.append(["floor: as many real galaxies", *(f"{floors[k]:.3f}" for k in STATISTICS)])
    return Section(
        "distances",
        "Distance to real COSMOS galaxies, W1/sd",
        "Wasserstein-1 distance of each statistic's distribution to the published one of real "
        "COSMOS galaxies, over its standard deviation, with the bootstrap's standard error. The "
        "first two lines are about the published parametric sample instead: how far this run's "
        "parametric arm lies from it, and how far (rms) a correct one is expected to lie, because "
        "the published galaxies share eleven fields of noise. "
        "Kolmogorov–Smirnov and total variation distances, and those to the other published "
        "samples, are in distances.csv.",
        Table(rows=lines, names=["sample", *STATISTICS]),
        figures.curves(distributions, arms),
        table,
        numbers,
    )


def histograms(table: Table, distributions: list[Distribution], arms: dict[str, Table]) -> Section:
    """Returns the distances between joint distributions of two statistics."""
    joint = [d.name for d in distributions if len(d.columns) == 2]
    columns = {("tv", j): j for j in joint} | {("tv_8x8", j): f"{j}, 8 x 8" for j in joint}
    lines, numbers = [], {}
    for sample in ("published generative", "published parametric", *arms):
        picked = table[(table["sample"] == sample) & (table["reference"] == "cosmos")]
        found = {(row["measure"], row["distribution"]): row for row in picked}
        name = sample.replace("generative", SAMPLES["generative"])
        name = name if sample.startswith("published") else f"this run: {sample}"
        lines.append([name, *(_with_error(found[c]["value"], found[c]["error"]) for c in columns)])
        numbers[sample] = {
            label: {k: float(found[c][k]) for k in ("value", "error", "floor")}
            for c, label in columns.items()
        }
    lines.append(["floor: as many real galaxies", *(f"{found[c]['floor']:.3f}" for c in columns)])
    return Section(
        "histograms",
        "Joint distributions, total variation distance to real COSMOS",
        "Half the summed absolute difference of 32 x 32 cells, and of 8 x 8. The published counts "
        "saturate, and so do ours; few galaxies alone give a large distance, the more so in small "
        "cells: compare with the floor.",
        Table(rows=lines, names=["sample", *columns.values()]),
        figures.histograms(distributions, arms),
        numbers=numbers,
    )


def splits(arms: dict[str, Table], given: Table) -> Section:
    """Returns the comparison in bins of magnitude and size."""
    reference = "real" if "real" in arms else "parametric"
    by = {
        "F814W magnitude": np.asarray(given["mag_auto"]),
        "SExtractor radius [px]": np.asarray(given["flux_radius"]),
    }
    lines = []
    for label, x in by.items():
        edges = np.percentile(x, (0, 25, 50, 75, 100))
        for low, high in pairwise(edges):
            inside = (x >= low) & (x <= high)
            model, other = measured(arms["model"][inside]), measured(arms[reference][inside])
            values = [_raw_distance(model[k], other[k]) for k in STATISTICS]
            lines.append([f"{label} {low:.2f} to {high:.2f}", len(model), *values])
    table = Table(rows=lines, names=["bin", "galaxies", *STATISTICS])
    return Section(
        "splits",
        f"By magnitude and size: model against {reference}",
        f"W1/sd between the model and the {reference} arm in quarters of the sample, and the "
        "median with the band of 68 %. "
        + (
            ""
            if reference == "real"
            else "The published curves are not split, so the parametric fits stand in for real "
            "galaxies: differences in M, I and D are wanted, those in g and size are not."
        ),
        table,
        figures.splits(arms, by),
        table,
    )


def fidelity(sample: CosmosSample, arms: dict[str, Table]) -> Section:
    """Returns what went into the model against what came out."""
    table = conditional.fidelity(sample, arms["model"], arms["parametric"])
    numbers = conditional.summary(table)
    lines = [
        [title, *(numbers[y][k] for k in ("p16", "median", "p84"))]
        for _, y, title in conditional.PANELS
    ]
    return Section(
        "fidelity",
        "What went in, what came out",
        "The upper row is of the profiles that the model draws, without PSF and noise; the lower "
        "compares HSM moments of the same galaxy in the same noise as the model and as its full "
        "parametric fit. The asked half-light radius takes n = 4 and n = 1. Angles are those of "
        "galaxies with an axis ratio below 0.9. Median and band of 68 %.",
        Table(rows=lines, names=["quantity", "16 %", "median", "84 %"]),
        figures.fidelity(table),
        table,
        numbers,
    )


def diversity(arms: Arms, rows: np.ndarray, first: Table, pairs: Table) -> Section:
    """Returns how much two galaxies drawn from the same row differ.

    Args:
        arms: Makes the galaxies of the montage.
        rows: Rows of the catalogue among which the montage picks.
        first: Measurements of the model.
        pairs: Measurements of `PairBatch`, of the first rows.
    """
    share = conditional.diversity(first[: len(pairs)], pairs)
    moved = [float(value) for value in np.percentile(pairs["moved"], (16, 50, 84))]
    records = arms.sample.records(rows)
    large = rows[records["flux_radius"] > np.percentile(records["flux_radius"], 70)]
    order = np.argsort(arms.sample.records(large)["mag_auto"])
    picked = large[order[np.linspace(0, len(large) - 1, min(len(large), 16)).astype(int)]]
    batches = {"fit": arms.parametric(picked)}
    if arms.sample.has_images:
        batches = {"real": arms.real(picked), **batches}
    batches |= {f"draw {draw + 1}": arms.drawn(picked, draw) for draw in range(3)}
    return Section(
        "diversity",
        "Several draws from the same row",
        "Share of each statistic's variance that the inputs, PSF and noise leave open: 0 if two "
        "draws of a row are the same, 1 if they are as different as galaxies of different rows. "
        f"Between two draws, seen through the PSF, {100 * moved[1]:.1f} % of the light moves "
        f"(median; 68 %: {100 * moved[0]:.1f} to {100 * moved[2]:.1f} %). Below: large galaxies of "
        "falling brightness as their parametric fit and as three draws, in the same noise.",
        Table(rows=[["open share", *share.values()]], names=["two draws", *share]),
        figures.montage(
            {name: [s for b in made for s in b.stamps()] for name, made in batches.items()},
            [f"{mag:.1f} mag" for mag in arms.sample.records(picked)["mag_auto"]],
            COSMOS_NOISE,
        ),
        numbers={"open_share": share, "light_moved": moved},
    )


def memorisation(arms: Arms, rows: np.ndarray, path: Path) -> Section:
    """Returns how near what the model draws is to training stamps.

    Args:
        arms: Makes the model's galaxies.
        rows: Rows of the catalogue from which they are drawn.
        path: See `read_training_stamps`.
    """
    batches = list(arms.drawn(rows))
    profiles = LightProfiles(
        np.concatenate([batch.drawn.profiles.images for batch in batches]),
        np.concatenate([batch.drawn.profiles.pixel_scale for batch in batches]),
    )
    sizes = half_light_radius(from_cosmos(arms.sample.records(rows)))
    found = nearest_neighbours(profiles, sizes, read_training_stamps(path), arms.seed)
    limit = np.percentile(found.training, 1)
    numbers = {
        "drawn_median": float(np.median(found.drawn)),
        "training_median": float(np.median(found.training)),
        "nearer_than_1_percent": float(np.mean(found.drawn < limit)),
    }
    return Section(
        "memorisation",
        f"Nearest training stamps ({path.parent.name})",
        "Structural distance (1 minus correlation of the maps without their smooth profile) from "
        f"{len(found.drawn)} drawn galaxies to the nearest training stamp, and from training "
        "stamps to the nearest other, which is what a galaxy that was never seen gives. Of the "
        f"drawn galaxies {100 * numbers['nearer_than_1_percent']:.1f} % are nearer than 99 % of "
        "the training stamps are; a model that copies would have many more than 1 %. On the right, "
        "the structure of the drawn galaxies that are closest to a stamp, above that stamp's.",
        figure=figures.neighbours(found),
        numbers=numbers,
    )


def real_stamps(
    model: "GenerativeModel", stamps: RealStamps, draws: int, seed: int, workers: Workers
) -> Section:
    """Returns the two-sample test on real HST stamps, and the montage.

    Args:
        model: The model.
        stamps: The real galaxies.
        draws: Stamps drawn for each by the model, and as its fit.
        seed: Seed of everything random.
        workers: Where to fit.
    """
    n = len(stamps)
    noise = np.random.default_rng(stream(seed)).integers(1, 2**31, size=(draws + 1, n))
    tasks = (StampTask(stamps, i, int(noise[0, i])) for i in range(n))
    real = measured_by(workers, tasks, n, "real stamps")
    fits = [fit for _, fit, _ in real]
    sampler = GalaxySampler(model, seed=seed)
    given = sampler.from_conditions(
        conditions_of_fits(stamps, fits), np.array([fit.angle for fit in fits])
    )
    drawn: dict[str, list] = {"model": [], "parametric": []}
    for draw in range(draws):
        galaxies = {
            "model": placed(sampler.draw(given, [(draw, i) for i in range(n)]), fits),
            "parametric": [fit.galaxy() for fit in fits],
        }
        for name, several in galaxies.items():
            tasks = (
                StampTask(stamps, i, int(noise[draw + 1, i]), galaxy)
                for i, galaxy in enumerate(several)
            )
            drawn[name].append(measured_by(workers, tasks, n, f"stamps, {name}"))
    features = {
        name: np.array([[values for *_, values in measured] for measured in several])
        for name, several in drawn.items()
    }
    truth = np.array([values for *_, values in real])
    shown = tqdm(features.items(), desc="telling them apart", unit="sample")
    found = {name: two_sample(truth, values, seed) for name, values in shown}
    table = Table(
        rows=[[name, test.auc, test.low, test.high] for name, test in found.items()],
        names=["sample", "AUC", "low", "high"],
    )
    medians = {"real": truth, **features}
    saved = Table(
        rows=[
            [name, *np.median(values.reshape(-1, len(FEATURES)), axis=0)]
            for name, values in medians.items()
        ],
        names=["median of", *FEATURES],
    )
    order = np.argsort(stamps.catalog.mag)[np.linspace(0, n - 1, min(n, 24)).astype(int)]
    columns = {"real HST": real, **{name: several[0] for name, several in drawn.items()}}
    montage = figures.montage(
        {name: [results[i][0] for i in order] for name, results in columns.items()},
        [f"{stamps.catalog.mag[i]:.1f} mag" for i in order],
        float(np.sqrt(np.median(stamps.catalog.variance))),
    )
    return Section(
        "real_stamps",
        f"{n} real HST galaxies, and others drawn in their place",
        "A random forest is asked which stamps are real, for galaxies that it has not seen, from "
        f"{', '.join(FEATURES)}. AUC: the area under its ROC curve, 0.5 if it cannot tell, with "
        "the 95 % interval over the galaxies. The model gets size, axis ratio, flux and Sersic "
        "index class of a fit to the real galaxy; PSF, noise and border are the real ones. "
        "All stamps of a row are on the same scale.",
        table,
        montage,
        saved,
        {name: asdict(test) for name, test in found.items()},
    )


def _with_error(value: float, error: float) -> str:
    return f"{value:.3f} ± {error:.3f}" if error > 0 else f"{value:.3f}"


def _raw_distance(values: np.ndarray, reference: np.ndarray) -> float:
    """Returns W1 over the reference's standard deviation, NaN where there is nothing."""
    values, reference = (np.asarray(x, dtype=float) for x in (values, reference))
    values, reference = values[np.isfinite(values)], reference[np.isfinite(reference)]
    if len(values) == 0 or len(reference) < 2:
        return np.nan
    return float(wasserstein_distance(values, reference) / reference.std())

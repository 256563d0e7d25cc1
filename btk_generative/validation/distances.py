"""Tables of distances between samples of galaxies and the published ones."""

from dataclasses import dataclass

import numpy as np
from astropy.table import Table

from btk_generative.randomness import stream
from btk_generative.validation.published import Distribution

STATISTICS = ("g", "size", "rho4", "log10_M", "log10_I", "D", "gini", "m20")
"""The fields of `Morphology` that are compared."""

SANITY_LIMIT = 0.05
"""Largest W1/sd at which the parametric arm, of 10,240 galaxies, reproduces its published curve."""

PUBLISHED_NOISE = dict(
    zip(STATISTICS, (0.016, 0.022, 0.043, 0.052, 0.097, 0.075, 0.028, 0.052), strict=True)
)
"""W1/sd (rms) between the published parametric sample and one with noise of its own per galaxy.

The paper's program drew the noise from copies of one generator, so that all galaxies share eleven
fields of noise. Measured on 20 samples drawn likewise: docs/validation.md.
"""

_BOOTSTRAPS = 200


def measured(table: Table) -> Table:
    """Returns the galaxies for which both the adaptive moments and the mask succeeded."""
    return table[np.isfinite(table["rho4"]) & np.isfinite(table["gini"])]


def distance_table(
    distributions: list[Distribution], arms: dict[str, Table], seed: int = 0
) -> Table:
    """Returns the distance of every arm to every published sample.

    Args:
        distributions: The published distributions.
        arms: Name -> measurements, with the fields of `Morphology`.
        seed: Seed of the bootstrap.

    Returns:
        One row per distribution, statistic and pair of samples, with ``distribution``,
        ``measure`` (``tv``, ``ks`` or ``w1_`` and a statistic), ``sample``, ``reference``,
        ``value``, ``error`` (standard deviation over bootstrap samples of the galaxies; 0 between
        published samples) and ``floor`` (mean value for as many galaxies drawn from published
        real COSMOS, against it).
    """
    rng = np.random.default_rng(stream(seed))
    arms = {name: measured(table) for name, table in arms.items()}
    rows = []
    for distribution in distributions:
        references = distribution.published
        for sample in ("generative", "parametric"):
            found = distribution.distances(references[sample], references["cosmos"])
            floor = _floor(distribution, 10_000, 10_000, rng)
            rows += _rows(distribution, f"published {sample}", "cosmos", found, None, floor)
        for name, table in arms.items():
            counts = distribution.counts(table)
            shown = distribution.probabilities(counts, len(table))
            resampled = distribution.probabilities(_resample(counts, rng), len(table))
            floor = _floor(distribution, round(counts.sum()), len(table), rng)
            for reference, probabilities in references.items():
                value = distribution.distances(shown, probabilities)
                spread = distribution.distances(resampled, probabilities)
                rows += _rows(distribution, name, reference, value, spread, floor)
    return Table(rows=rows)


def _rows(
    distribution: Distribution,
    sample: str,
    reference: str,
    value: dict,
    spread: dict | None,
    floor: dict,
) -> list[dict]:
    return [
        {
            "distribution": distribution.name,
            "measure": measure,
            "sample": sample,
            "reference": reference,
            "value": float(value[measure]),
            "error": 0.0 if spread is None else float(np.std(spread[measure])),
            "floor": float(np.mean(floor[measure])),
        }
        for measure in value
    ]


def _resample(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Returns bootstrap samples of a histogram, shape ``[_BOOTSTRAPS, *counts.shape]``."""
    total = counts.sum()
    drawn = rng.multinomial(round(total), counts.ravel() / total, size=_BOOTSTRAPS)
    return drawn.reshape(_BOOTSTRAPS, *counts.shape)


def _floor(
    distribution: Distribution, counted: int, number: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Returns distances that come from the finite number of galaxies alone.

    Args:
        distribution: The published distribution.
        counted: Galaxies that lie in its cells.
        number: Galaxies that were measured.
        rng: Source of the samples.
    """
    real = distribution.published["cosmos"]
    drawn = distribution.probabilities(_resample(real * counted, rng), number)
    if len(distribution.columns) == 1:
        return distribution.distances(drawn, distribution.probabilities(real * counted, number))
    again = distribution.probabilities(_resample(real * 10_000, rng)[0], 10_000)
    return distribution.distances(drawn, again)


@dataclass(frozen=True)
class Sanity:
    """Whether the parametric arm reproduces the published parametric curves."""

    w1: float
    """The greatest W1/sd."""

    error: float
    """Its bootstrap standard error."""

    statistic: str
    """Of which statistic."""

    passed: bool
    """Whether it is within `SANITY_LIMIT`, which is meant for the paper's 10,240 galaxies."""


def sanity(table: Table) -> Sanity:
    """Returns the sanity check of a `distance_table` with an arm ``parametric``."""
    found = select(table, "parametric", "parametric")
    errors = select(table, "parametric", "parametric", "error")
    worst = max(found, key=found.__getitem__)
    return Sanity(found[worst], errors[worst], worst, found[worst] <= SANITY_LIMIT)


def select(table: Table, sample: str, reference: str, column: str = "value") -> dict[str, float]:
    """Returns W1/sd of each of `STATISTICS` between two samples of a `distance_table`."""
    result = {}
    for name in STATISTICS:
        home = "m20–gini" if name in ("gini", "m20") else name
        row = table[
            (table["distribution"] == home)
            & (table["measure"] == f"w1_{name}")
            & (table["sample"] == sample)
            & (table["reference"] == reference)
        ]
        result[name] = float(row[column][0])
    return result

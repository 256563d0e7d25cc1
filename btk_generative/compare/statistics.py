"""Paired differences between two arms, with bootstrap intervals over blends."""

from dataclasses import dataclass

import numpy as np
from scipy import stats

from btk_generative.randomness import stream

RESAMPLES = 2000
LEVEL = 0.95
FEWEST_BLENDS = 10
"""With fewer blends an interval is not to be trusted, and nothing is called significant."""

_PURPOSE = 0x626F6F74  # key of the stream of bootstrap samples


@dataclass(frozen=True)
class Difference:
    """How an arm differs from another in one metric."""

    value: float
    """Summary of the arm."""
    baseline: float
    """Summary of the other arm."""
    difference: float
    """Mean or median of the paired differences, arm minus baseline."""
    low: float
    high: float
    """Bounds of the 95 % interval of the difference."""
    sources: int
    """Number of pairs."""
    blends: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero, and there are enough blends to say so."""
        return self.blends >= FEWEST_BLENDS and (self.low > 0 or self.high < 0)


def paired_difference(
    values: np.ndarray,
    baseline: np.ndarray,
    blend: np.ndarray,
    statistic: str = "mean",
    seed: int = 0,
) -> Difference:
    """Compares two arms source by source.

    Sources of a blend are not independent: blends are resampled, not sources (the cluster
    bootstrap, e.g. Davison & Hinkley 1997, ch. 3.8). The interval is the expanded percentile
    interval of 2,000 resamples (Hesterberg 2015, Am. Stat. 69, 371): plain percentiles are too
    narrow with few blends. Pairs in which either value is not finite are left out.

    Args:
        values: The arm's value for each source, shape ``[n]``.
        baseline: The other arm's value for the same sources.
        blend: Which blend each source is in.
        statistic: "mean" or "median", of the differences as of each arm.
        seed: Seed of the resamples.

    Raises:
        ValueError: If the statistic is another, or the shapes differ.
    """
    values, baseline, blend = (np.asarray(a) for a in (values, baseline, blend))
    if not values.shape == baseline.shape == blend.shape:
        raise ValueError(f"shapes differ: {values.shape}, {baseline.shape}, {blend.shape}")
    good = np.isfinite(values) & np.isfinite(baseline)
    values, baseline, blend = values[good], baseline[good], blend[good]
    summary = _summary(statistic)
    if len(values) == 0:
        nan = np.nan
        return Difference(nan, nan, nan, nan, nan, 0, 0)
    change = values - baseline
    low, high = interval(change, blend, statistic, seed)
    return Difference(
        summary(values), summary(baseline), summary(change), low, high, len(values),
        len(np.unique(blend)),
    )  # fmt: skip


def interval(
    values: np.ndarray, blend: np.ndarray, statistic: str = "mean", seed: int = 0
) -> tuple[float, float]:
    """Returns the 95 % bootstrap interval of a mean or median; see `paired_difference`."""
    blends, of = np.unique(blend, return_inverse=True)
    rng = np.random.default_rng(stream(seed, _PURPOSE))
    count = len(blends)
    drawn = rng.integers(count, size=(RESAMPLES, count)) + count * np.arange(RESAMPLES)[:, None]
    times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.int32)
    if statistic == "mean":
        total = times @ np.bincount(of, values, count)
        resampled = total / (times @ np.bincount(of, minlength=count))
    else:
        order = np.argsort(values)
        weight = np.cumsum(times[:, of[order]], axis=1, dtype=np.int32)
        half = weight[:, -1] / 2
        below = np.argmax(weight >= half[:, None], axis=1)
        above = np.argmax(weight > half[:, None], axis=1)
        resampled = (values[order][below] + values[order][above]) / 2
    low, high = np.quantile(resampled, [_tail(count), 1 - _tail(count)])
    return float(low), float(high)


def _tail(count: int) -> float:
    """Share of the resamples on each side of the expanded percentile interval of so many blends.

    It is that of a normal deviate beyond Student's t, times the factor by which resamples scatter
    too little.
    """
    if count < 2:
        return 0.0
    wider = stats.t.ppf((1 + LEVEL) / 2, count - 1) * np.sqrt(count / (count - 1))
    return float(stats.norm.cdf(-wider))


def _summary(statistic):
    if statistic not in ("mean", "median"):
        raise ValueError(f"statistic must be 'mean' or 'median', not {statistic!r}")
    return lambda x: float(np.mean(x) if statistic == "mean" else np.median(x))

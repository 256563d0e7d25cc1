"""Paired differences: known biases are found, and nothing is found where there is nothing."""

import numpy as np
import pytest
from scipy.stats import binom

from btk_generative.compare.statistics import interval, paired_difference


def arms(rng, bias=0.0, blends=80, scatter=0.3):
    """Two arms of correlated sources in blends of 2 to 4, the second with a bias."""
    blend = np.repeat(np.arange(blends), rng.integers(2, 5, blends))
    common = rng.standard_t(3, len(blend))
    per_blend = scatter * rng.standard_normal(blends)[blend]
    first = common + scatter * rng.standard_normal(len(blend))
    return first, common + per_blend + scatter * rng.standard_normal(len(blend)) + bias, blend


@pytest.mark.parametrize("statistic", ["mean", "median"])
@pytest.mark.parametrize("blends", [12, 25])
def test_known_bias_is_in_95_percent_of_the_intervals(statistic, blends):
    """Of 1,000 runs; the band holds 99.9 % of such counts. Plain percentiles fail at 12 blends."""
    runs = 1000
    covered = 0
    for seed in range(runs):
        first, second, blend = arms(np.random.default_rng(seed), bias=0.2, blends=blends)
        found = paired_difference(second, first, blend, statistic, seed)
        covered += found.low <= 0.2 <= found.high
    low, high = binom(runs, 0.95).interval(0.999)
    assert low <= covered <= high


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_interval_moves_with_the_bias(statistic):
    """So that without one, the intervals that would miss it are the significant ones."""
    first, second, blend = arms(np.random.default_rng(7), blends=12)
    null = paired_difference(second, first, blend, statistic)
    biased = paired_difference(second + 0.2, first, blend, statistic)
    np.testing.assert_allclose([biased.low, biased.high], np.add([null.low, null.high], 0.2))
    assert null.significant == (not null.low <= 0 <= null.high)


def test_resampling_sources_instead_of_blends_would_be_too_optimistic():
    first, second, blend = arms(np.random.default_rng(5), scatter=1.0)
    change = second - first
    low, high = interval(change, blend)
    own_low, own_high = interval(change, np.arange(len(blend)))
    assert high - low > 1.2 * (own_high - own_low)


def test_mean_interval_of_independent_sources_is_the_textbook_one():
    values = np.random.default_rng(2).normal(3.0, 2.0, 500)
    low, high = interval(values, np.arange(500))
    half = 1.96 * values.std() / np.sqrt(500)
    np.testing.assert_allclose([low, high], [values.mean() - half, values.mean() + half], atol=0.02)


def test_pairs_with_a_missing_value_are_left_out():
    value = [1.0, np.nan, 3.0, 4.0]
    found = paired_difference(value, [0.0, 0.0, np.nan, 1.0], [0, 0, 1, 1])
    assert (found.sources, found.blends) == (2, 2)
    assert found.difference == 2.0
    assert not found.significant  # too few blends to say so


def test_nothing_to_compare_gives_nan():
    found = paired_difference([np.nan], [1.0], [0])
    assert np.isnan(found.difference)
    assert found.sources == 0
    assert not found.significant


def test_intervals_are_a_function_of_the_seed():
    first, second, blend = arms(np.random.default_rng(0))
    assert paired_difference(first, second, blend, seed=3) == paired_difference(
        first, second, blend, seed=3
    )


def test_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="mode"):
        paired_difference([1.0], [1.0], [0], "mode")

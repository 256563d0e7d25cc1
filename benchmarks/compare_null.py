"""How often a comparison calls something significant where there is nothing to find.

Both arms are generative, of the same rows, positions and fluxes, with two seeds for morphology and
noise; everything else is what `btk-generative compare` does. Blends 0 to 19 are the first run,
blends 20 to 39 the second, and so on. Prints the share of metrics whose 95 % interval is without
zero.
Run it with `python benchmarks/compare_null.py [runs] [blends]`.
"""

import sys

import numpy as np
import pandas as pd
from tqdm import tqdm

from btk_generative.compare.bench import Bench
from btk_generative.compare.config import CompareConfig
from btk_generative.compare.metrics import metrics_of
from btk_generative.compare.statistics import paired_difference

PAIR = ("parametric", "generative")


def null_bench() -> Bench:
    """A bench whose first arm is the second one, with another seed."""
    config = CompareConfig(
        catalog={"mock": 20000},
        sampling={"min_number": 2, "max_number": 4, "max_mag": 25.3, "stamp_size": 16.0},
        arms=list(PAIR),
        deblenders=["sep"],
        control=False,
        seed=1,
    )
    other = Bench(config.model_copy(update={"seed": 2}))
    bench = Bench(config)
    _, sampling = bench._generators["generative"]
    again, _ = other._generators["generative"]
    again.blend_generator.sampling_function = sampling
    bench._generators["parametric"] = (again, sampling)
    return bench


def significant(table: pd.DataFrame, metrics) -> list[bool]:
    """Which metrics of a run have an interval without zero."""
    first, second = (table[table.arm == arm].reset_index() for arm in PAIR)
    found = [
        paired_difference(second[m.column], first[m.column], first.blend, m.statistic, seed=k)
        for k, m in enumerate(metrics)
    ]
    return [difference.significant for difference in found if difference.sources]


def main(runs: int = 100, blends: int = 20) -> None:
    """Draws, deblends and counts."""
    bench = null_bench()
    metrics = metrics_of(list(bench.survey.available_filters), bench.band)
    counts = []
    bar = tqdm(range(runs))
    for run in bar:
        rows = [row for k in range(run * blends, (run + 1) * blends) for row in bench.rows(k)]
        table = pd.DataFrame(rows)
        counts.append(significant(table, [m for m in metrics if m.column in table]))
        bar.set_postfix(significant=np.mean(np.concatenate(counts)))
    share = np.array([np.mean(c) for c in counts])
    print(
        f"{runs} runs of {blends} blends, {np.sum([len(c) for c in counts])} intervals: "
        f"{100 * share.mean():.1f} % ± {100 * share.std() / np.sqrt(runs):.1f} % without zero"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

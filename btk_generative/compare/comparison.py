"""What a comparison measured: its table, and paired differences between the arms."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from btk_generative.compare.config import CompareConfig
from btk_generative.compare.metrics import Metric, metrics_of
from btk_generative.compare.statistics import Difference, paired_difference


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
            nothing = np.empty(0)
            return paired_difference(nothing, nothing, nothing, metric.statistic)
        return paired_difference(
            pairs[f"{metric.column}_1"].to_numpy(float),
            pairs[f"{metric.column}_0"].to_numpy(float),
            pairs["blend"].to_numpy(),
            metric.statistic,
            self.config.seed,
        )


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

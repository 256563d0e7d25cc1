"""Figures of a comparison: curves with intervals, and galleries of blends."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from btk.survey import get_surveys

from btk_generative.compare.metrics import Metric
from btk_generative.compare.statistics import interval
from btk_generative.draw.figure import rgb
from btk_generative.surveys import pixel_scale, sky_levels

if TYPE_CHECKING:
    from btk_generative.compare.comparison import Comparison

CONTEXT_LABELS = {
    "hlr": "half-light radius as observed [arcsec]",
    "snr": "signal-to-noise ratio",
    "mag": "magnitude",
    "blendedness": "blendedness",
    "separation": "distance to next source [arcsec]",
}
_COLOURS = {"parametric": "#1f6fb4", "generative": "#d1495b", "fitted": "#8a8a8a"}
_MARKERS = {"parametric": "o", "generative": "s", "fitted": "^"}
_BINS = 5
_SHOWN = 14.0  # arcsec of a stamp that a gallery shows


def save_curves(
    comparison: "Comparison",
    deblender: str,
    metrics: list[Metric],
    contexts: Sequence[str],
    path: Path,
) -> None:
    """Draws metrics, row by row, against what sources are like, column by column.

    Points are summaries in bins that hold the same number of sources, bars their 95 % intervals.

    Args:
        comparison: A `Comparison`.
        deblender: Label of the deblender.
        metrics: What to draw.
        contexts: Keys of `CONTEXT_LABELS`.
        path: Without suffix; a PNG and a PDF are written.
    """
    import matplotlib.pyplot as plt

    size = (2.9 * len(contexts) + 0.4, 2.3 * len(metrics) + 0.5)
    figure, axes = plt.subplots(
        len(metrics), len(contexts), figsize=size, squeeze=False, sharey="row", layout="constrained"
    )
    for row, metric in zip(axes, metrics, strict=True):
        for panel, context in zip(row, contexts, strict=True):
            _curve(panel, comparison, deblender, metric, context)
        row[0].set_ylabel(fill(metric.label, 24), fontsize=9)
    for panel, context in zip(axes[-1], contexts, strict=True):
        panel.set_xlabel(CONTEXT_LABELS[context], fontsize=9)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
    _save(figure, path)


def _curve(panel, comparison, deblender, metric, context):
    """One panel: a metric against one property, for each arm."""
    from matplotlib.ticker import LogLocator

    table = comparison.table
    table = table[(table.deblender == deblender) & (table.scene == "blend")]
    arms = comparison.config.arms
    if metric.best is not None:
        panel.axhline(metric.best, color="0.7", lw=0.8, zorder=0)
    panel.tick_params(labelsize=8)
    position = table[context].to_numpy(float)
    if metric.column not in table or np.isfinite(position).sum() < 2 * _BINS:
        return
    edges = np.nanquantile(position, np.linspace(0, 1, _BINS + 1))
    log = context == "snr" and edges[0] > 0
    for k, arm in enumerate(arms):
        of_arm = table[table.arm == arm]
        points = []
        for low, high in pairwise(edges):
            inside = of_arm[of_arm[context].between(low, high)].dropna(subset=[metric.column])
            values = inside[metric.column].to_numpy(float)
            if len(values) < 3:
                continue
            blend = inside["blend"].to_numpy()
            bounds = interval(values, blend, metric.statistic, comparison.config.seed)
            middle = np.mean(values) if metric.statistic == "mean" else np.median(values)
            points.append((inside[context].median(), middle, *bounds))
        if not points:
            continue
        x, y, low, high = np.array(points).T
        aside = 0.012 * (k - (len(arms) - 1) / 2)  # so that bars do not hide each other
        x = x * (x[-1] / x[0]) ** aside if log else x + aside * (x[-1] - x[0])
        error = np.maximum([y - low, high - y], 0)
        style = {"color": _COLOURS[arm], "marker": _MARKERS[arm], "ms": 4, "lw": 1.2}
        panel.errorbar(x, y, error, capsize=2, label=arm, **style)
    if log:
        panel.set_xscale("log")
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        panel.xaxis.set_major_formatter("{x:g}")
        panel.xaxis.set_minor_formatter("")


def save_gallery(comparison: "Comparison", blend: int, path: Path) -> None:
    """Draws a blend in two arms: blend, model and residual, then the same for each source.

    Images of the blend are in colour; residuals and sources are in the reference band, residuals
    in units of the noise.

    Args:
        comparison: A `Comparison` that has the blend's pictures.
        blend: Index of the blend.
        path: Without suffix; a PNG and a PDF are written.
    """
    import matplotlib.pyplot as plt

    config, bands = comparison.config, comparison.bands
    survey = get_surveys(config.survey[0])
    noise = np.sqrt(sky_levels(survey))
    index = bands.index(comparison.band)
    scale = pixel_scale(survey)
    arms = config.arms[:2]
    shown = comparison.pictures[blend]
    count = len(shown[arms[0]]["x"])
    figure, axes = plt.subplots(
        count + 1, 6, figsize=(9, 1.55 * (count + 1) + 0.5), layout="constrained", squeeze=False
    )
    half = min(_SHOWN / 2, shown[arms[0]]["blend"].shape[-1] * scale / 2)
    extent = np.array([-1, 1, -1, 1]) * shown[arms[0]]["blend"].shape[-1] * scale / 2
    style = {"origin": "lower", "extent": extent}
    signed = style | {"cmap": "RdBu_r", "vmin": -5, "vmax": 5}
    for k, arm in enumerate(arms):
        seen, row = shown[arm], axes[:, 3 * k : 3 * k + 3]
        residual = (seen["blend"] - seen["model"])[index] / noise[index]
        row[0, 0].imshow(rgb(seen["blend"], bands, noise), **style)
        row[0, 1].imshow(rgb(seen["model"], bands, noise), **style)
        row[0, 2].imshow(residual, **signed)
        for title, panel in zip((f"{arm}\nblend", "model", "residual"), row[0], strict=True):
            panel.set_title(title, fontsize=9)
        for j in range(count):
            grey = style | {"cmap": "gray_r", "norm": _arcsinh(seen["truth"][j] / noise[index])}
            row[j + 1, 0].imshow(seen["truth"][j] / noise[index], **grey)
            row[j + 1, 1].imshow(seen["sources"][j] / noise[index], **grey)
            row[j + 1, 2].imshow((seen["truth"][j] - seen["sources"][j]) / noise[index], **signed)
            row[j + 1, 0].set_ylabel(f"source {j + 1}" if k == 0 else "", fontsize=9)
            if j == 0:
                for title, panel in zip(("truth", "model", "difference"), row[1], strict=True):
                    panel.set_title(title, fontsize=9)
        positions = (np.stack([seen["x"], seen["y"]]) + 0.5) * scale + extent[0]
        for panel in (row[0, 0], row[0, 2]):
            panel.plot(*positions, "+", color="0.5", ms=6, mew=0.8)
    for panel in axes.ravel():
        panel.set(xticks=[], yticks=[], xlim=(-half, half), ylim=(-half, half))
    _save(figure, path)


def _arcsinh(image):
    from matplotlib.colors import AsinhNorm

    return AsinhNorm(linear_width=2, vmin=0, vmax=max(float(image.max()), 3))


def _save(figure, path):
    import matplotlib.pyplot as plt

    figure.draw_without_rendering()  # laid out twice: the first time, tick labels change
    figure.savefig(path.with_suffix(".png"), dpi=150)
    figure.set_layout_engine("none")  # it is as it shall be
    figure.savefig(path.with_suffix(".pdf"), metadata={"CreationDate": None})
    plt.close(figure)

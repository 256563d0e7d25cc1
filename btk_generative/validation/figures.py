"""Figures of the report; each function returns a PNG image."""

import io
from typing import TYPE_CHECKING

import numpy as np
from astropy.table import Table

from btk_generative.validation.conditional import LABELS, PANELS, binned
from btk_generative.validation.distances import STATISTICS, measured
from btk_generative.validation.memorisation import Neighbours
from btk_generative.validation.published import SAMPLES, Distribution

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

NAMES = {
    "g": "ellipticity g",
    "size": "size [arcsec]",
    "rho4": r"$\rho_4$",
    "log10_M": r"$\log_{10} M$",
    "log10_I": r"$\log_{10} I$",
    "D": "D",
    "gini": "Gini",
    "m20": r"$M_{20}$",
}
"""Axis labels of the statistics."""

COLOURS = {"real": "black", "model": "tab:orange", "parametric": "tab:blue"}
"""Colours of the arms."""

_SHOWN = slice(20, 108)
_PUBLISHED = {"cosmos": ("black", "-"), "generative": ("tab:red", ":"), "parametric": ("navy", ":")}


def _figure(
    rows: int, columns: int, width: float = 3.2, height: float = 2.5
) -> "tuple[Figure, np.ndarray]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100, metadata={"Software": None})
    return buffer.getvalue()


def curves(distributions: list[Distribution], arms: dict[str, Table]) -> bytes:
    """Draws the distribution of each single statistic, published and measured."""
    single = [d for d in distributions if len(d.columns) == 1]
    figure, axes = _figure(2, 3)
    for axis, distribution in zip(axes.flat, single, strict=True):
        x, name = distribution.centres, distribution.name
        step = x[1] - x[0]
        for sample, (colour, line) in _PUBLISHED.items():
            label = f"published: {SAMPLES[sample]}"
            density = distribution.published[sample] / step
            axis.plot(x, density, line, color=colour, lw=1.2, label=label)
        for arm, table in arms.items():
            good = measured(table)
            density = distribution.probabilities(distribution.counts(good), len(good)) / step
            axis.plot(x, density, color=COLOURS[arm], lw=2, alpha=0.7, label=f"this run: {arm}")
        shown = x[distribution.published["cosmos"] * len(x) > 0.02]
        axis.set(xlabel=NAMES[name], xlim=(shown[0], shown[-1]), ylim=(0, None))
    axes[0, 0].set_ylabel("density")
    axes[1, 0].set_ylabel("density")
    axes[1, 2].legend(fontsize=8, frameon=False)
    return _png(figure)


def histograms(distributions: list[Distribution], arms: dict[str, Table]) -> bytes:
    """Draws the joint distributions of two statistics, published real COSMOS beside each arm."""
    joint = [d for d in distributions if len(d.columns) == 2]
    titles = ["published: real COSMOS", *(f"this run: {arm}" for arm in arms)]
    figure, axes = _figure(len(joint), len(titles), 2.9, 2.4)
    for line, distribution in zip(axes, joint, strict=True):
        (x_name, y_name), (x, y) = distribution.columns, distribution.edges
        shown = [distribution.published["cosmos"]]
        for table in arms.values():
            good = measured(table)
            shown.append(distribution.probabilities(distribution.counts(good), len(good)))
        top = shown[0].max()
        for axis, title, values in zip(line, titles, shown, strict=True):
            axis.pcolormesh(x, y, values.T, vmin=0, vmax=top, cmap="viridis")
            axis.set(xlabel=NAMES[x_name], ylabel=NAMES[y_name])
            axis.set_title(title, fontsize=9)
    return _png(figure)


def splits(arms: dict[str, Table], by: dict[str, np.ndarray]) -> bytes:
    """Draws the median of every statistic, and the band of 68 %, against magnitude and size.

    Args:
        arms: Name -> measurements of the same rows.
        by: Label of the x axis -> value per row, shape ``[n]``.
    """
    figure, axes = _figure(2 * len(by), 4, 2.9, 2.2)
    for k, (label, x) in enumerate(by.items()):
        for axis, name in zip(axes[2 * k : 2 * k + 2].flat, STATISTICS, strict=True):
            for arm, table in arms.items():
                _band(axis, binned(x, table[name], 8), COLOURS[arm], arm)
            axis.set(xlabel=label, ylabel=NAMES[name])
    axes[0, 0].legend(fontsize=8, frameon=False)
    return _png(figure)


def fidelity(table: Table) -> bytes:
    """Draws what came out of the model against what went in."""
    figure, axes = _figure(2, 3, 3.6)
    for axis, (x, y, title) in zip(axes.flat, PANELS, strict=True):
        _band(axis, binned(table[x], table[y]), COLOURS["model"], None)
        axis.axhline(1 if "ratio" in y else 0, color="0.6", lw=0.8)
        axis.set(xlabel=LABELS[x])
        axis.set_title(title, fontsize=9)
    return _png(figure)


def _band(axis: "Axes", table: Table, colour: str, label: str | None) -> None:
    axis.fill_between(table["x"], table["low"], table["high"], color=colour, alpha=0.2, lw=0)
    axis.plot(table["x"], table["median"], color=colour, label=label)


def neighbours(found: Neighbours) -> bytes:
    """Draws how near the nearest training stamps are, and the structure of the closest pairs."""
    from matplotlib.figure import Figure

    pairs = len(found.closest)
    width, height = 4.5 + 1.05 * pairs, 2.9
    # Not a constrained layout: its solver leaves room for another pixel from run to run.
    figure = Figure(figsize=(width, height))
    sides = {"bottom": 0.5 / height, "top": 1 - 0.25 / height}
    left = figure.add_gridspec(1, 1, left=0.75 / width, right=4.2 / width, **sides)
    right = figure.add_gridspec(
        2, pairs, left=4.7 / width, right=1 - 0.1 / width, wspace=0.05, hspace=0.05, **sides
    )
    axis = figure.add_subplot(left[0])
    bins = np.linspace(0, 1, 41).tolist()
    for values, colour, label in (
        (found.training, "black", "training stamps, to the others"),
        (found.drawn, COLOURS["model"], "drawn galaxies, to training stamps"),
    ):
        axis.hist(values, bins, density=True, histtype="step", color=colour, lw=2, label=label)
    axis.set(xlabel="distance to the nearest, 1 − correlation", ylabel="density")
    axis.set_ylim(0, 1.35 * axis.get_ylim()[1])
    axis.legend(fontsize=8, frameon=False, loc="upper left")
    axes = right.subplots(squeeze=False)
    for column, pair, distance in zip(axes.T, found.closest, np.sort(found.drawn), strict=False):
        for axis, image in zip(column, pair, strict=True):
            axis.imshow(image, origin="lower", cmap="gray_r", vmin=-0.12, vmax=0.12)
            axis.set(xticks=[], yticks=[])
        column[0].set_title(f"{distance:.2f}", fontsize=8)
    axes[0, 0].set_ylabel("drawn", fontsize=8)
    axes[1, 0].set_ylabel("nearest stamp", fontsize=8)
    return _png(figure)


def montage(columns: dict[str, list[np.ndarray]], labels: list[str], noise: float) -> bytes:
    """Draws stamps in a grid, a galaxy per row of each half, all columns on the same scale.

    Args:
        columns: Title -> stamps, as many as `labels`, counts per pixel or NaN for no image.
        labels: What to write beside each row.
        noise: Standard deviation of a pixel's noise: brightness is arcsinh of counts over it.
    """
    blocks = 2 if len(labels) > 6 else 1
    rows = -(-len(labels) // blocks)
    figure, axes = _figure(rows, blocks * len(columns), 1.25, 1.3)
    for axis in axes.flat:
        axis.set_axis_off()
    for k, label in enumerate(labels):
        block, row = divmod(k, rows)
        line = axes[row, block * len(columns) : (block + 1) * len(columns)]
        top = np.arcsinh(
            max(np.nanpercentile(next(iter(columns.values()))[k], 99.7), 6 * noise) / noise
        )
        for axis, (title, stamps) in zip(line, columns.items(), strict=True):
            image = np.arcsinh(stamps[k][_SHOWN, _SHOWN] / noise)
            axis.imshow(image, origin="lower", cmap="gray_r", vmin=-1.5, vmax=top)
            if row == 0:
                axis.set_title(title, fontsize=8)
        line[0].text(
            *(0.03, 0.96), label, transform=line[0].transAxes, fontsize=7, va="top",
            bbox={"color": "white", "pad": 1},
        )  # fmt: skip
    return _png(figure)

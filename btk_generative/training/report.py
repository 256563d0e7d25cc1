"""The page that a training leaves behind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from btk_generative.runs.report import write_report as write_page
from btk_generative.training.assess import SHOWN, Results
from btk_generative.training.run import Scales
from btk_generative.training.settings import TrainSettings

_CORNER = 5


def write_report(
    path: Path,
    settings: TrainSettings,
    scales: Scales,
    history: dict[str, dict],
    results: Results,
    draw: Callable,
    flow: Any = None,
) -> None:
    """Writes an HTML page without outside references: curves, images, samples, latent space.

    Args:
        path: The file.
        settings: Of the training.
        scales: Of its data.
        history: Curves of each fit.
        results: What the test galaxies say.
        draw: Function of encoded conditions that returns profiles and fluxes.
        flow: On the latent space, None for a GAN.
    """
    seen, latents = results.chi_square is not None, results.latents
    write_page(
        path,
        "training/report.html",
        title=settings.name,
        settings=settings,
        results=results,
        curves=_curves(history),
        reconstructions=_reconstructions(results.shown) if seen else None,
        samples=_samples(scales, results, draw),
        corner=_corner(latents, results.contexts, flow)
        if flow is not None and latents is not None
        else None,
    )


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, np.ndarray]:
    figure = Figure((width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False)


def _curves(history: dict[str, dict]) -> Figure:
    curves = [
        (fit, name) for fit, values in history.items() for name in values if name[:4] != "val_"
    ]
    figure, axes = _figure(1, len(curves), 3 * len(curves), 2.8)
    for axis, (fit, name) in zip(axes[0], curves, strict=True):
        for label, key in (("training", name), ("validation", f"val_{name}")):
            values = history[fit][key]
            axis.plot(np.arange(1, len(values) + 1), values, label=label)
        # the first epochs would hide the rest
        late = np.concatenate([history[fit][k][1:] or [0] for k in (name, f"val_{name}")])
        low, high = np.quantile(late, [0, 0.95])
        if high > low:
            axis.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))
        axis.set(title=f"{fit}: {name.replace('_', ' ')}", xlabel="epoch")
    axes[0, 0].legend(frameon=False)
    return figure


def _show(axis: Axes, image: np.ndarray, peak: float) -> None:
    """Shows light on a scale that is linear below a fiftieth of the peak."""
    stretched = np.arcsinh(50 * image / peak)
    axis.imshow(stretched, origin="lower", cmap="magma", vmin=-1, vmax=np.arcsinh(50))
    axis.set_axis_off()


def _reconstructions(shown: dict[str, np.ndarray]) -> Figure:
    count = len(shown["image"])
    figure, axes = _figure(3, count, 1.4 * count, 4.2)
    for column in range(count):
        peak = shown["image"][column].max()
        for row, name in enumerate(("image", "model")):
            _show(axes[row, column], shown[name][column], peak)
        residual = shown["residual"][column]
        axes[2, column].imshow(residual, origin="lower", cmap="gray", vmin=-4, vmax=4)
        axes[2, column].set_axis_off()
    return figure


def _samples(scales: Scales, results: Results, draw: Callable) -> Figure:
    """Draws four galaxies for each of eight test galaxies, ordered by their first condition."""
    first = results.contexts[:, 0]
    order = np.argsort(first)
    chosen = order[np.linspace(0, len(order) - 1, min(SHOWN, len(order))).astype(int)]
    profile, _ = draw(np.repeat(results.contexts[chosen], 4, axis=0))
    figure, axes = _figure(4, len(chosen), 1.4 * len(chosen), 6.2)
    for column, row in enumerate(chosen):
        values = [
            f"{name} {results.conditions[name][row]:.3g}"
            for name in scales.inputs.names
            if np.isfinite(results.conditions[name][row])
        ]
        axes[0, column].set_title("\n".join(values), fontsize=6)
        for k in range(4):
            light = profile[4 * column + k]
            _show(axes[k, column], light, light.max())
    return figure


def _corner(latents: np.ndarray, contexts: np.ndarray, flow: Any) -> Figure:
    """Shows pairs of latent dimensions: test galaxies, the flow, the prior."""
    count, size = latents.shape
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((count, size)).astype("f4")
    drawn = flow.sample(*map(ops.convert_to_tensor, (normal, contexts)))
    drawn = ops.convert_to_numpy(drawn)
    # a dimension that galaxies do not use has the prior's variance in every posterior
    used = np.argsort(-np.abs(np.corrcoef(latents.T) - np.eye(size)).sum(0))[:_CORNER]
    n = len(used)
    figure, axes = _figure(n, n, 9, 9)
    grid = np.linspace(-4, 4, 41)
    for i, a in enumerate(used):
        for j, b in enumerate(used):
            axis = axes[i, j]
            if j > i:
                axis.set_axis_off()
                continue
            axis.tick_params(labelsize=6)
            if i == j:
                normal = np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi)
                axis.plot(grid, normal, color="0.6")
                for values in (latents, drawn):
                    axis.hist(values[:, a], grid, density=True, histtype="step")
                continue
            axis.plot(*rng.standard_normal((2, count)), ".", ms=1, color="0.8")
            axis.plot(latents[:, b], latents[:, a], ".", ms=1.5)
            axis.plot(drawn[:, b], drawn[:, a], ".", ms=1.5)
            axis.set(xlim=(-4, 4), ylim=(-4, 4))
    return figure

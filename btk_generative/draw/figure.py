"""Pictures of blends."""

from pathlib import Path

import numpy as np
from btk.blend_batch import BlendBatch

from btk_generative.surveys import sky_levels


def rgb(images: np.ndarray, bands: list[str], sky_noise: np.ndarray) -> np.ndarray:
    """Returns a colour picture of one blend, or of anything drawn with the same bands.

    The bands are scaled to magnitude-like units by their own noise and mapped as in Lupton et
    al. 2004 (PASP 116, 133).

    Args:
        images: Electrons per pixel, shape ``[bands, N, N]``.
        bands: Names of the bands.
        sky_noise: Rms of each band's background, shape ``[bands]``.

    Returns:
        uint8 array of shape ``[N, N, 3]``.
    """
    from astropy.visualization import make_lupton_rgb

    if {"g", "r", "i"} <= set(bands):
        chosen = [bands.index(band) for band in "irg"]
    else:
        chosen = [len(bands) - 1, (len(bands) - 1) // 2, 0]
    red, green, blue = (images[k] / sky_noise[k] for k in chosen)
    return make_lupton_rgb(red, green, blue, minimum=-0.5, stretch=12, Q=8)


def save_figure(batch: BlendBatch, path: Path, most: int = 12) -> None:
    """Writes a figure of the first blends of a batch, their sources marked, as PNG and PDF.

    Args:
        batch: The blends.
        path: File name without its ending.
        most: Number of blends to show.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    survey, shown = batch.survey, min(most, batch.batch_size)
    bands = list(survey.available_filters)
    noise = np.sqrt(sky_levels(survey))
    columns = min(4, shown)
    rows = -(-shown // columns)
    figure = Figure(figsize=(2.6 * columns, 2.75 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    half = batch.stamp_size / 2
    for k, axes in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if k >= shown:
            axes.axis("off")
            continue
        axes.imshow(
            rgb(batch.blend_images[k], bands, noise),
            origin="lower",
            extent=(-half, half, -half, half),
            interpolation="nearest",
        )
        truth = batch.catalog_list[k]
        axes.scatter(truth["ra"], truth["dec"], s=70, ec="#56B4E9", fc="none", lw=0.9)
        axes.tick_params(labelsize=7)
        number = f"blend {truth['blend_index'][0]}, " if len(truth) else ""
        plural = "" if len(truth) == 1 else "s"
        axes.set_title(f"{number}{len(truth)} source{plural}", fontsize=9)
    figure.supxlabel("x [arcsec]", fontsize=9)
    figure.supylabel("y [arcsec]", fontsize=9)
    for ending in (".png", ".pdf"):
        figure.savefig(path.with_suffix(ending), dpi=160)

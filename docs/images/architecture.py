"""Draws architecture.png: the rooms of the package, and a row's way to a pixel.

Run it with `python docs/images/architecture.py`; the galaxy is one that the package draws.
"""

from pathlib import Path

import btk
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from surveycodex.utilities import mean_sky_level

import btk_generative as bg
from btk_generative.draw.figure import rgb

INK, FAINT = "#1d2733", "#5b6775"
FLOW, LEAF, COMMAND, GROUND = "#dbe9f6", "#e3f1df", "#fdeecf", "#ececec"
EDGE = {FLOW: "#3f76ad", LEAF: "#4c8c45", COMMAND: "#b98416", GROUND: "#8c8c8c"}

SEED, SIZE = 5, 12.0  # of the drawing; side of the stamp, arcsec

WAY = [
    ("catalogs", "reads CatSim, cosmoDC2,\nskyCatalogs, mock"),
    ("conditions", "rows to the inputs of a\nmodel, listed in inputs"),
    ("models", "artifacts, the hub;\ndraw light profiles"),
    ("galaxies", "THE DOOR: domain, size,\nangle, AGN"),
    ("render", "to survey pixels,\nin Fourier space"),
    ("draw", "BTK's generator: blends,\nnoise, truth"),
]
LEAVES = [
    ("simulators", "GalSim's driver,\nWeakLensingDeblending"),
    ("datasets", "shards: make, verify,\nread; Dask"),
    ("compare", "arms, deblenders,\nmetrics"),
    ("validation", "a model against\nHST COSMOS"),
    ("training", "VAE, GAN and the\ndefault model"),
]
GROUND_ROOMS = [
    ("errors", "what a user reads"),
    ("randomness", "seed, blend, galaxy"),
    ("sersic", "profiles"),
    ("surveys", "bands, sky, fluxes"),
    ("hst", "COSMOS, PSFs, noise"),
    ("runs", "files, folders, reports"),
]
PITCH, WIDTH, LEFT = 2.0, 1.72, 1.14
COLUMNS = [LEFT + PITCH * k for k in range(6)]


def drawn_galaxy():
    """Returns a row, its conditions, profile, placed profile, pixels, and its blend in colour."""
    catalog = bg.catalogs.mock_catsim(20_000, seed=0)
    table = catalog.table
    ratio = table["b_d"] / np.maximum(table["a_d"], 1e-9)
    bulge = table["fluxnorm_bulge"] / (table["fluxnorm_bulge"] + table["fluxnorm_disk"])
    fine = (table["i_ab"] < 20.8) & (table["a_d"] > 0.9) & (ratio > 0.35) & (ratio < 0.6)
    first = np.flatnonzero(fine & (bulge > 0.05) & (bulge < 0.4) & (table["a_d"] < 1.6))[0]
    near = np.flatnonzero((table["i_ab"] > 21.3) & (table["i_ab"] < 22.3))[:2]

    class Scene(btk.sampling_functions.SamplingFunction):
        """The galaxy and two fainter ones beside it."""

        def __call__(self, table):
            rows = table[[first, *near]]
            rows["ra"], rows["dec"] = [0.0, 2.1, -2.5], [0.0, 2.0, -1.4]
            rows["pa_disk"][0] = rows["pa_bulge"][0] = 35.0
            return rows

    lsst = btk.survey.get_surveys("LSST")
    scene = Scene(SIZE, 3, 1)
    batch = next(bg.GenerativeGenerator(catalog, scene, lsst, 1, seed=SEED))
    row = batch.catalog_list[0][:1]
    sampler = bg.GalaxySampler(seed=SEED)
    galaxies = sampler.draw(sampler.from_catalog(row), [(0, 0)])
    placed = galaxies.to_galsim([1.0])[0].drawImage(nx=120, ny=120, scale=0.06, method="no_pixel")
    bands = list(lsst.available_filters)
    noise = np.sqrt([mean_sky_level(lsst, lsst.get_filter(band)).value for band in bands])
    return (
        row[0],
        bg.conditions.from_catsim(row)[0],
        galaxies.profiles.images[0],
        placed.array,
        batch.isolated_images[0, 0, bands.index("i")],
        rgb(batch.blend_images[0], bands, noise),
    )


def room(axes, x, y, name, text, color, width=WIDTH, height=0.86, accent=False):
    """Draws a room, centred on x."""
    axes.add_patch(
        FancyBboxPatch(
            (x - width / 2, y),
            width,
            height,
            boxstyle="round,pad=0,rounding_size=0.09",
            facecolor=color,
            edgecolor=EDGE[color],
            linewidth=2.6 if accent else 1.2,
        )
    )
    lines = text.count("\n") + 1
    top = y + height / 2 + 0.075 * lines + 0.01
    axes.text(x, top, name, ha="center", va="center", weight="bold", size=12.5, color=INK)
    axes.text(x, top - 0.15, text, ha="center", va="top", size=8.6, color=INK, linespacing=1.25)


def arrow(axes, start, end, color=FAINT, **options):
    """Draws an arrow."""
    style = {"arrowstyle": "-|>", "mutation_scale": 13, "linewidth": 1.4, "color": color}
    axes.add_patch(FancyArrowPatch(start, end, shrinkA=0, shrinkB=0, **(style | options)))


def caption(axes, y, text, color=FAINT):
    """Writes what a layer is."""
    axes.text(LEFT - WIDTH / 2, y, text, size=10, color=color, weight="bold", va="bottom")


def picture(figure, axes, x, y, image, **options):
    """Shows an image in a square, centred on x."""
    side = 1.5
    corner = axes.transData.transform((x - side / 2, y))
    other = axes.transData.transform((x + side / 2, y + side))
    (x0, y0), (x1, y1) = figure.transFigure.inverted().transform([corner, other])
    panel = figure.add_axes([x0, y0, x1 - x0, y1 - y0])
    panel.imshow(image, origin="lower", interpolation="nearest", **options)
    panel.set(xticks=[], yticks=[])
    plt.setp(panel.spines.values(), color=FAINT, linewidth=0.8)


def text_panel(axes, x, y, lines):
    """Shows names and values in a square, centred on x."""
    side = 1.5
    corner = (x - side / 2, y)
    axes.add_patch(
        plt.Rectangle(corner, side, side, facecolor="white", edgecolor=FAINT, linewidth=0.8)
    )
    for k, (name, value) in enumerate(lines):
        place = y + side - 0.19 - 0.225 * k
        style = {"va": "center", "size": 8.3, "family": "monospace", "color": INK}
        axes.text(x - side / 2 + 0.07, place, name, **style)
        axes.text(x + side / 2 - 0.07, place, value, ha="right", **style)


def stretched(image, softening=0.02):
    """Returns an image in which faint light shows."""
    return np.arcsinh(image / image.max() / softening)


def main():
    """Writes architecture.png beside this file."""
    row, given, profile, placed, pixels, color = drawn_galaxy()
    figure = plt.figure(figsize=(12.3, 7.75), facecolor="white")
    axes = figure.add_axes([0, 0, 1, 1])
    axes.set(xlim=(0, 12.3), ylim=(0, 7.75))
    axes.axis("off")

    way, shown = 6.3, 4.35
    caption(axes, 7.3, "A ROW'S WAY TO A PIXEL", EDGE[FLOW])
    for (name, text), x in zip(WAY, COLUMNS, strict=True):
        room(axes, x, way, name, text, FLOW, accent=name == "galaxies")
        arrow(axes, (x, way - 0.02), (x, shown + 1.53), color=EDGE[FLOW], linewidth=1.1)
    for x in COLUMNS[:-1]:
        arrow(axes, (x + WIDTH / 2, way + 0.43), (x + PITCH - WIDTH / 2, way + 0.43), EDGE[FLOW])
    names = ("redshift", "i_ab", "a_d", "b_d", "pa_disk", "a_b")
    units = ("", "", "″", "″", "°", "″")
    formats = (".2f", ".1f", ".2f", ".2f", ".0f", ".2f")
    lines = [(n, f"{row[n]:{f}}{u}") for n, u, f in zip(names, units, formats, strict=True)]
    text_panel(axes, COLUMNS[0], shown, lines)
    names = ("zphot", "disk_hlr", "disk_q", "disk_flux", "bulge_hlr", "bulge_q")
    units = ("", "″", "", "", "″", "")
    formats = (".2f", ".2f", ".2f", ".0f", ".2f", ".2f")
    lines = [(n, f"{given[n]:{f}}{u}") for n, u, f in zip(names, units, formats, strict=True)]
    text_panel(axes, COLUMNS[1], shown, lines)
    gray = {"cmap": "magma"}
    picture(figure, axes, COLUMNS[2], shown, stretched(profile, 0.003), **gray)
    picture(figure, axes, COLUMNS[3], shown, stretched(placed, 0.003), **gray)
    picture(figure, axes, COLUMNS[4], shown, stretched(pixels), **gray)
    picture(figure, axes, COLUMNS[5], shown, color)
    below = (
        "a row",
        "named inputs",
        "light profile, flux 1,\nmajor axis along +x",
        "size and position angle\nof the catalogue",
        "each band: flux, PSF,\npixels (here LSST i)",
        "blend with noise,\nand its truth",
    )
    for x, text in zip(COLUMNS, below, strict=True):
        axes.text(x, shown - 0.08, text, ha="center", va="top", size=8.6, color=FAINT)

    leaf, wide = 2.5, 2.1
    caption(axes, leaf + 1.0, "LEAVES: nothing above imports them", EDGE[LEAF])
    span = COLUMNS[-1] - COLUMNS[0] + WIDTH
    step = (span - wide) / 4
    for k, (name, text) in enumerate(LEAVES):
        room(axes, LEFT - WIDTH / 2 + wide / 2 + step * k, leaf, name, text, LEAF, width=wide)

    middle = LEFT - WIDTH / 2 + span / 2
    room(axes, middle, 1.62, "cli", "the command btk-generative, a file a verb", COMMAND, span, 0.6)

    caption(axes, 1.12, "GROUND: any room imports them", EDGE[GROUND])
    for (name, text), x in zip(GROUND_ROOMS, COLUMNS, strict=True):
        room(axes, x, 0.32, name, text, GROUND, height=0.66)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()

"""A small survey drawn by WeakLensingDeblending with generative galaxies.

    python examples/weak_lensing_deblending.py --output survey.png

descwl is on GitHub only: clone https://github.com/LSSTDESC/WeakLensingDeblending, install lmfit and
fitsio, and put the clone on PYTHONPATH. The left panel has descwl's own disks and bulges, the right
one generative galaxies of the same fluxes, sizes and angles.
"""

import argparse
from importlib.util import find_spec

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from astropy.visualization import AsinhStretch, ImageNormalize
from tqdm import tqdm

import btk_generative as bg
from btk_generative.simulators.descwl import GenerativeGalaxyBuilder


def make_survey(band: str, size: int):
    """Returns a full-depth LSST survey of some pixels."""
    import descwl

    settings = descwl.survey.Survey.get_defaults("LSST", band)
    settings |= {"survey_name": "LSST", "filter_band": band}
    settings |= {"image_width": size, "image_height": size}
    settings |= {"cosmic_shear_g1": 0.0, "cosmic_shear_g2": 0.0}
    return descwl.survey.Survey(**settings)


def render(survey, builder, catalog, x, y, band: str) -> np.ndarray:
    """Returns the image of a catalogue, galaxies at x, y [arcsec from the centre]."""
    import descwl

    engine = descwl.render.Engine(
        survey, min_snr=0.05, truncate_radius=30.0, no_margin=False, verbose_render=False
    )
    for entry, dx, dy in zip(tqdm(catalog), x, y, strict=True):
        try:
            galaxy = builder.from_catalog(entry, dx, dy, band)
            engine.render_galaxy(galaxy, None, 0.05, 0.03, no_fisher=True)
        except (descwl.model.SourceNotVisible, descwl.render.SourceNotVisible):
            pass
    return survey.image.array


def main() -> None:
    """Draws the figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", default="survey.png", help="figure to write")
    parser.add_argument("--size", type=int, default=300, help="side of the image in pixels")
    parser.add_argument("--galaxies", type=int, default=150, help="number of galaxies")
    parser.add_argument("--band", default="i", help="band, one of ugrizy")
    options = parser.parse_args()
    if find_spec("descwl") is None:
        parser.error("WeakLensingDeblending cannot be imported: see the top of this file")
    import descwl

    catalog = bg.catalogs.mock_catsim(20 * options.galaxies, seed=1).table
    catalog = catalog[catalog["i_ab"] < 25.3][: options.galaxies]
    catalog["galtileid"] = np.arange(len(catalog))
    surveys = [make_survey(options.band, options.size) for _ in range(2)]
    generative = GenerativeGalaxyBuilder(surveys[1], False, False, False, False)
    generative.prepare(catalog)
    parametric = descwl.model.GalaxyBuilder(surveys[0], False, False, False, False)
    half = 0.45 * options.size * surveys[0].pixel_scale
    x, y = np.random.default_rng(1).uniform(-half, half, (2, len(catalog)))
    noise = np.sqrt(surveys[0].mean_sky_level)
    images = [
        render(survey, builder, catalog, x, y, options.band)
        + np.random.default_rng(2).normal(0, noise, survey.image.array.shape)
        for survey, builder in zip(surveys, (parametric, generative), strict=True)
    ]
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="constrained")
    scale = ImageNormalize(vmin=-2 * noise, vmax=60 * noise, stretch=AsinhStretch(0.03))
    for panel, image, title in zip(axes, images, ("bulge and disk", "generative"), strict=True):
        panel.imshow(image, origin="lower", norm=scale, cmap="gray")
        panel.set_title(f"LSST {options.band}, {title}")
        panel.set_axis_off()
    figure.savefig(options.output, dpi=150)
    print(f"wrote {options.output}")


if __name__ == "__main__":
    main()

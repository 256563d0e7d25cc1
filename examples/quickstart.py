"""Generative and parametric galaxies side by side: the same blends, drawn twice.

Run it with `python examples/quickstart.py`; it leaves quickstart.png beside you.
"""

import btk
import matplotlib.pyplot as plt
import numpy as np
from surveycodex.utilities import mean_sky_level

import btk_generative as bg
from btk_generative.draw.figure import rgb

# Any BTK catalogue in the CatSim schema will do, such as CatsimCatalog.from_file("OneDegSq.fits").
catalog = bg.catalogs.mock_catsim(20_000, seed=0)
lsst = btk.survey.get_surveys("LSST")


def draw(generator_class):
    """Returns the first batch of a generator, always of the same blends."""
    sampling = btk.sampling_functions.DefaultSampling(
        stamp_size=24.0, min_number=2, max_number=4, max_shift=2.5, max_mag=21.5, seed=3
    )
    return next(generator_class(catalog, sampling, lsst, batch_size=5, seed=1))


batches = {
    "parametric": draw(bg.ParametricGenerator),
    "generative": draw(bg.GenerativeGenerator),
}

for blend, truth in enumerate(batches["generative"].catalog_list):
    print(f"blend {blend}: {len(truth)} galaxies, i = {np.round(np.sort(truth['i_ab']), 1)}")

bands = list(lsst.available_filters)
noise = np.sqrt([mean_sky_level(lsst, lsst.get_filter(band)).value for band in bands])
figure, axes = plt.subplots(2, 5, figsize=(12, 5.2), layout="constrained")
for row, (name, batch) in zip(axes, batches.items(), strict=True):
    row[0].set_ylabel(f"{name}\ny [arcsec]")
    for panel, images in zip(row, batch.blend_images, strict=True):
        panel.imshow(rgb(images, bands, noise), origin="lower", extent=(-12, 12, -12, 12))
        panel.set(xlim=(-8, 8), ylim=(-8, 8))
for panel in axes[1]:
    panel.set_xlabel("x [arcsec]")
figure.savefig("quickstart.png", dpi=130)

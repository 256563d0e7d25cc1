"""Draws with objects that another process pickled: `python state_worker.py OBJECTS RESULTS`."""

import pickle
import sys
from types import SimpleNamespace

import galsim
import numpy as np


def use(name: str, made) -> np.ndarray:
    """Returns numbers that an object of the package gives."""
    import btk_generative as bg

    if name in ("GenerativeGenerator", "ParametricGenerator"):
        return next(made).blend_images
    if name == "SurveyRenderer":
        dot = np.pad(np.ones((1, 2, 2), np.float32) / 4, ((0, 0), (3, 3), (3, 3)))
        profiles = bg.LightProfiles(dot, [0.03])
        return made.draw(profiles, [[100.0]], 0.3, 0.1, 0.2, point_flux=[[5.0]])
    if name == "GenerativeModel":
        table = bg.catalogs.mock_catsim(3, seed=0).table
        return made.sample(bg.conditions.from_catsim(table), rng=1).images
    if name == "GenerativeGalaxyModel":
        conditions = bg.conditions.from_catsim(bg.catalogs.mock_catsim(3, seed=0).table)
        drawn = made.sample(conditions, rng=galsim.BaseDeviate(4))
        return np.array([galaxy.image.array for galaxy in drawn])
    if name == "GenerativeGalaxy":
        return made.drawImage(nx=20, ny=20, scale=0.2).array
    if name == "LightProfiles":
        return made.position_angle()
    if name == "BlendDataset":
        return np.stack([made[k].image for k in (4, 0, 9)])
    if name in ("SurveyBatch", "SurveyBatches"):
        batch = made if name == "SurveyBatch" else made["LSST"]
        return np.concatenate([batch.blend_images.ravel(), batch.get_numpy_psf().ravel()])
    if name == "GenerativeGalaxyBuilder":
        import descwl_stand_in

        descwl_stand_in.install(SimpleNamespace(setitem=dict.__setitem__))
        table = bg.catalogs.mock_catsim(3, seed=4).table
        table["galtileid"] = np.arange(3)
        galaxy = made.from_catalog(table[0], 0.0, 0.0, "i")
        return np.append(galaxy.second_moments, galaxy.model.flux)
    if name == "Scarlet2Deblender":
        batch = made[1]
        return made[0].deblend(0, batch).deblended_images
    raise KeyError(name)


if __name__ == "__main__":
    results = {}
    with open(sys.argv[1], "rb") as file:
        objects = pickle.load(file)
    for name, content in objects.items():
        try:
            results[name] = use(name, pickle.loads(content))
        except Exception as error:
            results[name] = error
    with open(sys.argv[2], "wb") as file:
        pickle.dump(results, file)

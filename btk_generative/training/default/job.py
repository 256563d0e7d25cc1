"""`btk-generative train`: from a configuration to a model artifact."""

import platform
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from astropy.table import Table

from btk_generative.errors import OutputError
from btk_generative.models import write_artifact
from btk_generative.training.default.config import TrainConfig
from btk_generative.training.default.cosmos import FittedGalaxies, read_fits
from btk_generative.training.default.fit import fit_flow
from btk_generative.training.default.sersic import SIZE
from btk_generative.training.default.shape import RANDOM_SIZE, ShapeModel

DESCRIPTIONS = {
    "zphot": ("", "redshift"),
    "bulge_hlr": ("arcsec", "half-light radius of the bulge, circularised"),
    "bulge_q": ("", "axis ratio of the bulge"),
    "bulge_flux": ("count", "flux of the bulge, 25.94 - 2.5 log10 flux = F814W magnitude"),
    "disk_hlr": ("arcsec", "half-light radius of the disk, circularised"),
    "disk_q": ("", "axis ratio of the disk"),
    "disk_flux": ("count", "flux of the disk, 25.94 - 2.5 log10 flux = F814W magnitude"),
    "bulge_present": ("", "1 if the galaxy has a bulge, else 0"),
    "disk_present": ("", "1 if the galaxy has a disk, else 0"),
}

_VALIDATION_SHARE = 0.05


def run(config: TrainConfig, output: Path) -> Path:
    """Trains a model and writes ``model.tar.gz``.

    Args:
        config: What to train.
        output: Folder to write to, made where it is missing.

    Returns:
        The path of the artifact.

    Raises:
        CatalogError: If the data cannot be read.
        OutputError: If the folder cannot be written.
    """
    galaxies = read_fits(config.path(config.catalog))[config.first_row :]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{output}: cannot be made: {error}") from error
    model, metrics = train_shape(config, galaxies)
    path = output / "model.tar.gz"
    write_artifact(path, drawing(model), card(config, galaxies, metrics))
    return path


def train_shape(config: TrainConfig, galaxies: FittedGalaxies) -> tuple[ShapeModel, dict]:
    """Trains the model of smooth shapes; a twentieth of the galaxies only measures the fit."""
    keras.utils.set_random_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    options = config.shape
    model = ShapeModel(
        galaxies, config.seed, layers=options.layers, width=options.width, bins=options.bins
    )
    scores, context = model.training_set(galaxies, rng)
    held_out = np.tile(rng.random(len(galaxies)) < _VALIDATION_SHARE, 2)
    history = fit_flow(model.flow, scores, context, held_out, options)
    unconditional = 0.5 * np.sum(scores[held_out] ** 2 + np.log(2 * np.pi), axis=1).mean()
    return model, {
        "shape_training_loss": round(history.history["loss"][-1], 4),
        "shape_validation_loss": round(history.history["val_loss"][-1], 4),
        "shape_validation_loss_unconditional": round(float(unconditional), 4),
    }


def drawing(model: ShapeModel):
    """Returns the function that `write_artifact` takes: tensors by name to image and scale."""

    def draw(random_normal, **inputs):
        image, pixel_scale = model.draw(inputs, random_normal)
        return {"image": image, "pixel_scale": pixel_scale}

    return draw


def card(config: TrainConfig, galaxies: FittedGalaxies, metrics: dict) -> dict:
    """Returns the ``model.json`` of the artifact."""
    return {
        "schema": 1,
        "name": config.name,
        "description": (
            "Bulge and disk with the Sersic index or the angle between them drawn by a "
            "conditional flow, in a frame scaled to the galaxy"
        ),
        "inputs": inputs(galaxies.conditions),
        "random_size": RANDOM_SIZE,
        "stamp_size": SIZE,
        "pixel_scale": "output",
        "oriented": True,
        "licence": "MIT",
        "citation": (
            "Lanusse et al. 2021, MNRAS 504, 5543; COSMOS fits: Mandelbaum et al. 2014, GREAT3"
        ),
        "provenance": {
            "data": f"{config.catalog.name}, rows {config.first_row} and up: {len(galaxies)}",
            "code_version": version("btk-generative"),
            "seed": config.seed,
            "keras": keras.version(),
            "backend": keras.backend.backend(),
            "python": platform.python_version(),
        },
        "metrics": metrics,
    }


def inputs(conditions: Table) -> list[dict]:
    """Returns the named inputs with the domain of the training data (99.9 % of it on each side).

    Args:
        conditions: The training data's.
    """
    listed = []
    for name, (unit, description) in DESCRIPTIONS.items():
        if name.endswith("_present"):
            low, high, missing = 0.0, 1.0, 0.0
        else:
            values = np.ma.compressed(np.ma.asarray(conditions[name]))
            low, missing, high = np.quantile(values, [0.001, 0.5, 0.999])
            high = 1.0 if name.endswith("_q") else high
        listed.append(
            {
                "name": name,
                "unit": unit,
                "minimum": float(f"{low:.4g}"),
                "maximum": float(f"{high:.4g}"),
                "missing": float(f"{missing:.4g}"),
                "description": description,
            }
        )
    return listed

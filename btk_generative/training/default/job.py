"""From a configuration to the default model's artifact."""

import json
import platform
from importlib.metadata import version
from pathlib import Path

import keras
import numpy as np
from astropy.table import Table

from btk_generative.errors import OutputError
from btk_generative.models import write_artifact
from btk_generative.runs.files import write_json
from btk_generative.training.default.config import TrainConfig
from btk_generative.training.default.cosmos import FittedGalaxies, read_fits
from btk_generative.training.default.fit import fit_flow
from btk_generative.training.default.galaxy import GalaxyModel
from btk_generative.training.default.residuals import Residuals, read_residuals
from btk_generative.training.default.sersic import SIZE
from btk_generative.training.default.shape import DOMAIN, ShapeModel
from btk_generative.training.default.structure import StructureModel, fit_basis
from btk_generative.training.run import is_used, save_settings

INPUTS = {
    "zphot": ("", "redshift"),
    "bulge_hlr": ("arcsec", "half-light radius of the bulge, circularised"),
    "bulge_q": ("", "axis ratio of the bulge"),
    "bulge_flux": ("count", "flux of the bulge, 25.94 - 2.5 log10 flux = F814W magnitude"),
    "disk_hlr": ("arcsec", "half-light radius of the disk, circularised"),
    "disk_q": ("", "axis ratio of the disk"),
    "disk_flux": ("count", "flux of the disk, 25.94 - 2.5 log10 flux = F814W magnitude"),
    "bulge_present": ("", "1 if the galaxy has a bulge, else 0"),
    "disk_present": ("", "1 if the galaxy has a disk, else 0"),
    "bulge_angle": ("deg", "from the disk's major axis to the bulge's, 0 if not given"),
}
"""Unit and description of each condition."""

_HELD_OUT = 0.05


def run(config: TrainConfig, output: Path, resume: bool = False) -> Path:
    """Trains the model and writes ``model.tar.gz``.

    Args:
        config: What to train on, and how.
        output: Folder to write to, new or empty.
        resume: Whether to go on where a training of the same configuration was stopped; a flow that
            was fitted is taken as it is.

    Returns:
        The path of the artifact.

    Raises:
        CatalogError: If the data cannot be read.
        ModelError: If the training fails.
        OutputError: If the folder is in use, holds another training, or cannot be written.
    """
    settings = output / "settings.json"
    if is_used(output, resume) and (
        not settings.exists() or json.loads(settings.read_text()) != config.model_dump(mode="json")
    ):
        raise OutputError(
            f"{output} holds no training of this configuration; choose another folder"
        )
    galaxies = read_fits(config.path(config.catalog))[config.first_row : config.last_row]
    stamps = config.path(config.structure.stamps)
    residuals = read_residuals(stamps, config.structure.number)
    save_settings(output, config)
    shape, metrics = train_shape(config, galaxies, output)
    fields, more = train_structure(config, residuals, output)
    metrics |= more
    model = GalaxyModel(shape, fields)
    path = output / "model.tar.gz"
    write_artifact(path, model, card(config, galaxies, residuals, model.random_size, metrics))
    return path


def train_shape(
    config: TrainConfig, galaxies: FittedGalaxies, folder: Path
) -> tuple[ShapeModel, dict]:
    """Trains the model of Sersic indices; a twentieth of the disks only measures its fit."""
    keras.utils.set_random_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    model = ShapeModel(galaxies, config.seed, **config.shape.network())
    scores, context = model.training_set(galaxies, rng)
    held_out = rng.random(len(scores)) < _HELD_OUT
    kept = folder / "shape.json"
    history = _fitted(kept, model.flow, scores, context, held_out, config.shape)
    return model, _metrics("shape", history, scores[held_out])


def train_structure(
    config: TrainConfig, residuals: Residuals, folder: Path
) -> tuple[StructureModel, dict]:
    """Trains the model of structure; a twentieth of the stamps only measures the flow's fit."""
    options = config.structure
    keras.utils.set_random_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    basis, factors = fit_basis(residuals, options.factors, options.steps, config.seed)
    model = StructureModel(basis, residuals, options.gain, config.seed, **options.flow.network())
    context = model.encode(residuals.axis_ratio, residuals.concentration)
    context = np.tile(keras.ops.convert_to_numpy(context), (len(factors), 1))
    held_out = np.tile(rng.random(len(residuals.ratio)) < _HELD_OUT, len(factors))
    factors = factors.reshape(len(held_out), -1)
    kept = folder / "structure.json"
    history = _fitted(kept, model.flow, factors, context, held_out, options.flow)
    return model, _metrics("structure", history, factors[held_out])


def _fitted(kept: Path, flow, *arguments) -> dict:
    """Fits a flow, or takes the weights that an earlier run has kept; returns the losses."""
    weights = kept.with_suffix(".weights.h5")
    if not kept.exists():
        history = fit_flow(flow, *arguments).history
        try:
            flow.save_weights(weights)
        except OSError as error:
            raise OutputError(f"{kept.parent}: {error.strerror or error}") from error
        # last: only a whole fit has this file
        write_json(kept, history)
    flow.load_weights(weights)
    return json.loads(kept.read_text())


def _metrics(name, history, held_out) -> dict:
    """Returns mean negative log densities, and that of independent normal variables."""
    normal = 0.5 * np.sum(held_out**2 + np.log(2 * np.pi), axis=1).mean()
    return {
        f"{name}_training_loss": round(history["loss"][-1], 4),
        f"{name}_validation_loss": round(history["val_loss"][-1], 4),
        f"{name}_validation_loss_normal": round(float(normal), 4),
    }


def card(config, galaxies, residuals, random_size: int, metrics: dict) -> dict:
    """Returns the ``model.json`` of the artifact."""
    return {
        "schema": 1,
        "name": config.name,
        "description": (
            "The catalogue's bulge and disk at their own angles, with Sersic indices that scatter, "
            "times structure (arms, clumps, asymmetry) drawn by a flow, in a frame scaled to the "
            "galaxy"
        ),
        "inputs": inputs(galaxies.conditions),
        "random_size": random_size,
        "stamp_size": SIZE,
        "pixel_scale": "output",
        "oriented": True,
        "licence": "MIT",
        "citation": (
            "COSMOS fits: Mandelbaum et al. 2012, MNRAS 420, 1518; GalSim: Rowe et al. 2015, "
            "Astronomy and Computing 10, 121. Stamps: CEERS, Bagley et al. 2023, ApJL 946, L12"
        ),
        "provenance": {
            "data": [
                f"{config.catalog.name}, {len(galaxies)} rows from {config.first_row}",
                f"{config.structure.stamps.name}, {len(residuals.ratio)} stamps",
            ],
            "config": config.model_dump(mode="json", exclude={"data"}),
            "code_version": version("btk-generative"),
            "seed": config.seed,
            "keras": keras.version(),
            "python": platform.python_version(),
        },
        "metrics": metrics,
    }


def inputs(conditions: Table) -> list[dict]:
    """Returns the named inputs, with the domain of the training data.

    Args:
        conditions: The training data's.
    """
    listed = []
    for name, (unit, description) in INPUTS.items():
        low, missing, high = 0.0, 0.0, 1.0
        if name == "bulge_angle":
            low, missing, high = -180.0, 0.0, 180.0
        elif not name.endswith("_present"):
            values = np.ma.compressed(np.ma.asarray(conditions[name]))
            low, missing, high = np.quantile(values, [DOMAIN[0], 0.5, DOMAIN[1]])
        if name.endswith("_q"):
            high = 1.0
        bounds = {"minimum": low, "maximum": high, "missing": missing}
        bounds = {key: float(f"{value:.4g}") for key, value in bounds.items()}
        listed.append({"name": name, "unit": unit, **bounds, "description": description})
    return listed

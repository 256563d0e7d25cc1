"""The folder of a training: what is in it, and how to go on with it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from keras import ops

from btk_generative.errors import ModelError, OutputError
from btk_generative.runs.config import StrictModel
from btk_generative.runs.files import new_file, write_json, write_text
from btk_generative.training.inputs import Inputs
from btk_generative.training.settings import GanTraining, TrainSettings, VaeTraining

_SETTINGS = "settings.json"
_SCALES = "scales.json"
_METRICS = "metrics.json"


@dataclass(frozen=True)
class Scales:
    """What a network is told of its training data; its weights mean nothing without."""

    inputs: Inputs

    log_flux: tuple[float, float]
    """Mean and standard deviation of ln flux."""

    source: str
    """The catalogue, how many of its rows, and from which on."""


def is_used(folder: Path, resume: bool) -> bool:
    """Returns whether a folder holds something.

    Raises:
        OutputError: If it does, and no training is to be gone on with.
    """
    used = folder.exists() and any(folder.iterdir())
    if used and not resume:
        raise OutputError(
            f"{folder} already holds something; go on with --resume, or choose another folder"
        )
    return used


def check_run(folder: Path, settings: TrainSettings, resume: bool) -> None:
    """Checks that a training may go into a folder.

    Args:
        folder: New or empty, or with `resume` one that a training of the same settings left; how
            the networks are fitted may have changed.
        settings: Of the training.
        resume: Whether to go on.

    Raises:
        OutputError: If the folder is in use, or does not belong to these settings.
    """
    path = folder / _SETTINGS
    is_used(folder, resume)
    if path.exists():
        before, now = _fixed(json.loads(path.read_text())), _fixed(settings.model_dump(mode="json"))
        changed = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if changed:
            raise OutputError(
                f"{folder} holds a training with another {', '.join(changed)}; train into a new "
                "folder"
            )


def save_settings(folder: Path, settings: StrictModel) -> None:
    """Writes the settings, and makes the folder where it is not there yet.

    Raises:
        OutputError: If it cannot be made.
    """
    write_text(folder / _SETTINGS, settings.model_dump_json(indent=2))


def read_run(folder: Path) -> tuple[VaeTraining | GanTraining, Scales]:
    """Returns the settings and the scales of a training.

    Raises:
        ModelError: If there is no training in the folder.
    """
    try:
        settings = json.loads((folder / _SETTINGS).read_text())
        scales = json.loads((folder / _SCALES).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: holds no training ({error})") from error
    kinds: dict[str, type[VaeTraining | GanTraining]] = {"vae": VaeTraining, "gan": GanTraining}
    settings = kinds[settings["kind"]].model_validate(settings)
    inputs = {key: tuple(value) for key, value in scales["inputs"].items()}
    source = scales.get("source", "rows not known")  # of version 0.1
    return settings, Scales(Inputs(**inputs), tuple(scales["log_flux"]), source)


def save_scales(folder: Path, scales: Scales) -> None:
    """Writes the scales."""
    values = {
        "inputs": scales.inputs.as_dict(),
        "log_flux": scales.log_flux,
        "source": scales.source,
    }
    write_json(folder / _SCALES, values)


def save_metrics(folder: Path, metrics: dict) -> None:
    """Writes what the model's card says of its quality."""
    write_json(folder / _METRICS, metrics)


def read_metrics(folder: Path) -> dict:
    """Returns what the model's card says of its quality."""
    path = folder / _METRICS
    return json.loads(path.read_text()) if path.exists() else {}


def save_weights(network: Any, path: Path) -> None:
    """Writes the weights of a network, for any backend of Keras."""
    arrays = [ops.convert_to_numpy(variable) for variable in network.variables]
    with new_file(path) as partial, open(partial, "wb") as file:
        np.savez(file, *arrays)


def load_weights(network: Any, path: Path) -> None:
    """Reads weights into a network that has been called once.

    Raises:
        ModelError: If the file is missing or belongs to another network.
    """
    try:
        with np.load(path) as arrays:
            for variable, name in zip(network.variables, arrays.files, strict=True):
                variable.assign(arrays[name])
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: are not the weights of this network ({error})") from error


def _fixed(settings: dict) -> dict:
    return {name: value for name, value in settings.items() if not name.startswith("fit_")}

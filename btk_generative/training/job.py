"""The commands `btk-generative train` and `btk-generative export`."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any

from btk_generative.errors import ConfigError, need
from btk_generative.models.graph import import_tensorflow
from btk_generative.runs.config import load_config, read_mapping

_KINDS = {
    "vae": ("settings:VaeTraining", "train:train_vae"),
    "gan": ("settings:GanTraining", "train:train_gan"),
    "default": ("default.config:TrainConfig", "default.job:run"),
}
"""For each ``kind`` of configuration: its schema, and the function that trains."""


def train(
    config: Path,
    output: Path,
    smoke: bool = False,
    resume: bool = False,
    changes: list[str] | None = None,
) -> None:
    """Trains a model, which ends up in ``model.tar.gz`` of a folder.

    Args:
        config: Configuration file; its ``kind`` says what is trained.
        output: Folder, new or empty unless `resume`.
        smoke: Take the whole path in minutes, for a model of no use.
        resume: Go on where a training into that folder was stopped.
        changes: ``key=value`` pairs that take the place of the file's.

    Raises:
        GenerativeError: If the configuration, the data or the folder is not as it must be.
    """
    need("jinja2", "keras", "tensorboardX", extra="train", what="training")
    if os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow":
        import_tensorflow(threads=0)  # before Keras does, which shows its start-up notes
    schema, run = (_find(place) for place in _KINDS[_kind(config)])
    settings = load_config(config, schema, changes)
    if smoke:
        settings = settings.smoke()
    run(settings, Path(output), resume)


def _kind(config: Path) -> str:
    kind = read_mapping(config).get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ConfigError(f"{config}: key 'kind' must be one of {', '.join(_KINDS)}, not {kind!r}")
    return kind


def _find(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(import_module(f"btk_generative.training.{module}"), name)

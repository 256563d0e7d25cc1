"""From a training's folder to a model artifact, a TensorFlow graph."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import keras
from keras import ops

from btk_generative.errors import ModelError
from btk_generative.training.build import build_gan, build_latent_flow, build_vae
from btk_generative.training.inputs import radius
from btk_generative.training.run import load_weights, read_metrics, read_run


def export(folder: Path, path: Path) -> None:
    """Writes the model of a finished training.

    TensorFlow writes it, whatever backend of Keras the training used; where Keras runs on another
    backend here, another process does it.

    Args:
        folder: Of the training.
        path: The artifact, ``NAME.tar.gz``.

    Raises:
        ModelError: If there is no finished training in the folder.
    """
    if keras.backend.backend() != "tensorflow":
        _export_elsewhere(folder, path)
        return
    from btk_generative.models import write_artifact

    settings, scales = read_run(folder)
    if settings.kind == "vae":
        vae, flow = build_vae(settings, scales), build_latent_flow(settings, scales)
        load_weights(vae, folder / "vae.npz")
        load_weights(flow, folder / "flow.npz")

        def profiles(normal, context):
            return vae.decoder(flow.sample(normal, context))[0]

        random_size = settings.vae.latent
    else:
        gan = build_gan(settings, scales)
        load_weights(gan, folder / "gan.npz")

        def profiles(normal, context):
            return gan.draw(normal, context)[0]

        random_size = settings.gan.latent

    data, inputs = settings.data, scales.inputs
    own_frame = data.frame == "galaxy"

    def draw(random_normal, **values):
        drawn = {"image": profiles(random_normal, inputs.encode(values))}
        if own_frame:
            drawn["pixel_scale"] = radius(values, ops) * (data.width / data.stamp_size)
        return drawn

    card = {
        "name": settings.name,
        "description": settings.description,
        "inputs": inputs.card(),
        "random_size": random_size,
        "stamp_size": data.stamp_size,
        "pixel_scale": "output" if own_frame else data.pixel_scale,
        "oriented": own_frame,
        "licence": settings.licence,
        "citation": settings.citation,
        "provenance": {
            "data": scales.source,
            "code_version": version("btk-generative"),
            "seed": settings.seed,
            "keras": keras.version(),
            "python": platform.python_version(),
            "settings": settings.model_dump(
                mode="json", exclude={"data": {"catalog", "psfs", "folder", "jobs"}}
            ),
        },
        "metrics": read_metrics(folder),
    }
    write_artifact(path, draw, card)


def _export_elsewhere(folder: Path, path: Path) -> None:
    """Exports in a process whose Keras runs on TensorFlow."""
    code = (
        "import sys; from pathlib import Path; from btk_generative.training.export import export;"
        "export(*map(Path, sys.argv[1:]))"
    )
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    result = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(path)],
        env=environment,
        capture_output=True,
        text=True,
    )
    if result.returncode:
        reason = result.stderr.strip().splitlines()[-1:] or ["no message"]
        raise ModelError(f"{folder}: TensorFlow could not export the model: {reason[0]}")

"""The work of `btk-generative train`: data, networks, artifact and report in one folder."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

from btk_generative.conditions import ZERO_POINT_F814W
from btk_generative.errors import ConfigError
from btk_generative.training.assess import assess
from btk_generative.training.batches import Stream, network_inputs
from btk_generative.training.build import build_gan, build_latent_flow, build_vae
from btk_generative.training.dataset import Dataset, make_dataset
from btk_generative.training.export import export
from btk_generative.training.inputs import Inputs
from btk_generative.training.latent import encode_all
from btk_generative.training.report import write_report
from btk_generative.training.run import (
    Scales,
    check_run,
    save_metrics,
    save_scales,
    save_settings,
    save_weights,
)
from btk_generative.training.settings import GanTraining, TrainSettings, VaeTraining
from btk_generative.training.trainer import fit

MODEL = "model.tar.gz"
"""Name of the artifact in a training's folder."""


def train_vae(settings: VaeTraining, folder: Path, resume: bool) -> None:
    """Trains an autoencoder, then the flow on its latent space.

    Args:
        settings: What to train on, and how.
        folder: New or empty, or with `resume` one that was trained in before.
        resume: Whether to go on where a training was stopped.
    """
    data, scales = _prepare(settings, folder, resume)
    vae = build_vae(settings, scales)
    stream = _stamps(data, scales.inputs, settings.fit_vae.batch_size, settings)
    history = {"vae": fit(vae, stream, settings.fit_vae, folder / "vae")}
    save_weights(vae, folder / "vae.npz")

    flow = build_latent_flow(settings, scales)
    stream = _latents(data, vae, scales.inputs, flow, settings)
    history["flow"] = fit(flow, stream, settings.fit_flow, folder / "flow")
    save_weights(flow, folder / "flow.npz")

    def sample(normal, context):
        return vae.decoder(flow.sample(normal, context))

    _finish(data, settings, scales, folder, history, sample, settings.vae.latent, vae, flow)


def train_gan(settings: GanTraining, folder: Path, resume: bool) -> None:
    """Trains a generator against a critic; the arguments are those of `train_vae`.

    Raises:
        ConfigError: On PyTorch, where Keras's spectral normalisation has no gradient.
    """
    if keras.backend.backend() == "torch":
        raise ConfigError(
            "kind: a gan does not train on PyTorch; set KERAS_BACKEND=tensorflow or jax"
        )
    data, scales = _prepare(settings, folder, resume)
    gan = build_gan(settings, scales)
    stream = _stamps(data, scales.inputs, settings.fit_gan.batch_size, settings)
    history = {"gan": fit(gan, stream, settings.fit_gan, folder / "gan")}
    save_weights(gan, folder / "gan.npz")
    _finish(data, settings, scales, folder, history, gan.draw, settings.gan.latent)


def _prepare(settings: TrainSettings, folder: Path, resume: bool) -> tuple[Dataset, Scales]:
    """Opens the data and the folder, and measures the scales of the former."""
    check_run(folder, settings, resume)
    if keras.backend.backend() == "jax" and len(keras.distribution.list_devices()) > 1:
        keras.distribution.set_distribution(keras.distribution.DataParallel())
    keras.utils.set_random_seed(settings.seed)
    place = settings.data.folder or folder / "dataset"
    data = make_dataset(settings.data, place, settings.seed, settings.conditions)
    save_settings(folder, settings)
    table = data.table("train")
    log_flux = -0.4 * np.log(10) * (np.asarray(table["mag_auto"]) - ZERO_POINT_F814W)
    scales = Scales(
        Inputs.measure(settings.conditions, table),
        (float(np.nanmean(log_flux)), float(np.nanstd(log_flux)) + 1e-3),
        data.source,
    )
    save_scales(folder, scales)
    return data, scales


def _stamps(data: Dataset, inputs: Inputs, batch_size: int, settings: TrainSettings) -> Stream:
    """Streams stamps; each is mirrored in x and in y at random."""
    rows = {split: data.rows(split) for split in ("train", "validation")}

    def read(split, chosen, rng):
        flips = None if rng is None else rng.random((len(chosen), 2)) < 0.5
        return network_inputs(data, data.read(rows[split][chosen]), inputs, flips)

    return Stream(read, len(rows["train"]), len(rows["validation"]), batch_size, settings.seed)


def _latents(data: Dataset, vae: Any, inputs: Inputs, flow: Any, settings: VaeTraining) -> Stream:
    """Streams samples of the posteriors of the frozen encoder, new ones in every epoch.

    In training a galaxy is one of its four mirror images, as for the encoder before.
    """
    rows = {split: data.rows(split) for split in ("train", "validation")}

    def encode(split, x, y):
        where = rows[split]
        pieces = np.array_split(where, -(-len(where) // 64))
        batches = (
            network_inputs(data, data.read(piece), inputs, np.tile([x, y], (len(piece), 1)))
            for piece in pieces
        )
        return encode_all(vae, batches, len(where))

    mirrored = [encode("train", x, y) for x in (False, True) for y in (False, True)]
    outputs = np.stack([images["outputs"] for images in mirrored])
    validation = encode("validation", False, False)

    def vectors(outputs, rng):
        normal = rng.standard_normal((len(outputs), settings.vae.latent)).astype(np.float32)
        vector, _ = vae.posterior(*map(ops.convert_to_tensor, (outputs, normal)))
        return ops.convert_to_numpy(vector)

    rng = np.random.default_rng(settings.seed)
    flow.standardise(vectors(np.concatenate(outputs), rng))
    validation["vector"] = vectors(validation["outputs"], rng)

    def read(split, chosen, rng):
        if split == "validation":
            return {name: validation[name][chosen] for name in ("vector", "context")}
        image = rng.integers(4, size=len(chosen))
        vector = vectors(outputs[image, chosen], rng)
        return {"vector": vector, "context": mirrored[0]["context"][chosen]}

    sizes = len(rows["train"]), len(rows["validation"]), settings.fit_flow.batch_size
    return Stream(read, *sizes, settings.seed + 1)


def _finish(
    data: Dataset,
    settings: VaeTraining | GanTraining,
    scales: Scales,
    folder: Path,
    history: dict,
    sample: Callable,
    size: int,
    vae: Any = None,
    flow: Any = None,
) -> None:
    """Measures the model on test galaxies, writes the artifact and the report."""
    rows = data.rows("test")[:1024]
    batches = []
    for piece in np.array_split(rows, -(-len(rows) // 64)):
        records = data.read(piece)
        batches.append((records, network_inputs(data, records, scales.inputs)))
    rng = np.random.default_rng(settings.seed)

    def draw(context):
        normal = rng.standard_normal((len(context), size)).astype(np.float32)
        drawn = sample(*map(ops.convert_to_tensor, (normal, context)))
        return [ops.convert_to_numpy(part) for part in drawn]

    results = assess(data, batches, draw, vae, settings.seed)
    save_metrics(folder, results.metrics)
    export(folder, folder / MODEL)
    write_report(folder / "report.html", settings, scales, history, results, draw, flow)

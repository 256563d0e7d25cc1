"""The flow on the latent space of a trained autoencoder."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops
from tqdm import tqdm

from btk_generative.training.flow import CouplingFlow
from btk_generative.training.maf import MaskedAutoregressiveFlow
from btk_generative.training.settings import FlowSettings
from btk_generative.training.tensors import Tensor
from btk_generative.training.trainable import Trainable

_FLOWS = {"maf": MaskedAutoregressiveFlow, "coupling": CouplingFlow}
_MAX_LOG_SCALE = 4.0


class LatentFlow(Trainable):
    """The density of latent vectors given conditions.

    A network of the conditions shifts and scales each variable, and the flow has the density of
    what remains: a bright galaxy's flux is known to a hundredth of the spread over all galaxies,
    and may lie where splines, which end at 4 standard deviations, no longer move anything.
    """

    def __init__(self, size: int, context_size: int, settings: FlowSettings, seed: int):
        """Builds the networks.

        Args:
            size: Length of a latent vector.
            context_size: Length of the encoded conditions.
            settings: Kind and size of the flow.
            seed: Seed of the initial weights.
        """
        super().__init__("loss")
        width = settings.width
        self.flow = _FLOWS[settings.kind](
            size, context_size, layers=settings.layers, width=width, seed=seed
        )
        seeds = [seed + 1, seed + 2]
        self._trend = keras.Sequential(
            [
                keras.Input((context_size,)),
                *(
                    keras.layers.Dense(
                        width, "silu", kernel_initializer=keras.initializers.HeNormal(seed=s)
                    )
                    for s in seeds
                ),
                keras.layers.Dense(2 * size, kernel_initializer="zeros"),
            ]
        )
        self._mean = self.add_weight(
            shape=(size,), initializer="zeros", trainable=False, name="mean"
        )
        self._sd = self.add_weight(shape=(size,), initializer="ones", trainable=False, name="sd")

    def standardise(self, vectors: np.ndarray) -> None:
        """Makes the networks work on vectors of mean 0 and variance 1.

        Args:
            vectors: Training data, ``[n, size]``.
        """
        self._mean.assign(vectors.mean(0))
        self._sd.assign(vectors.std(0) + 1e-6)

    def call(self, inputs: dict, training: bool = False) -> dict:
        """Returns minus the logarithm of the density of ``vector`` given ``context``, ``[n]``."""
        shift, log_scale = self._shift_and_log_scale(inputs["context"])
        rest = (inputs["vector"] - shift) * ops.exp(-log_scale)
        log_density = self.flow.log_prob(rest, inputs["context"])
        return {"loss": ops.sum(log_scale, axis=1) - log_density}

    def sample(self, normal: Tensor, context: Tensor) -> Tensor:
        """Returns the latent vectors ``[n, size]`` of standard normal vectors ``[n, size]``."""
        shift, log_scale = self._shift_and_log_scale(context)
        return self.flow.inverse(normal, context) * ops.exp(log_scale) + shift

    def _shift_and_log_scale(self, context):
        shift, log_scale = ops.split(self._trend(context), 2, axis=1)
        log_scale = _MAX_LOG_SCALE * ops.tanh(log_scale / _MAX_LOG_SCALE)
        return self._mean + self._sd * shift, ops.log(self._sd) + log_scale


def encode_all(vae: Any, batches: Iterable[dict], total: int) -> dict[str, np.ndarray]:
    """Returns the posteriors and conditions of galaxies.

    Args:
        vae: A fitted `btk_generative.training.vae.Vae`.
        batches: Iterable of dictionaries of `btk_generative.training.batches.network_inputs`.
        total: Number of galaxies, for the progress bar.

    Returns:
        ``outputs`` of the encoder, ``[n, ...]``, and ``context``, ``[n, c]``.
    """
    outputs, contexts = [], []
    with tqdm(total=total, desc="Encoding", unit="galaxy", disable=None) as bar:
        for batch in batches:
            outputs.append(
                ops.convert_to_numpy(vae.encoder(batch["image"], batch["psf"], batch["power"]))
            )
            contexts.append(batch["context"])
            bar.update(len(batch["context"]))
    return {"outputs": np.concatenate(outputs), "context": np.concatenate(contexts)}

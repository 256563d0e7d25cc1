"""The flow on the latent space of a trained autoencoder."""

import numpy as np
from keras import ops
from tqdm import tqdm

from btk_generative.training.flow import CouplingFlow
from btk_generative.training.maf import MaskedAutoregressiveFlow
from btk_generative.training.settings import FlowSettings
from btk_generative.training.trainable import Trainable

_FLOWS = {"maf": MaskedAutoregressiveFlow, "coupling": CouplingFlow}


class LatentFlow(Trainable):
    """The density of latent vectors given conditions."""

    def __init__(self, size: int, context_size: int, settings: FlowSettings, seed: int):
        """Builds the flow.

        Args:
            size: Length of a latent vector.
            context_size: Length of the encoded conditions.
            settings: Kind and size of the flow.
            seed: Seed of the initial weights.
        """
        super().__init__("loss")
        flow = _FLOWS[settings.kind]
        self.flow = flow(
            size, context_size, layers=settings.layers, width=settings.width, seed=seed
        )
        self._mean = self.add_weight(
            shape=(size,), initializer="zeros", trainable=False, name="mean"
        )
        self._sd = self.add_weight(shape=(size,), initializer="ones", trainable=False, name="sd")

    def standardise(self, vectors: np.ndarray) -> None:
        """Makes the flow work on vectors of mean 0 and variance 1.

        Args:
            vectors: Training data, ``[n, size]``.
        """
        self._mean.assign(vectors.mean(0))
        self._sd.assign(vectors.std(0) + 1e-6)

    def call(self, inputs, training=False):
        """Returns minus the logarithm of the density of ``vector`` given ``context``, ``[n]``."""
        standard = (inputs["vector"] - self._mean) / self._sd
        log_density = self.flow.log_prob(standard, inputs["context"])
        return {"loss": ops.sum(ops.log(self._sd)) - log_density}

    def sample(self, normal, context):
        """Returns the latent vectors ``[n, size]`` of standard normal vectors ``[n, size]``."""
        return self.flow.inverse(normal, context) * self._sd + self._mean


def encode_all(vae, batches, total: int) -> dict[str, np.ndarray]:
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

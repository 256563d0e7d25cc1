"""The variational autoencoder of galaxy images."""

import keras
from keras import ops

from btk_generative.training.likelihood import chi_square, convolve, fourier, log_likelihood
from btk_generative.training.maf import MaskedAutoregressiveFlow
from btk_generative.training.networks import ImageNetwork, ProfileNetwork
from btk_generative.training.settings import VaeSettings
from btk_generative.training.tensors import Tensor, Transform
from btk_generative.training.trainable import Trainable

_CONTEXT = 32


class Vae(Trainable):
    """Latent vectors of galaxies, from which a decoder draws unconvolved profiles.

    The encoder sees the image and its PSF. What the decoder draws is convolved with the same
    PSF, and compared with the image by the likelihood of its correlated noise, so the latent space
    holds galaxies as they are above the atmosphere and the telescope.

    References:
        Lanusse et al. 2021, MNRAS 504, 5543, arXiv:2008.03833, section 3.
        Kingma et al. 2016, arXiv:1606.04934, for the autoregressive posterior.
    """

    def __init__(
        self,
        size: int,
        settings: VaeSettings,
        log_flux: tuple[float, float],
        seed: int,
        precision: str = "float32",
    ):
        """Builds the networks.

        Args:
            size: Pixels S on a side.
            settings: Sizes and weights.
            log_flux: Mean and standard deviation of ln flux in the data.
            seed: Seed of initial weights and of the posterior's samples.
            precision: Keras's name of the convolutions' numbers.
        """
        super().__init__("loss", "chi_square", "kl")
        self._pixels, self._settings = size**2, settings
        latent = settings.latent
        autoregressive = settings.posterior == "autoregressive"
        outputs = 2 * latent + (_CONTEXT if autoregressive else 0)
        self.encoder = ImageNetwork(size, outputs, settings.width, seed, precision)
        self.decoder = ProfileNetwork(size, latent, settings.width, seed + 1, log_flux, precision)
        self._flow = None
        if autoregressive:
            self._flow = MaskedAutoregressiveFlow(latent, _CONTEXT, 2, 64, seed + 2)
        self._noise = keras.random.SeedGenerator(seed + 3)
        self._step = self.add_weight(shape=(), initializer="zeros", trainable=False, name="step")

    def call(self, inputs: dict, training: bool = False) -> dict:
        """Returns loss, reduced chi-square and KL divergence of each galaxy, ``[n]`` each.

        The loss is minus the lower bound on the log likelihood, per pixel. Outside of training
        the KL divergence counts in full, so that the losses of all epochs compare.

        Args:
            inputs: ``image``, ``psf``, ``transfer_real``, ``transfer_imaginary`` and ``power``.
            training: Whether this is a training step.
        """
        latent, kl = self.encode(inputs)
        profile, flux = self.decoder(latent)
        residual = self.residual(inputs, profile, flux)
        weight = self._settings.kl_weight
        if training:
            self._step.assign_add(1)
            weight = weight * ops.minimum(self._step / max(self._settings.warmup, 1), 1)
        loss = weight * kl - log_likelihood(residual, inputs["power"])
        chi = chi_square(residual, inputs["power"]) / self._pixels
        return {"loss": loss / self._pixels, "chi_square": chi, "kl": kl}

    def encode(self, inputs: dict) -> tuple[Tensor, Tensor]:
        """Returns a sample of the posterior, ``[n, latent]``, and the KL divergence, ``[n]``.

        Args:
            inputs: ``image``, ``psf`` and ``power``.
        """
        outputs = self.encoder(inputs["image"], inputs["psf"], inputs["power"])
        shape = ops.shape(outputs)[0], self._settings.latent
        return self.posterior(outputs, keras.random.normal(shape, seed=self._noise))

    def posterior(self, outputs: Tensor, normal: Tensor) -> tuple[Tensor, Tensor]:
        """Returns a sample of the posterior, ``[n, latent]``, and the KL divergence, ``[n]``.

        Args:
            outputs: Of the encoder.
            normal: Standard normal vectors, ``[n, latent]``.
        """
        latent = self._settings.latent
        mean, spread = outputs[:, :latent], outputs[:, latent : 2 * latent]
        sd = ops.softplus(spread - 2.0) + 1e-4
        if self._flow is None:
            kl = 0.5 * ops.sum(mean**2 + sd**2 - 1 - 2 * ops.log(sd), axis=1)
            return mean + sd * normal, kl
        moved, log_slope = self._flow.forward(normal, outputs[:, 2 * latent :])
        vector = mean + sd * moved
        log_posterior = -log_slope - ops.sum(ops.log(sd) + 0.5 * normal**2, axis=1)
        return vector, log_posterior + 0.5 * ops.sum(vector**2, axis=1)

    @staticmethod
    def residual(inputs: dict, profile: Tensor, flux: Tensor) -> Transform:
        """Returns the Fourier transform of image minus model, real and imaginary part."""
        transfer = inputs["transfer_real"], inputs["transfer_imaginary"]
        model = convolve(profile * flux[:, None, None], transfer)
        return tuple(a - b for a, b in zip(fourier(inputs["image"]), model, strict=True))

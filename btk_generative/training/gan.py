"""A conditional generative adversarial network of galaxy images."""

import keras
from keras import ops

from btk_generative.training.likelihood import convolve, image
from btk_generative.training.networks import ImageNetwork, ProfileNetwork
from btk_generative.training.settings import NetworkSettings
from btk_generative.training.tensors import Tensor
from btk_generative.training.trainable import Trainable

_DRIFT = 1e-3
_GENERATOR_WEIGHT = 0.5


class Gan(Trainable):
    """A generator of unconvolved profiles against a critic that sees noisy images.

    What the generator draws from random numbers and conditions is convolved with a galaxy's PSF
    and gets noise of its power spectrum before the critic compares it with that galaxy's image, so
    the generator learns profiles without PSF and noise. The critic is Lipschitz by spectral
    normalisation, and estimates the Wasserstein distance.

    Both play in one step: what reaches the generator is the critic's gradient, turned round.

    References:
        Ravanbakhsh et al. 2017, arXiv:1609.05796 (conditional GAN of COSMOS galaxies).
        Arjovsky et al. 2017, arXiv:1701.07875; Miyato et al. 2018, arXiv:1802.05957.
        Bora et al. 2018, AmbientGAN (ICLR).
    """

    def __init__(
        self,
        size: int,
        context_size: int,
        settings: NetworkSettings,
        log_flux: tuple[float, float],
        seed: int,
        precision: str = "float32",
    ):
        """Builds the networks.

        Args:
            size: Pixels S on a side.
            context_size: Length of the encoded conditions.
            settings: Sizes.
            log_flux: Mean and standard deviation of ln flux in the data.
            seed: Seed of initial weights, latent vectors and noise.
            precision: Keras's name of the convolutions' numbers.
        """
        super().__init__("loss", "distance")
        self._latent = settings.latent
        inputs = settings.latent + context_size
        self.generator = ProfileNetwork(size, inputs, settings.width, seed, log_flux, precision)
        self.critic = ImageNetwork(size, 1, settings.width, seed + 1, precision, critic=True)
        self._noise = keras.random.SeedGenerator(seed + 2)

    def call(self, inputs: dict, training: bool = False) -> dict:
        """Returns loss and critic's distance, ``[n]`` each.

        Args:
            inputs: ``image``, ``psf``, ``transfer_real``, ``transfer_imaginary``, ``power`` and
                ``context``.
            training: Whether spectral norms are brought up to date.
        """
        count = ops.shape(inputs["image"])[0]
        normal = keras.random.normal((count, self._latent), seed=self._noise)
        profile, flux = self.draw(normal, inputs["context"])
        drawn = self.observed(inputs, profile * flux[:, None, None])
        rest = inputs["psf"], inputs["power"], inputs["context"]
        real = self.critic(inputs["image"], *rest, training=training)[:, 0]
        fake = self.critic(_turn_gradient(drawn), *rest, training=training)[:, 0]
        return {"loss": fake - real + _DRIFT * real**2, "distance": real - fake}

    def draw(self, normal: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns profiles ``[n, S, S]`` and fluxes ``[n]``.

        Args:
            normal: Standard normal vectors, ``[n, latent]``.
            context: Encoded conditions, ``[n, c]``.
        """
        return self.generator(ops.concatenate([normal, context], axis=1))

    def observed(self, inputs: dict, light: Tensor) -> Tensor:
        """Returns images ``[n, S, S]`` of light, ``[n, S, S]``, with PSF and noise."""
        seen = image(convolve(light, (inputs["transfer_real"], inputs["transfer_imaginary"])))
        white = keras.random.normal(ops.shape(light), seed=self._noise)
        amplitude = ops.sqrt(inputs["power"])
        return seen + image(convolve(white, (amplitude, ops.zeros_like(amplitude))))


def _turn_gradient(images):
    """Returns the images; their gradient comes back with the opposite sign."""
    return (1 + _GENERATOR_WEIGHT) * ops.stop_gradient(images) - _GENERATOR_WEIGHT * images

"""Networks as the settings of a training ask for them, with their weights in place."""

import keras

from btk_generative.training.gan import Gan
from btk_generative.training.latent import LatentFlow
from btk_generative.training.run import Scales
from btk_generative.training.settings import GanTraining, VaeTraining
from btk_generative.training.vae import Vae


def build_vae(settings: VaeTraining, scales: Scales) -> Vae:
    """Returns an autoencoder with its initial weights."""
    size = settings.data.stamp_size
    precision = settings.fit_vae.precision
    vae = Vae(size, settings.vae, scales.log_flux, settings.seed, precision)
    vae(_stamps(size, scales.inputs.size))
    return vae


def build_latent_flow(settings: VaeTraining, scales: Scales) -> LatentFlow:
    """Returns a flow on the latent space with its initial weights."""
    latent, context = settings.vae.latent, scales.inputs.size
    flow = LatentFlow(latent, context, settings.flow, settings.seed + 10)
    flow({"vector": keras.KerasTensor((2, latent)), "context": keras.KerasTensor((2, context))})
    return flow


def build_gan(settings: GanTraining, scales: Scales) -> Gan:
    """Returns generator and critic with their initial weights."""
    size, context = settings.data.stamp_size, scales.inputs.size
    precision = settings.fit_gan.precision
    gan = Gan(size, context, settings.gan, scales.log_flux, settings.seed, precision)
    gan(_stamps(size, context), training=True)
    return gan


def _stamps(size: int, context: int) -> dict[str, keras.KerasTensor]:
    """Returns shapes of two stamps, from which Keras makes the weights without computing."""
    half = keras.KerasTensor((2, size, size // 2 + 1))
    image = keras.KerasTensor((2, size, size))
    return {
        "image": image,
        "psf": image,
        "transfer_real": half,
        "transfer_imaginary": half,
        "power": half,
        "context": keras.KerasTensor((2, context)),
    }

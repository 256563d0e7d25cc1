"""Convolutional networks: from images to numbers, and from numbers to light profiles."""

import keras
import numpy as np
from keras import ops

from btk_generative.training.tensors import Tensor

_HIDDEN = 256
_BORDER = 16  # the taper takes S / 16 pixels on each side


class ImageNetwork(keras.Model):
    """Numbers from a noisy image and its PSF: the encoder of a VAE, the critic of a GAN."""

    def __init__(
        self,
        size: int,
        outputs: int,
        width: int,
        seed: int,
        precision: str = "float32",
        critic: bool = False,
    ):
        """Builds the layers.

        Args:
            size: Pixels S on a side.
            outputs: How many numbers.
            width: Channels at a quarter of the resolution.
            seed: Seed of the initial weights.
            precision: Keras's name of the convolutions' numbers.
            critic: Whether every layer's spectral norm is 1 (Miyato et al. 2018,
                arXiv:1802.05957).
        """
        super().__init__()
        seeds = _seeds(seed)
        wrap = keras.layers.SpectralNormalization if critic else lambda layer: layer

        def convolution(channels, kernel, stride):
            return wrap(
                keras.layers.Conv2D(
                    channels,
                    kernel,
                    stride,
                    "same",
                    dtype=precision,
                    kernel_initializer=next(seeds),
                )
            )

        self._down = [
            convolution(width, 4, 4),
            convolution(width, 3, 1),
            convolution(2 * width, 3, 2),
            convolution(2 * width, 3, 1),
            convolution(4 * width, 3, 2),
        ]
        self._hidden = wrap(
            keras.layers.Dense(_HIDDEN, dtype=precision, kernel_initializer=next(seeds))
        )
        self._outputs = wrap(
            keras.layers.Dense(outputs, dtype="float32", kernel_initializer=next(seeds))
        )
        self._flat = size**2 // 16**2 * 4 * width

    def call(
        self,
        image: Tensor,
        psf: Tensor,
        power: Tensor,
        context: Tensor | None = None,
        training: bool = False,
    ) -> Tensor:
        """Returns ``[n, outputs]``.

        Args:
            image: Counts per pixel, ``[n, S, S]``.
            psf: PSF, centred in the stamp, ``[n, S, S]``.
            power: Of the noise, ``[n, S, S // 2 + 1]``.
            context: Further numbers, ``[n, c]``.
            training: Whether spectral norms are brought up to date.
        """
        noise = ops.sqrt(ops.mean(power, axis=(1, 2), keepdims=True))
        channels = [ops.arcsinh(image / noise), psf / ops.max(psf, axis=(1, 2), keepdims=True)]
        hidden = ops.stack(channels, axis=-1)
        for layer in self._down:
            normed = isinstance(layer, keras.layers.SpectralNormalization)
            step = layer(hidden, training=training) if normed else layer(hidden)
            same = step.shape[1:] == hidden.shape[1:]
            hidden = ops.silu(step) + hidden if same else ops.silu(step)
        hidden = ops.reshape(hidden, (-1, self._flat))
        if context is not None:
            hidden = ops.concatenate([hidden, ops.cast(context, hidden.dtype)], axis=1)
        return self._outputs(ops.silu(self._hidden(hidden)))


class ProfileNetwork(keras.Model):
    """A light profile and its flux from a vector: a decoder or a generator.

    The logarithm of the surface brightness is that of an ellipse with a Sersic-like fall-off,
    whose six parameters are read off the vector, plus an image made by convolutions. The profile
    is positive, tapers to 0 at the border, sums to 1 and is not convolved by any PSF.
    """

    def __init__(
        self,
        size: int,
        inputs: int,
        width: int,
        seed: int,
        log_flux: tuple[float, float],
        precision: str = "float32",
    ):
        """Builds the layers.

        Args:
            size: Pixels S on a side.
            inputs: Length of the vector.
            width: Channels at a quarter of the resolution.
            seed: Seed of the initial weights.
            log_flux: Mean and standard deviation of ln flux in the data.
            precision: Keras's name of the convolutions' numbers.
        """
        super().__init__()
        self._size, self._log_flux = size, log_flux
        seeds = _seeds(seed)
        low = size // 8

        def dense(outputs, dtype=precision, initializer=None):
            initializer = initializer or next(seeds)
            return keras.layers.Dense(outputs, dtype=dtype, kernel_initializer=initializer)

        def convolution(channels):
            return keras.layers.Conv2D(
                channels, 3, padding="same", dtype=precision, kernel_initializer=next(seeds)
            )

        self._ellipse_hidden = dense(_HIDDEN // 2, "float32")
        self._ellipse = dense(7, "float32", keras.initializers.RandomNormal(0.0, 0.02, seed=seed))
        self._hidden = dense(_HIDDEN)
        self._start = dense(low * low * 2 * width)
        self._shape = (-1, low, low, 2 * width)
        self._low = convolution(2 * width)
        self._up = convolution(4 * width)
        self._middle = [convolution(width), convolution(width)]
        self._fine = convolution(16 * 4)
        self._last = keras.layers.Conv2D(
            1, 3, padding="same", dtype="float32", kernel_initializer="zeros"
        )
        # A triangle of two boxes of 4 pixels takes off exactly the pattern of 4 x 4 pixels that
        # depth_to_space can leave, and that the PSF would hide from the likelihood.
        lag = np.abs(np.subtract.outer(np.arange(size), np.arange(size)))
        self._smooth = (np.clip(4 - lag, 0, None) / 16).astype(np.float32)
        centre = (np.arange(size, dtype=np.float32) - (size - 1) / 2) / (size / 2)
        self._y, self._x = centre[None, :, None], centre[None, None, :]
        edge = np.minimum(np.arange(size), np.arange(size)[::-1]) / (size / _BORDER)
        window = np.sin(0.5 * np.pi * np.clip(edge, 0, 1)) ** 2
        self._window = np.outer(window, window).astype(np.float32)

    def call(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Returns profiles ``[n, S, S]`` and fluxes ``[n]``.

        Args:
            vector: Shape ``[n, inputs]``.
        """
        parameters = self._ellipse(ops.silu(self._ellipse_hidden(vector)))
        flux = ops.exp(self._log_flux[0] + self._log_flux[1] * ops.clip(parameters[:, 6], -8, 8))
        hidden = self._start(ops.silu(self._hidden(vector)))
        hidden = ops.silu(ops.reshape(hidden, self._shape))
        hidden = hidden + ops.silu(self._low(hidden))
        hidden = ops.silu(depth_to_space(self._up(hidden), 2))
        for layer in self._middle:
            hidden = hidden + ops.silu(layer(hidden))
        hidden = ops.silu(depth_to_space(self._fine(hidden), 4))
        detail = ops.matmul(self._smooth, ops.matmul(self._last(hidden)[..., 0], self._smooth))
        logarithm = self._fall_off(parameters) + 3.0 * ops.tanh(detail / 3.0)
        flat = ops.reshape(logarithm, (-1, self._size**2))
        peak = ops.reshape(ops.max(flat, axis=1), (-1, 1, 1))
        light = ops.multiply(ops.exp(logarithm - peak), self._window)
        return light / ops.sum(light, axis=(1, 2), keepdims=True), flux

    def _fall_off(self, parameters):
        """Returns the logarithm of an elliptical profile, ``[n, S, S]``."""
        x0, y0, size, e1, e2, steep = (parameters[:, i, None, None] for i in range(6))
        x = ops.subtract(self._x, 0.2 * ops.tanh(x0))
        y = ops.subtract(self._y, 0.2 * ops.tanh(y0))
        norm = ops.sqrt(1 + e1**2 + e2**2)  # so that the ellipse keeps its area
        square = norm * (x**2 + y**2) - e1 * (x**2 - y**2) - 2 * e2 * x * y
        scale = 0.15 * ops.exp(1.5 * ops.tanh(size))
        soft = (0.5 / self._size) ** 2  # no cusp within a quarter of a pixel
        power = ops.exp(0.7 * ops.tanh(steep) - 0.7)
        return -(((square + soft) / scale**2) ** (0.5 * 2 * power))


def depth_to_space(images: Tensor, factor: int) -> Tensor:
    """Returns images ``[n, f h, f w, c]`` of ``[n, h, w, f f c]``."""
    _, height, width, channels = images.shape
    channels //= factor**2
    split = ops.reshape(images, (-1, height, width, factor, factor, channels))
    return ops.reshape(
        ops.transpose(split, (0, 1, 3, 2, 4, 5)), (-1, height * factor, width * factor, channels)
    )


def _seeds(seed):
    """Yields initialisers, each with a seed of its own."""
    rng = np.random.default_rng(seed)
    while True:
        yield keras.initializers.HeNormal(seed=int(rng.integers(2**31)))

"""The likelihood of an image whose noise is independent in Fourier space.

Images are real, ``[n, S, S]``; their Fourier transforms are pairs (real, imaginary) of arrays
``[n, S, S // 2 + 1]`` in the layout of `numpy.fft.rfft2`, as no number is complex in every
backend of Keras. Everything here is differentiable and in float32.
"""

import numpy as np
from keras import ops

from btk_generative.training.tensors import Tensor, Transform

_LOG_2PI = float(np.log(2 * np.pi))


def fourier(images: Tensor) -> Transform:
    """Returns the Fourier transform of images ``[n, S, S]``."""
    images = ops.cast(images, "float32")
    real, imaginary = ops.fft2((images, ops.zeros_like(images)))
    half = images.shape[-1] // 2 + 1
    return real[..., :half], imaginary[..., :half]


def convolve(images: Tensor, transfer: Transform) -> Transform:
    """Returns the Fourier transform of images seen through a PSF.

    Args:
        images: Unconvolved profiles, ``[n, S, S]``.
        transfer: Real and imaginary part of `btk_generative.training.observation.psf_transfer`.
    """
    (a, b), (c, d) = fourier(images), transfer
    return a * c - b * d, a * d + b * c


def image(transform: Transform) -> Tensor:
    """Returns the image ``[n, S, S]`` of a Fourier transform."""
    real, imaginary = transform
    size = real.shape[-2]
    inner = slice(1, size - size // 2)

    def full(part, sign):
        # F(ky, -kx) is the conjugate of F(-ky, kx)
        rest = ops.flip(part[..., inner], axis=(-2, -1))
        return ops.concatenate([part, sign * ops.roll(rest, 1, axis=-2)], axis=-1)

    return ops.ifft2((full(real, 1.0), full(imaginary, -1.0)))[0]


def whiten(transform: Transform, power: Tensor) -> Transform:
    """Returns real and imaginary part, divided by the standard deviation of noise.

    The squares of both sum to 1 on average, at every frequency.

    Args:
        transform: Fourier transform of noise.
        power: Of the noise, ``[n, S, S // 2 + 1]``.
    """
    size = power.shape[-2]
    scale = ops.rsqrt(power) / size
    return transform[0] * scale, transform[1] * scale


def chi_square(residual: Transform, power: Tensor) -> Tensor:
    """Returns the sum of squared whitened residuals, shape ``[n]``; of pure noise, S^2 on average.

    Args:
        residual: Fourier transform of data minus model.
        power: Of the noise, ``[n, S, S // 2 + 1]``.
    """
    real, imaginary = whiten(residual, power)
    return ops.sum((real**2 + imaginary**2) * _multiplicity(power.shape[-2]), axis=(-2, -1))


def log_likelihood(residual: Transform, power: Tensor) -> Tensor:
    """Returns the logarithm of the density of the residual image, shape ``[n]``.

    It is the normal density with the (circulant) covariance matrix that `power` diagonalises.

    Args:
        residual: Fourier transform of data minus model.
        power: Of the noise, ``[n, S, S // 2 + 1]``.
    """
    size = power.shape[-2]
    log_determinant = ops.sum(ops.log(power) * _multiplicity(size), axis=(-2, -1))
    return -0.5 * (chi_square(residual, power) + log_determinant + size**2 * _LOG_2PI)


def _multiplicity(size: int) -> np.ndarray:
    """Returns how many frequencies of the full plane a column of the half plane stands for."""
    columns = np.full(size // 2 + 1, 2.0, dtype=np.float32)
    columns[[0, -1]] = 1.0
    return ops.convert_to_tensor(columns)

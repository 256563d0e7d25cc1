"""A PSF parted into its core and its wings, which are drawn apart.

The core is compact: a galaxy is convolved with it on a box not much larger than the galaxy. The
wings fill the stamp, but they are smooth: they are drawn on every fourth pixel of every fourth row
only, and interpolated.
"""

import math

import numpy as np
import scipy.fft
import scipy.special

STEP = 4
"""Pixels between two samples of the wings along an axis."""

REACH = 28
"""Pixels from the centre at which the core ends."""

_INNER = 6  # pixels from the centre at which the wings begin
_STEEPNESS = 2.4  # of the step between, in standard deviations on either side of its middle
_TAPS = 6
_SPECTRUM = 0.1  # width of that of the wings, cycles per sample
_TOLERANCE = 2e-6  # share of the peak by which the interpolated wings may be off


def weights() -> np.ndarray:
    """Returns the weights of the samples around a pixel's, float32, shape ``[STEP, taps]``.

    Tap t is sample ``y // STEP + t - taps / 2 + 1``. The weights are those of the least squares for
    a Gaussian spectrum, made to sum to 1.
    """
    frequency = np.linspace(0, 0.5, 200)[:, None]  # cycles per sample
    power = np.exp(-0.5 * (frequency / _SPECTRUM) ** 2)
    nodes = np.arange(_TAPS) - _TAPS // 2 + 1.0
    table = np.empty((STEP, _TAPS), np.float32)
    for phase in range(STEP):
        waves = np.exp(2j * np.pi * frequency * (nodes - phase / STEP)) * power
        waves = np.concatenate([waves.real, waves.imag])
        best = np.linalg.lstsq(waves, np.r_[power[:, 0], 0 * power[:, 0]])[0]
        table[phase] = best / best.sum()
    return table


def part(transfer: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Parts a transfer function, in real space.

    Args:
        transfer: Of a periodic box, ``[2 K + 1, K + 1]``, as from `BandTransfer.on_box`.
        size: Number of pixels on a side of the box, at least ``2 * REACH``.

    Returns:
        Core and wings on a grid of pixels divided so finely that no frequency is lost, with the
        centre at sample 0; their sums are their fluxes.
    """
    half = transfer.shape[1] - 1
    grid = math.ceil((2 * half + 2) / size) * size
    full = np.zeros((grid, grid // 2 + 1), complex)
    full[np.arange(-half, half + 1), : half + 1] = transfer
    light = scipy.fft.irfft2(full, s=(grid, grid))
    offset = np.minimum(np.arange(grid), grid - np.arange(grid)) * size / grid
    distance = np.hypot(offset[:, None], offset)
    middle, width = (_INNER + REACH) / 2, (REACH - _INNER) / 2
    share = scipy.special.erfc((distance - middle) / width * _STEEPNESS) / 2
    return light * share, light * (1 - share)


def core_transfer(core: np.ndarray, finer: int, size: int, max_frequency: float) -> np.ndarray:
    """Returns the transfer function of a core on another box, ``[2 K + 1, K + 1]``.

    Args:
        core: From `part`.
        finer: Its samples per pixel.
        size: Number of pixels on a side of the box, even, at least ``2 * REACH``.
        max_frequency: Highest frequency that matters, cycles per pixel.
    """
    k = math.ceil(max_frequency * size)
    half = min(size * finer, len(core)) // 2
    near = np.ix_(np.arange(-half, half), np.arange(-half, half))
    light = np.zeros((size * finer, size * finer))
    light[near] = core[near]
    full = scipy.fft.rfft2(light)
    rows, columns = np.arange(-k, k + 1), np.arange(k + 1)
    transfer = full[rows][:, : k + 1].copy()
    transfer[np.hypot(rows[:, None], columns) > max_frequency * size] = 0
    return transfer


def wings_transfer(wings: np.ndarray, size: int) -> np.ndarray:
    """Returns the transfer function of wings, up to the Nyquist frequency of their samples.

    Args:
        wings: From `part`.
        size: Number of pixels on a side of their box, a multiple of ``2 * STEP``.
    """
    k = size // STEP // 2 - 1
    return scipy.fft.rfft2(wings)[np.arange(-k, k + 1)][:, : k + 1].copy()


def are_smooth(core: np.ndarray, wings: np.ndarray, size: int) -> bool:
    """Returns whether the wings of `part` can be had from every fourth pixel and row."""
    transfer = wings_transfer(wings, size)
    k, samples = transfer.shape[1] - 1, size // STEP
    full = np.zeros((samples, samples // 2 + 1), complex)
    full[np.arange(-k, k + 1), : k + 1] = transfer
    drawn = scipy.fft.irfft2(full, s=(samples, samples)) / STEP**2
    pixel = np.arange(size)
    taps = (pixel[:, None] // STEP + np.arange(_TAPS) - _TAPS // 2 + 1) % samples
    of_pixel = weights()[pixel % STEP]
    drawn = np.einsum("yt,ytx->yx", of_pixel, drawn[taps])
    drawn = np.einsum("xt,yxt->yx", of_pixel, drawn[:, taps])
    finer = len(wings) // size
    exact = wings[::finer, ::finer] * finer**2
    return bool(np.abs(drawn - exact).max() < _TOLERANCE * (core + wings).max() * finer**2)

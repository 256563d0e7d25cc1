"""The transfer function of a band: its PSF and its pixel, on the frequencies of a periodic box.

A product of discrete Fourier transforms is a convolution on a periodic box, in which light that
leaves on one side comes back on the other. The wings of a PSF are long (0.15 % of the light of an
LSST PSF falls beyond 12 arcsec), so the copies have to go: the transfer function used here is that
of the PSF cut to the box, so that a convolution is exact wherever source and pixel are less than
half a box apart.
"""

import galsim
import numpy as np
import scipy.fft

from btk_generative.errors import ConfigError

TAIL = 1e-6
"""Share of the integral of the transfer function that lies beyond ``max_frequency``."""

_ACCURATE = {"kvalue_accuracy": 1e-7, "maxk_threshold": 1e-6}
_SHARPEST = 8.0  # highest frequency that is rendered, in units of the survey's Nyquist frequency
_WING_BOX = 8  # size of the box of the wings, in stamps
_WING_SIGMA = 1.6  # pixels; what is left of the wings at the Nyquist frequency is 3e-6


def even_fast_size(least: float) -> int:
    """Returns the least even size of a fast Fourier transform that is not below ``least``."""
    return 2 * scipy.fft.next_fast_len(int(np.ceil(least / 2)))


class BandTransfer:
    """PSF times pixel response of one band, in Fourier space.

    Args:
        psf: The PSF, centred, of any kind that GalSim can evaluate in Fourier space.
        pixel_scale: Pixel size, arcsec.
        stamp_size: Number of pixels on a side of a stamp.
    """

    def __init__(self, psf: galsim.GSObject, pixel_scale: float, stamp_size: int):
        self._psf = psf.withGSParams(**_ACCURATE)
        self._pixel_scale = pixel_scale
        self.max_frequency = self._find_max_frequency()
        """Highest frequency that matters, cycles per pixel, along any direction."""
        self._wings = self._draw_wings(even_fast_size(_WING_BOX * max(stamp_size, 64)))

    def on_box(self, size: int) -> np.ndarray:
        """Returns the transfer function of a periodic box.

        Args:
            size: Number of pixels on a side of the box, even.

        Returns:
            Complex array of shape ``[2 K + 1, K + 1]``: frequency -K to K cycles per box along y,
            0 to K along x, where K is ``max_frequency`` times ``size``, rounded up. It is zero
            outside the circle of radius ``max_frequency``.
        """
        k = int(np.ceil(self.max_frequency * size))
        transfer = self._evaluate(k, k, 1 / size)
        copies = scipy.fft.rfft2(self._copies(size))
        low = min(k, size // 2 - 1)
        rows = np.arange(-low, low + 1)
        transfer[rows + k, : low + 1] -= copies[rows % size, : low + 1]
        fy, fx = np.arange(-k, k + 1)[:, None] / size, np.arange(k + 1) / size
        transfer[np.hypot(fx, fy) > self.max_frequency] = 0
        return transfer

    def _evaluate(self, ky: int, kx: int, step: float) -> np.ndarray:
        """Returns PSF times pixel at frequencies -ky..ky, 0..kx of ``step`` cycles per pixel."""
        image = galsim.ImageCD(galsim.BoundsI(0, kx, -ky, ky))
        scale = 2 * np.pi * step / self._pixel_scale
        self._psf.drawKImage(image=image, scale=scale, recenter=False)
        pixel_y = np.sinc(np.arange(-ky, ky + 1) * step)[:, None]
        return image.array * pixel_y * np.sinc(np.arange(kx + 1) * step)

    def _find_max_frequency(self) -> float:
        highest = self._psf.maxk * self._pixel_scale / (2 * np.pi)
        samples = 160
        step = min(highest, _SHARPEST / 2) / samples
        size = np.abs(self._evaluate(samples, samples, step))
        radius = step * np.hypot(*np.meshgrid(*[np.arange(-n, samples + 1) for n in (0, samples)]))
        order = np.argsort(radius, axis=None)
        inside = np.cumsum(size.ravel()[order])
        edge = np.searchsorted(inside, (1 - TAIL) * inside[-1])
        if highest > _SHARPEST / 2 and size[radius > 0.9 * _SHARPEST / 2].max() > 100 * TAIL:
            raise ConfigError(
                f"the PSF {self._psf!r} is too narrow for pixels of {self._pixel_scale} arcsec: "
                f"at {_SHARPEST:g} times their Nyquist frequency it still matters; give a PSF with "
                "a width of at least a third of a pixel"
            )
        return float(radius.ravel()[order][edge]) + step

    def _draw_wings(self, size: int) -> np.ndarray:
        """Returns the PSF smoothed by a Gaussian on a large box, its centre at the middle."""
        half = size // 2
        transfer = self._evaluate(half, half, 1 / size)[:-1]
        ky, kx = np.arange(-half, half)[:, None], np.arange(half + 1)
        transfer *= np.exp(-2 * (np.pi * _WING_SIGMA / size) ** 2 * (kx**2 + ky**2))
        wings = scipy.fft.irfft2(np.fft.ifftshift(transfer, axes=0), s=(size, size))
        return np.fft.fftshift(wings)

    def _copies(self, size: int) -> np.ndarray:
        """Returns what the neighbouring copies of a box put into it, pixel 0 at the centre."""
        large = len(self._wings)
        repeats = 2 * max(int(np.ceil((large / size - 1) / 2)), 0) + 1
        padded = np.zeros((repeats * size,) * 2)
        start = repeats * size // 2 - large // 2
        padded[start : start + large, start : start + large] = self._wings
        blocks = padded.reshape(repeats, size, repeats, size)
        centre = repeats // 2
        return np.fft.ifftshift(blocks.sum((0, 2)) - blocks[centre, :, centre])

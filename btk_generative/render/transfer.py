"""The transfer function of a band: its PSF and its pixel, on the frequencies of a periodic box.

A product of discrete Fourier transforms is a convolution on a periodic box, in which light that
leaves on one side comes back on the other. The wings of a PSF are long (0.15 % of the light of an
LSST PSF falls beyond 12 arcsec), so the copies have to go: the transfer function used here is that
of the PSF cut to the box, so that a convolution is exact wherever source and pixel are less than
half a box apart.
"""

import copy
import inspect
import math

import galsim
import numpy as np
import scipy.fft
import scipy.interpolate
from galsim.utilities import lazy_property

from btk_generative.errors import ConfigError

TAIL = 1e-6
"""Share of the integral of the transfer function that lies beyond ``max_frequency``."""

_MAXK_THRESHOLD = 1e-6
_KVALUE_ACCURACIES = (1e-7, 1e-5, 1e-3)  # the first that GalSim can evaluate is taken
_FLUX_TOLERANCE = 0.02  # share by which the transform at k = 0 may differ from the flux
_INACCURATE = (galsim.Delta, galsim.Nearest, galsim.SincInterpolant, galsim.Linear)
"""Interpolants of a transform with which GalSim fails or is off by 0.1 % of the flux."""
_SHARPEST = 8.0  # highest frequency that is rendered, in units of the survey's Nyquist frequency
_WING_BOX = 8  # size of the box on which the wings are drawn, in stamps
_WING_SIGMA = 2.06  # samples; what is left of the smoothed wings at their Nyquist frequency is 1e-6
_FAR_SAMPLING = 8  # distance of the samples of the far wings, in samples of the near ones
_FAR_SIZE = 512  # samples on a side of the box of the far wings


def fast_size(least: float, multiple: int = 2) -> int:
    """Returns the least size of a fast Fourier transform not below ``least``, of a multiple."""
    return multiple * scipy.fft.next_fast_len(math.ceil(least / multiple))


class BandTransfer:
    """PSF times pixel response of one band, in Fourier space.

    Args:
        psf: The PSF, centred, of any kind that GalSim can evaluate in Fourier space.
        pixel_scale: Pixel size, arcsec.
        stamp_size: Number of pixels on a side of a stamp.

    Raises:
        ConfigError: If GalSim cannot tell the PSF's transform, the PSF has no flux, or it is too
            narrow.
    """

    def __init__(self, psf: galsim.GSObject, pixel_scale: float, stamp_size: int):
        self._flux = psf.flux
        self._pixel_scale = pixel_scale
        self.sampling = max(1, stamp_size // 60)
        """Pixels between the samples of the wings; the size of a box is twice a multiple of it."""
        self._prepare(psf)
        self.max_frequency = self._find_max_frequency()
        """Highest frequency that matters, cycles per pixel, along any direction."""
        wing_box = _WING_BOX * max(stamp_size, 64) / self.sampling
        self._draw_wings(fast_size(wing_box, 2 * _FAR_SAMPLING))

    def on_box(self, size: int) -> np.ndarray:
        """Returns the transfer function of a periodic box.

        Args:
            size: Number of pixels on a side of the box, a multiple of ``2 * sampling``.

        Returns:
            Complex array of shape ``[2 K + 1, K + 1]``: frequency -K to K cycles per box along y,
            0 to K along x, where K is ``max_frequency`` times ``size``, rounded up. It is zero
            outside the circle of radius ``max_frequency``.
        """
        k = int(np.ceil(self.max_frequency * size))
        transfer = self._evaluate(k, k, 1 / size)
        copies = _copies(self._wings, size // self.sampling, self._total)
        copies = scipy.fft.rfft2(copies)
        low = min(k, len(copies) // 2 - 1)
        rows = np.arange(-low, low + 1)
        transfer[rows + k, : low + 1] -= copies[rows % len(copies), : low + 1]
        fy, fx = np.arange(-k, k + 1)[:, None] / size, np.arange(k + 1) / size
        transfer[np.hypot(fx, fy) > self.max_frequency] = 0
        return self._flux * transfer

    def _prepare(self, psf: galsim.GSObject) -> None:
        """Finds accuracy settings with which GalSim evaluates the PSF of unit flux.

        The transform of some interpolants, "nearest" above all, decays so slowly that GalSim's
        counters overflow where it is asked for a fine grid, and leave zeros: the smaller
        ``kvalue_accuracy``, the further out it goes.
        """
        if not (np.isfinite(self._flux) and self._flux != 0):
            raise ConfigError(f"the PSF {psf} has the flux {self._flux}; give one that has light")
        if any(isinstance(kind, _INACCURATE) for kind in _k_interpolants(psf)):
            raise ConfigError(
                f"the PSF {psf} has a k_interpolant with which GalSim cannot tell its transform;"
                " leave k_interpolant out, or give 'quintic' or 'cubic'"
            )
        finest = 1 / (_FAR_SIZE * _FAR_SAMPLING * self.sampling)
        for accuracy in _KVALUE_ACCURACIES:
            params = {"kvalue_accuracy": accuracy, "maxk_threshold": _MAXK_THRESHOLD}
            self._psf = _afresh(psf).withGSParams(**params).withFlux(1.0)
            self._total = self._psf.kValue(0, 0).real
            drawn = self._evaluate(1, 1, finest)[1, 0].real
            if abs(drawn - self._total) < TAIL and abs(self._total - 1) < _FLUX_TOLERANCE:
                return
        raise ConfigError(
            f"the PSF {psf} has the flux {self._flux}, but its transform at k = 0 is"
            f" {drawn * self._flux}: images would have a wrong flux; give another interpolant, or"
            " a PSF that GalSim computes"
        )

    def _evaluate(self, ky: int, kx: int, step: float) -> np.ndarray:
        """Returns PSF times pixel at frequencies -ky..ky, 0..kx of ``step`` cycles per pixel."""
        image = galsim.ImageCD(galsim.BoundsI(0, kx, -ky, ky))
        scale = 2 * np.pi * step / self._pixel_scale
        self._psf.drawKImage(image=image, scale=scale, recenter=False)
        pixel_y = np.sinc(np.arange(-ky, ky + 1) * step)[:, None]
        return image.array * pixel_y * np.sinc(np.arange(kx + 1) * step)

    def _find_max_frequency(self) -> float:
        highest = self._psf.maxk * self._pixel_scale / (2 * np.pi)
        if highest < 0.5 and self._is_sharp(highest):
            highest = _SHARPEST / 2
        samples = 160
        step = min(highest, _SHARPEST / 2) / samples
        size = np.abs(self._evaluate(samples, samples, step))
        radius = step * np.hypot(*np.meshgrid(*[np.arange(-n, samples + 1) for n in (0, samples)]))
        order = np.argsort(radius, axis=None)
        inside = np.cumsum(size.ravel()[order])
        edge = np.searchsorted(inside, (1 - TAIL) * inside[-1])
        if highest > _SHARPEST / 2 and size[radius > 0.9 * _SHARPEST / 2].max() > 100 * TAIL:
            raise ConfigError(
                f"the PSF {self._psf} is too narrow for pixels of {self._pixel_scale} arcsec: "
                f"at {_SHARPEST:g} times their Nyquist frequency it still matters; give a PSF with "
                "a width of at least a third of a pixel"
            )
        return float(radius.ravel()[order][edge]) + step

    def _is_sharp(self, frequency: float) -> bool:
        """Returns whether the PSF has power beyond a frequency, which ``maxk`` is to tell.

        For an image GalSim's estimate knows nothing of the power that the interpolant has beyond
        the image's own Nyquist frequency. That matters where its pixels are larger than the
        survey's.
        """
        samples = 160
        step = _SHARPEST / 2 / samples
        size = np.abs(self._evaluate(samples, samples, step))
        radius = step * np.hypot(np.arange(-samples, samples + 1)[:, None], np.arange(samples + 1))
        return bool(size[radius > frequency].max() > 100 * TAIL)

    def _draw_wings(self, size: int) -> None:
        """Draws the wings on a box of ``size`` samples, without the copies of its neighbours.

        Those are taken from a coarser drawing of a box that is larger again.
        """
        far = self._smoothed(_FAR_SIZE, _FAR_SAMPLING * self.sampling)
        far = _copies(far, size // _FAR_SAMPLING, self._total)
        far = np.fft.fftshift(far) / _FAR_SAMPLING**2
        at = np.minimum(np.arange(size) / _FAR_SAMPLING, len(far) - 1)
        far = scipy.interpolate.RectBivariateSpline(*[np.arange(len(far))] * 2, far)(at, at)
        self._wings = self._smoothed(size, self.sampling) - far

    def _smoothed(self, size: int, sampling: int) -> np.ndarray:
        """Returns the PSF, smoothed at the scale of a sample, on a periodic box, centred.

        The smoothing is exp(-z) (1 + z + z^2 / 2 + z^3 / 6) in Fourier space, z = k^2 sigma^2 / 2:
        a Gaussian's without its first moments, so that it changes nothing of smooth wings.

        Args:
            size: Samples on a side, even.
            sampling: Pixels between two samples.
        """
        half = size // 2
        transfer = self._evaluate(half, half, 1 / (size * sampling))[:-1]
        ky, kx = np.arange(-half, half)[:, None], np.arange(half + 1)
        z = 2 * (np.pi * _WING_SIGMA / size) ** 2 * (kx**2 + ky**2)
        transfer *= np.exp(-z) * (1 + z * (1 + z / 2 * (1 + z / 3)))
        image = scipy.fft.irfft2(np.fft.ifftshift(transfer, axes=0), s=(size, size))
        return np.fft.fftshift(image)


def _afresh(psf: galsim.GSObject) -> galsim.GSObject:
    """Returns a copy of a profile without what it has computed so far.

    GalSim keeps ``maxk`` and ``stepk`` once they were asked for, even with other settings of the
    accuracy: the transfer function must not depend on what a PSF was used for before.
    """
    fresh = copy.copy(psf)
    for name, value in list(vars(fresh).items()):
        if isinstance(inspect.getattr_static(type(fresh), name, None), lazy_property):
            delattr(fresh, name)
        elif isinstance(value, galsim.GSObject):
            setattr(fresh, name, _afresh(value))
        elif isinstance(value, list) and all(isinstance(v, galsim.GSObject) for v in value):
            setattr(fresh, name, [_afresh(v) for v in value])
    return fresh


def _k_interpolants(psf: galsim.GSObject) -> list:
    """Returns the interpolants of the transforms of images that a profile is made of."""
    if isinstance(psf, galsim.InterpolatedImage):
        return [psf.k_interpolant]
    held = [v if isinstance(v, list) else [v] for v in vars(psf).values()]
    parts = [part for parts in held for part in parts if isinstance(part, galsim.GSObject)]
    return [kind for part in parts for kind in _k_interpolants(part)]


def _copies(light: np.ndarray, size: int, total: float) -> np.ndarray:
    """Returns what the neighbours of a periodic box would put into it.

    Args:
        light: Of a source, on a larger box, centred. What it lacks lies further out, and is spread
            evenly.
        size: Samples on a side of the box, even.
        total: Flux of the source.

    Returns:
        The light of the neighbours, ``[size, size]``, its centre at sample 0.
    """
    repeats = 2 * round((len(light) / size - 1) / 2) + 1
    edge = (repeats * size - len(light)) // 2
    light = np.pad(light, max(edge, 0))
    light = light[max(-edge, 0) :][: repeats * size, max(-edge, 0) :][:, : repeats * size]
    blocks = light.reshape(repeats, size, repeats, size)
    middle = repeats // 2
    near = blocks.sum((0, 2)) - blocks[middle, :, middle]
    return np.fft.ifftshift(near + (total - light.sum()) / size**2)

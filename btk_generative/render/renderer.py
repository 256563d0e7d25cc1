"""The renderer of one survey."""

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import galsim
import numpy as np
import scipy.fft

from btk_generative.errors import ConfigError
from btk_generative.models.profiles import LightProfiles
from btk_generative.render import loops
from btk_generative.render.transfer import BandTransfer, fast_size

_OVERSAMPLING = 2.0
_HIGHEST = 16  # cycles per profile pixel up to which the interpolant's transform is tabulated


@dataclass(frozen=True)
class Box:
    """What is the same for all galaxies that are drawn on boxes of the same size."""

    size: int
    """L, pixels on a side."""
    grid: int
    """Points on a side of the grid on which profiles are spread."""
    transfer: np.ndarray
    """``[bands, 2 K + 1, K + 1]``, divided by the transform of the spreading kernel."""
    extent: np.ndarray
    """Greatest kx of each ky, the bands' and then that of all, ``[bands + 1, 2 K + 1]``."""
    kernel: np.ndarray
    """Transform of the spreading kernel along an axis, ``[2 K + 1]``."""


@dataclass(frozen=True)
class Placed:
    """A profile and its place, in survey pixels."""

    image: np.ndarray
    """The profile, ``[S, S]``."""
    centre: tuple[float, float]
    """Position of its centre from the stamp's first pixel."""
    slope: tuple[float, float, float, float]
    """Derivatives of the position from ``loops.place``."""
    height: float
    """Half the extent of its frame along y."""
    box: Box
    """The periodic box on which it is drawn."""


class SurveyRenderer:
    """Draws light profiles as a survey sees them, all bands of a galaxy at once.

    A profile is rotated, sheared, convolved with the PSF and the pixel and moved to its place, all
    in Fourier space: its pixels are spread over a grid at their places in the sky (a non-uniform
    Fourier transform), the transform is multiplied by that of the interpolant between the profile's
    pixels (GalSim's quintic), of the PSF and of the pixel, folded at the survey's Nyquist frequency
    and transformed back. The result is what GalSim draws of
    ``Convolve(InterpolatedImage.rotate(angle).shear(g1, g2), psf).shift(x, y)``.

    ``draw`` may be called from several threads. The image of a galaxy does not depend, to the bit,
    on which others are drawn with it.

    Example:
        >>> import galsim, numpy as np
        >>> from btk_generative.models import LightProfiles
        >>> dot = np.pad(np.ones((1, 2, 2), np.float32) / 4, ((0, 0), (3, 3), (3, 3)))
        >>> renderer = SurveyRenderer([galsim.Gaussian(fwhm=0.7)], pixel_scale=0.2, stamp_size=41)
        >>> image = renderer.draw(LightProfiles(dot, [0.03]), flux=[[100.0]], x=0, y=0, angle=0)
        >>> image.shape, round(float(image.sum()), 3)
        ((1, 1, 41, 41), 100.0)
    """

    def __init__(self, psfs: Sequence[galsim.GSObject], pixel_scale: float, stamp_size: int):
        """Prepares the transfer functions.

        Args:
            psfs: One PSF per band.
            pixel_scale: Pixel size of the survey, arcsec.
            stamp_size: Number of pixels N on a side of a stamp.

        Raises:
            ConfigError: A PSF is too narrow to be sampled, or an argument is out of range.
        """
        if not psfs or not pixel_scale > 0 or stamp_size != int(stamp_size) or stamp_size < 1:
            raise ConfigError(
                "a renderer needs at least one PSF, a positive pixel scale and a stamp of at least "
                f"one pixel, not {len(psfs)} PSFs, {pixel_scale} arcsec and {stamp_size} pixels"
            )
        self.pixel_scale = float(pixel_scale)
        self.stamp_size = int(stamp_size)
        self._bands = [BandTransfer(psf, self.pixel_scale, self.stamp_size) for psf in psfs]
        self._table, self._kernel = loops.spreading_kernel(_OVERSAMPLING)
        frequency = np.arange(_HIGHEST * loops.INTERPOLANT_STEPS + 2) / loops.INTERPOLANT_STEPS
        self._interpolant = galsim.Quintic().kval(2 * np.pi * frequency).astype(np.float32)
        self._interpolant[-2:] = 0
        self._boxes: dict[int, Box] = {}
        self._lock = threading.Lock()

    def draw(
        self,
        profiles: LightProfiles,
        flux: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        angle: np.ndarray,
        g1: np.ndarray | float = 0.0,
        g2: np.ndarray | float = 0.0,
        point_flux: np.ndarray | None = None,
        out: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draws n galaxies in every band.

        Args:
            profiles: The n light profiles.
            flux: Flux of the profile in each band, ``[n, bands]``.
            x: Position along the columns, arcsec from the centre of the stamp, ``[n]``; the centre
                is at pixel ``(N - 1) / 2``, counted from zero.
            y: Position along the rows, likewise.
            angle: Rotation from +x towards +y, radians, ``[n]``, before the shear.
            g1: Reduced shear, ``[n]`` or a number, GalSim's convention.
            g2: Reduced shear, likewise; positive stretches along the diagonal x = y.
            point_flux: Flux of a point source at the centre of the galaxy, ``[n, bands]``.
            out: Array ``[m, bands, N, N]`` of any float type to write to.
            rows: Index in ``out`` of each galaxy, ``[n]``; 0 to n - 1 where not given.

        Returns:
            Flux per pixel, ``[n, bands, N, N]``, float32; ``out`` where that is given.

        Raises:
            ConfigError: A shape is wrong, a value is not finite, or a shear is not below 1.
        """
        n, bands, size = len(profiles), len(self._bands), self.stamp_size
        flux = _array("flux", flux, (n, bands))
        point = _array("point_flux", 0.0 if point_flux is None else point_flux, (n, bands))
        x, y, angle = (_array(*a, (n,)) for a in (("x", x), ("y", y), ("angle", angle)))
        g1, g2 = _array("g1", g1, (n,)), _array("g2", g2, (n,))
        if (g1**2 + g2**2 >= 1).any():
            row = int(np.argmax(g1**2 + g2**2))
            raise ConfigError(
                f"the shear of galaxy {row} is |g| = {np.hypot(g1[row], g2[row])}, not below 1"
            )
        if out is None:
            out = np.empty((n, bands, size, size), np.float32)
        rows = np.arange(n) if rows is None else np.asarray(rows)
        if out.shape[1:] != (bands, size, size) or rows.shape != (n,):
            raise ConfigError(
                f"out must have shape [m, {bands}, {size}, {size}] and rows [{n}], "
                f"not {list(out.shape)} and {list(rows.shape)}"
            )
        scale = profiles.pixel_scale / self.pixel_scale
        geometry = zip(
            x / self.pixel_scale, y / self.pixel_scale, scale, angle, g1, g2, strict=True
        )
        placed = []
        for image, (x_i, y_i, *lie) in zip(profiles.images, geometry, strict=True):
            slope, *extent = loops.place(image, *lie)
            box = self._box(self._box_size((abs(x_i), abs(y_i)), *extent))
            centre = x_i + (size - 1) / 2, y_i + (size - 1) / 2
            placed.append(Placed(image, centre, slope, extent[1], box))
        self._draw(placed, flux, point, out, rows)
        return out

    def _draw(self, placed: list["Placed"], flux, point, out, rows) -> None:
        """Draws galaxies into ``out[rows]``."""
        for galaxy, f, p, row in zip(placed, flux, point, rows, strict=True):
            spectrum = self._spectrum(*vars(galaxy).values())
            self._draw_bands(spectrum, galaxy.centre, f, p, galaxy.box, out[row])

    def _spectrum(self, image, centre, slope, height, box: Box) -> np.ndarray:
        """Returns the transform of a profile at its place, times that of the spreading kernel.

        Args:
            image: The profile, ``[S, S]``.
            centre: Position of its centre, survey pixels from the stamp's first pixel.
            slope: Derivatives of the position from ``loops.place``.
            height: Half the extent of its frame along y, survey pixels.
            box: The periodic box.
        """
        step = box.grid / box.size
        reach = box.size - self.stamp_size / 2
        limit = (self.stamp_size / 2 - reach) * step, (self.stamp_size / 2 + reach) * step
        centre = centre[0] * step, centre[1] * step
        row0 = math.floor(max(centre[1] - height * step, limit[0])) - loops.WIDTH // 2
        last = math.floor(min(centre[1] + height * step, limit[1])) + loops.WIDTH // 2 + 1
        grid = np.empty((max(last + 1 - row0, 1), box.grid + loops.WIDTH), np.float32)
        steps = tuple(value * step for value in slope)
        loops.spread(image, centre, steps, limit, self._table, row0, box.grid, grid)
        full = np.empty((box.grid, len(box.kernel) // 2 + 1), np.complex64)
        loops.place_rows(scipy.fft.rfft(grid[:, : box.grid], axis=1), row0, full)
        full = scipy.fft.fft(full, axis=0, overwrite_x=True)
        spectrum = np.empty((len(box.kernel), full.shape[1]), np.complex64)
        turns = tuple(value / box.size for value in slope)
        loops.apply_interpolant(full, turns, self._interpolant, box.extent[-1], spectrum)
        return spectrum

    def _draw_bands(self, spectrum, centre, flux, point, box: Box, out: np.ndarray) -> None:
        """Draws one galaxy, and a point source at its centre, in every band."""
        size, half = self.stamp_size, len(box.kernel) // 2
        phase_x = phase_y = np.empty(0, np.complex64)
        if point.any():
            turns = np.arange(-half, half + 1) / box.size
            phase_x = (box.kernel * np.exp(-2j * np.pi * centre[0] * turns))[half:]
            phase_y = box.kernel * np.exp(-2j * np.pi * centre[1] * turns)
        folded = np.empty((len(flux), box.size, box.size // 2 + 1), np.complex64)
        loops.fold(
            spectrum,
            box.transfer,
            box.extent,
            flux.astype(np.float32),
            point.astype(np.float32),
            phase_y.astype(np.complex64),
            phase_x.astype(np.complex64),
            folded,
        )
        columns = scipy.fft.ifft(folded, axis=1, overwrite_x=True)[:, :size]
        out[:] = scipy.fft.irfft(columns, n=box.size, axis=2)[:, :, :size]

    def _box_size(self, distance, width: float, height: float, bulk: float) -> int:
        """Returns the size of the periodic box on which a galaxy is drawn right.

        The bulk of its light (its root-mean-square extent) and a pixel of the stamp must be less
        than half a box apart, and no light may come near the stamp from the other side. The sizes
        are few, so that few tables are kept. Light further from the stamp than three stamps (192
        pixels at least) is left out.

        Args:
            distance: Of the centre of the frame from that of the stamp along x and y.
            width: Half the extent of the frame along x.
            height: Half the extent of the frame along y.
            bulk: Root-mean-square extent of the light.
        """
        stamp = self.stamp_size
        outskirts = max(distance[0] + width, distance[1] + height)
        least = max(stamp + 2 * (max(distance) + bulk), 0.625 * stamp + 16 + outskirts)
        multiple = 2 * self._bands[0].sampling
        size = fast_size(stamp + 8, multiple)
        while size < min(least, 4 * max(stamp, 64)):
            size = fast_size(size * 1.06, multiple)
        return size

    def _box(self, size: int) -> Box:
        with self._lock:
            if size not in self._boxes:
                self._boxes[size] = self._make_box(size)
            return self._boxes[size]

    def _make_box(self, size: int) -> Box:
        frequency = [band.max_frequency for band in self._bands]
        half = int(np.ceil(max(frequency) * size))
        grid = fast_size(_OVERSAMPLING * (2 * half + 1))
        kernel = self._kernel(np.arange(-half, half + 1) / grid)
        transfer = np.zeros((len(self._bands), 2 * half + 1, half + 1), np.complex64)
        ky = np.arange(-half, half + 1)
        extent = np.full((len(self._bands) + 1, len(ky)), -1, np.int32)
        for i, band in enumerate(self._bands):
            cut = band.on_box(size)
            k = cut.shape[1] - 1
            transfer[i, half - k : half + k + 1, : k + 1] = cut
            reach = (band.max_frequency * size) ** 2 - ky**2
            extent[i][reach >= 0] = np.floor(np.sqrt(reach[reach >= 0]))
        extent[-1] = extent.max(0)
        transfer /= kernel[:, None] * kernel[half:]
        return Box(size, grid, transfer, extent, kernel)


def _array(name: str, values, shape: tuple[int, ...]) -> np.ndarray:
    values = np.asarray(values, dtype=np.float64)
    try:
        values = np.broadcast_to(values, shape)
    except ValueError:
        raise ConfigError(
            f"{name} must have shape {list(shape)}, not {list(values.shape)}"
        ) from None
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        raise ConfigError(f"{name} of galaxy {bad[0][0]} is {values[tuple(bad[0])]}")
    return values

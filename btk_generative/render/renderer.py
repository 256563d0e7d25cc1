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
from btk_generative.render import loops, wings
from btk_generative.render.transfer import BandTransfer, fast_size

_OVERSAMPLING = 2.0
_HIGHEST = 16  # cycles per profile pixel up to which the interpolant's transform is tabulated


@dataclass(frozen=True)
class Box:
    """What is the same for all galaxies that are drawn on boxes of the same size."""

    size: int
    """L, pixels on a side."""
    limit: tuple[float, float]
    """Least and greatest x and y of the light that is drawn, from the box's first pixel."""
    grid: int
    """Points on a side of the grid on which profiles are spread."""
    transfer: np.ndarray
    """``[bands, 2 K + 1, K + 1]``, divided by the transform of the spreading kernel."""
    extent: np.ndarray
    """Greatest kx of each ky, the bands' and then that of all, ``[bands + 1, 2 K + 1]``."""
    kernel: np.ndarray
    """Transform of the spreading kernel along an axis, ``[2 K + 1]``."""
    coarse: bool
    """Whether only low frequencies matter, so that a profile may be taken with half its pixels."""


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
    size: int
    """Pixels on a side of the periodic box on which it is drawn."""
    core_size: int
    """The same for the PSF's core alone; 0 if the PSF is not to be parted."""


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
        self._boxes: dict[tuple[str, int], Box] = {}
        self._lock = threading.Lock()
        self._multiple = math.lcm(2 * self._bands[0].sampling, 2 * wings.STEP)
        self._row_weights = wings.row_weights()
        self._cores = self._part()

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
            sizes = self._box_sizes((abs(x_i), abs(y_i)), *extent)
            centre = x_i + (size - 1) / 2, y_i + (size - 1) / 2
            placed.append(Placed(image, centre, slope, extent[1], *sizes))
        self._draw(placed, flux, point, out, rows)
        return out

    def _draw(self, placed: list["Placed"], flux, point, out, rows) -> None:
        """Draws galaxies into ``out[rows]``."""
        for galaxy, f, p, row in zip(placed, flux, point, rows, strict=True):
            f, p = f.astype(np.float32), p.astype(np.float32)
            if galaxy.core_size:
                self._draw_parted(galaxy, f, p, out[row])
            else:
                box = self._box("whole", galaxy.size)
                spectrum = self._spectrum(galaxy, galaxy.centre, box)
                folded = self._fold(spectrum, galaxy.centre, f, p, box, box.size)
                out[row] = _images(folded, box.size, self.stamp_size)[:, :, : self.stamp_size]

    def _draw_parted(self, galaxy: Placed, flux, point, out: np.ndarray) -> None:
        """Draws a galaxy with the cores of the PSFs and with their wings, and adds the two."""
        size = galaxy.core_size
        first = tuple(math.floor(value) - size // 2 for value in galaxy.centre)
        centre = galaxy.centre[0] - first[0], galaxy.centre[1] - first[1]
        box = self._box("core", size)
        spectrum = self._spectrum(galaxy, centre, box)
        core = _images(self._fold(spectrum, centre, flux, point, box, size), size, size)
        box = self._box("wings", galaxy.size)
        spectrum = self._spectrum(galaxy, galaxy.centre, box)
        rows = box.size // wings.STEP
        folded = self._fold(spectrum, galaxy.centre, flux, point, box, rows)
        loops.add_parts(core, first, _images(folded, box.size, rows), self._row_weights, out)

    def _spectrum(self, galaxy: Placed, centre, box: Box) -> np.ndarray:
        """Returns the transform of a profile at its place, times that of the spreading kernel.

        Args:
            galaxy: The profile.
            centre: Position of its centre, survey pixels from the box's first pixel.
            box: The periodic box.
        """
        step = box.grid / box.size
        limit = box.limit[0] * step, box.limit[1] * step
        height = galaxy.height * step
        centre = centre[0] * step, centre[1] * step
        row0 = math.floor(max(centre[1] - height, limit[0])) - loops.WIDTH // 2
        last = math.floor(min(centre[1] + height, limit[1])) + loops.WIDTH // 2 + 1
        grid = np.empty((max(last + 1 - row0, 1), box.grid + loops.WIDTH), np.float32)
        image = galaxy.image
        if box.coarse and len(image) % 2 == 0:
            image, step = loops.halve(image), 2 * step
        steps = tuple(value * step for value in galaxy.slope)
        loops.spread(image, centre, steps, limit, self._table, row0, box.grid, grid)
        full = np.empty((box.grid, len(box.kernel) // 2 + 1), np.complex64)
        loops.place_rows(scipy.fft.rfft(grid[:, : box.grid], axis=1), row0, full)
        full = scipy.fft.fft(full, axis=0, overwrite_x=True)
        spectrum = np.empty((len(box.kernel), full.shape[1]), np.complex64)
        turns = tuple(value / box.size for value in galaxy.slope)
        loops.apply_interpolant(full, turns, self._interpolant, box.extent[-1], spectrum)
        return spectrum

    def _fold(self, spectrum, centre, flux, point, box: Box, samples: int) -> np.ndarray:
        """Returns the spectra of images, ``[bands, samples, samples / 2 + 1]``.

        Args:
            spectrum: Of the galaxy, from ``_spectrum``.
            centre: Position of the galaxy, survey pixels from the box's first pixel.
            flux: Of the galaxy in each band.
            point: Of a point source at its centre in each band.
            box: The periodic box.
            samples: Samples of the images on a side.
        """
        half = len(box.kernel) // 2
        phase_x = phase_y = np.empty(0, np.complex64)
        if point.any():
            turns = np.arange(-half, half + 1) / box.size
            phase_x = (box.kernel * np.exp(-2j * np.pi * centre[0] * turns))[half:]
            phase_y = box.kernel * np.exp(-2j * np.pi * centre[1] * turns)
        folded = np.empty((len(flux), samples, samples // 2 + 1), np.complex64)
        loops.fold(
            spectrum,
            box.transfer,
            box.extent,
            flux,
            point,
            phase_y.astype(np.complex64),
            phase_x.astype(np.complex64),
            folded,
        )
        return folded

    def _box_sizes(self, distance, width: float, height: float, bulk: float) -> tuple[int, int]:
        """Returns the sizes of the periodic boxes on which a galaxy is drawn right.

        The bulk of its light (its root-mean-square extent) and a pixel of the stamp must be less
        than half a box apart, and no light may come near the stamp from the other side. The sizes
        are few, so that few tables are kept. Light further from the stamp than three stamps (192
        pixels at least) is left out.

        Args:
            distance: Of the centre of the frame from that of the stamp along x and y.
            width: Half the extent of the frame along x.
            height: Half the extent of the frame along y.
            bulk: Root-mean-square extent of the light.

        Returns:
            The size for the PSF, and that for its core; the latter is 0 where nothing is gained by
            parting it.
        """
        stamp, greatest = self.stamp_size, 4 * max(self.stamp_size, 64)
        outskirts = max(distance[0] + width, distance[1] + height)
        least = max(stamp + 2 * (max(distance) + bulk), 0.625 * stamp + 16 + outskirts)
        core = fast_size(2 * wings.REACH + 2 * max(width, height))
        if self._cores and least < greatest and core < 0.75 * least:
            return fast_size(least, self._multiple), core
        multiple = 2 * self._bands[0].sampling
        size = fast_size(stamp + 8, multiple)
        while size < min(least, greatest):
            size = fast_size(size * 1.06, multiple)
        return size, 0

    def _box(self, kind: str, size: int) -> Box:
        """Returns the box for the "whole" PSFs, for their "core" or for their "wings"."""
        with self._lock:
            if (kind, size) not in self._boxes:
                self._boxes[kind, size] = self._make_box(kind, size)
            return self._boxes[kind, size]

    def _make_box(self, kind: str, size: int) -> Box:
        limit = (0.0, float(size)) if kind == "core" else (self.stamp_size - size, float(size))
        if kind == "core":
            cuts = [
                wings.core_transfer(core, finer, size, band.max_frequency)
                for band, (core, finer) in zip(self._bands, self._cores, strict=True)
            ]
        else:
            cuts = [band.on_box(size) for band in self._bands]
        reach = [band.max_frequency * size for band in self._bands]
        if kind == "wings":
            cuts = [
                wings.wings_transfer(wings.part(cut, size)[1], size) / wings.STEP for cut in cuts
            ]
            reach = [2.0 * size] * len(cuts)
        half = max(cut.shape[1] for cut in cuts) - 1
        ky = np.arange(-half, half + 1)
        grid = fast_size(_OVERSAMPLING * (2 * half + 1))
        kernel = self._kernel(ky / grid)
        transfer = np.zeros((len(cuts), 2 * half + 1, half + 1), np.complex64)
        extent = np.full((len(cuts) + 1, len(ky)), -1, np.int32)
        for i, (cut, last) in enumerate(zip(cuts, reach, strict=True)):
            k = cut.shape[1] - 1
            transfer[i, half - k : half + k + 1, : k + 1] = cut
            inside = (last**2 >= ky**2) & (np.abs(ky) <= k)
            extent[i][inside] = np.minimum(np.floor(np.sqrt(last**2 - ky[inside] ** 2)), k)
        extent[-1] = extent.max(0)
        transfer /= kernel[:, None] * kernel[half:]
        return Box(size, limit, grid, transfer, extent, kernel, coarse=kind == "wings")

    def _part(self) -> list[tuple[np.ndarray, int]]:
        """Returns the cores of the PSFs and their samples per pixel; none with uneven wings."""
        size = fast_size(max(self.stamp_size + 8, 2 * wings.REACH), self._multiple)
        cores = []
        for band in self._bands:
            core, rest = wings.part(band.on_box(size), size)
            if not wings.are_smooth(core, rest, size):
                return []
            cores.append((core, len(core) // size))
        return cores


def _images(folded: np.ndarray, size: int, rows: int) -> np.ndarray:
    """Transforms spectra back: ``rows`` rows of images of ``size`` pixels."""
    columns = scipy.fft.ifft(folded, axis=1, overwrite_x=True)[:, :rows]
    return scipy.fft.irfft(columns, n=size, axis=2)


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

"""The renderer of one survey."""

import math
from collections.abc import Sequence

import galsim
import numpy as np
from numba.typed import List
from numpy.typing import ArrayLike

from btk_generative.errors import ConfigError
from btk_generative.models.profiles import LightProfiles
from btk_generative.render import loops, wings
from btk_generative.render.transfer import BandTransfer, fast_size
from btk_generative.runs.processes import Lock

_OVERSAMPLING = 2.0
_HIGHEST = 16  # cycles per profile pixel up to which the interpolant's transform is tabulated


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
        self._psfs = list(psfs)
        self.pixel_scale = float(pixel_scale)
        self.stamp_size = int(stamp_size)
        self._bands = [BandTransfer(psf, self.pixel_scale, self.stamp_size) for psf in psfs]
        spreading, self._kernel = loops.spreading_kernel(_OVERSAMPLING)
        frequency = np.arange(_HIGHEST * loops.INTERPOLANT_STEPS + 2) / loops.INTERPOLANT_STEPS
        interpolant = galsim.Quintic().kval(2 * np.pi * frequency).astype(np.float32)
        interpolant[-2:] = 0
        self._tables = loops.Tables(spreading, interpolant, wings.weights())
        multiple = 2 * self._bands[0].sampling
        self._greatest = 4 * max(self.stamp_size, 64)
        least = range(self._greatest + 1)
        self._core_sizes = np.array([fast_size(size) for size in least])
        self._parted_sizes = np.array(
            [fast_size(k, math.lcm(multiple, 2 * wings.STEP)) for k in least]
        )
        whole = [fast_size(self.stamp_size + 8, multiple)]
        while whole[-1] < self._greatest:
            whole.append(fast_size(whole[-1] * 1.06, multiple))
        self._whole_sizes = np.array(whole)
        self._boxes: List | None = None
        self._numbers: dict[tuple[str, int], int] = {}
        self._lock = Lock()
        self._cores = self._part()

    def __reduce__(self):
        return type(self), (self._psfs, self.pixel_scale, self.stamp_size)

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
        if n == 0:
            return out
        images = np.ascontiguousarray(profiles.images, np.float32)
        scale = profiles.pixel_scale / self.pixel_scale
        distance = np.stack([x, y], axis=1) / self.pixel_scale
        slope, extent = loops.place(images, scale, angle, g1, g2)
        sizes = self._box_sizes(np.abs(distance), extent)
        lie = images, distance + (size - 1) / 2, slope, extent[:, 1].copy()
        self._draw(lie, sizes, flux.astype(np.float32), point.astype(np.float32), out, rows)
        return out

    def _draw(
        self,
        lie: tuple,
        sizes: np.ndarray,
        flux: np.ndarray,
        point: np.ndarray,
        out: np.ndarray,
        rows: np.ndarray,
    ) -> None:
        """Draws galaxies into ``out[rows]``.

        Args:
            lie: The profiles and how they lie: images, centres, slopes and heights, as
                `loops.draw` takes them.
            sizes: From `_box_sizes`.
            flux: Flux of each galaxy in each band.
            point: That of a point source.
            out: See `draw`.
            rows: See `draw`.
        """
        number = self._numbered(sizes)
        loops.draw(*lie, flux, point, number, self._boxes, self._tables, out, rows)

    def _box_sizes(self, distance: np.ndarray, extent: np.ndarray) -> np.ndarray:
        """Returns the sizes of the periodic boxes on which galaxies are drawn right.

        The bulk of a galaxy's light (its root-mean-square extent) and a pixel of the stamp must be
        less than half a box apart, and no light may come near the stamp from the other side. The
        sizes are few, so that few tables are kept. Light further from the stamp than three stamps
        (192 pixels at least) is left out.

        Args:
            distance: Of the centre of the frame from that of the stamp along x and y, ``[n, 2]``.
            extent: From `loops.place`.

        Returns:
            The size for the PSF, and that for its core; the latter is 0 where nothing is gained by
            parting it. ``[n, 2]``.
        """
        stamp, greatest = self.stamp_size, self._greatest
        reach, bulk = extent[:, :2], extent[:, 2]
        least = np.maximum(
            stamp + 2 * (distance.max(axis=1) + bulk),
            0.625 * stamp + 16 + (distance + reach).max(axis=1),
        )
        enough = np.minimum(least, greatest)
        sizes = np.zeros((len(least), 2), dtype=int)
        sizes[:, 0] = self._whole_sizes[np.searchsorted(self._whole_sizes, enough)]
        if self._cores:
            core = np.minimum(2 * wings.REACH + 2 * reach.max(axis=1), greatest)
            core = self._core_sizes[np.ceil(core).astype(int)]
            parted = (least < greatest) & (core < 0.9 * least)
            sizes[parted, 0] = self._parted_sizes[np.ceil(enough[parted]).astype(int)]
            sizes[parted, 1] = core[parted]
        return sizes

    def _numbered(self, sizes: np.ndarray) -> np.ndarray:
        """Returns the numbers of the boxes of such sizes, which are made where there are none.

        Args:
            sizes: From `_box_sizes`.

        Returns:
            Place in ``_boxes`` of each galaxy's box and of that of the core, -1 for none.
        """
        number = np.full(sizes.shape, -1)
        with self._lock:
            for row, (size, core) in enumerate(sizes.tolist()):
                number[row, 0] = self._number("wings" if core else "whole", size)
                if core:
                    number[row, 1] = self._number("core", core)
        return number

    def _number(self, kind: str, size: int) -> int:
        if (kind, size) not in self._numbers:
            boxes = loops.extended(self._boxes, self._make_box(kind, size))
            self._boxes = boxes
            self._numbers[kind, size] = len(boxes) - 1
        return self._numbers[kind, size]

    def _make_box(self, kind: str, size: int) -> loops.Box:
        """Returns the box for the "whole" PSFs, for their "core" or for their "wings"."""
        limit = (
            (0.0, float(size)) if kind == "core" else (float(self.stamp_size - size), float(size))
        )
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
                wings.wings_transfer(wings.part(cut, size)[1], size) / wings.STEP**2 for cut in cuts
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
        samples = size // wings.STEP if kind == "wings" else size
        return loops.Box(size, samples, limit, grid, transfer, extent, kernel)

    def _part(self) -> list[tuple[np.ndarray, int]]:
        """Returns the cores of the PSFs and their samples per pixel; none with uneven wings."""
        size = self._parted_sizes[max(self.stamp_size + 8, 2 * wings.REACH)]
        cores = []
        for band in self._bands:
            core, rest = wings.part(band.on_box(size), size)
            if not wings.are_smooth(core, rest, size):
                return []
            cores.append((core, len(core) // size))
        return cores


def _array(name: str, values: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
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

"""The compiled part of the renderer.

Galaxies are drawn one after the other, so that the image of one does not depend on the others, and
without Python's global lock, so that threads can draw at the same time. The Fourier transforms are
rocket-fft's, which gives Numba those of SciPy.

The sum over pixels (spreading and FFT) is written here because finufft 2.5.1 is slower at this:
for the galaxies of a generator its plans take 3.0 to 3.3 times as long for LSST (0.46 to 0.50
against 0.15 ms a galaxy, of 0.41 ms for the whole galaxy), 5.1 to 5.5 times for Euclid VIS, where
their single precision is 9 times as far off (3e-5 of the peak). finufft takes any complex values;
here they are real, only rows with light are transformed, and the kernel is divided out of the
transfer functions beforehand. `benchmarks/bench_nufft.py` compares the two.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import rocket_fft  # noqa: F401, for Numba to know scipy.fft
import scipy.fft
from numba.typed import List

from btk_generative.render.compiled import compiled
from btk_generative.render.wings import STEP

WIDTH = 6
"""Number of grid points along an axis over which a profile's pixel is spread."""

_STEPS = 1024  # positions between two grid points at which the spreading kernel is tabulated

INTERPOLANT_STEPS = 2048
"""Samples per cycle per profile pixel of the interpolant's transform."""

_MARGIN = 3  # pixels of a profile over which the interpolant spreads one of them

_index = np.uintp  # of an unsigned index the compiler need not ask whether it counts from the end

_compiled = compiled(fastmath={"contract", "reassoc", "nsz", "arcp"})


class Box(NamedTuple):
    """What is the same for all galaxies that are drawn on boxes of the same size."""

    size: int
    """L, pixels on a side."""
    samples: int
    """Samples of an image on a side: L, or fewer where only low frequencies matter."""
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


class Tables(NamedTuple):
    """What is the same for all galaxies and boxes."""

    spreading: np.ndarray
    """Weights from `spreading_kernel`."""
    interpolant: np.ndarray
    """The interpolant's transform, ``INTERPOLANT_STEPS`` samples per cycle."""
    wings: np.ndarray
    """Weights from `wings.weights`."""


def spreading_kernel(
    oversampling: float,
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Returns the kernel that spreads a point over a grid, and its Fourier transform.

    It is the 'exponential of semicircle' of Barnett, Magland and af Klinteberg 2019,
    SIAM J. Sci. Comput. 41, C479 (the kernel of finufft).

    Args:
        oversampling: Grid size over the number of frequencies wanted.

    Returns:
        The table of weights, float32, shape ``[steps + 1, WIDTH]``: row q holds the weights of the
        grid points around a point at q / steps of the way from grid point ``WIDTH / 2 - 1`` to the
        next; and the function that gives the transform at frequencies in cycles per grid step.
    """
    beta = np.pi * WIDTH * (1 - 0.5 / oversampling) * 0.976

    def kernel(distance):
        inside = np.clip(1 - (2 * distance / WIDTH) ** 2, 0, None)
        return np.exp(beta * (np.sqrt(inside) - 1)) * (inside > 0)

    position = np.arange(_STEPS + 1)[:, None] / _STEPS
    table = kernel(np.arange(WIDTH) - WIDTH // 2 + 1 - position)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    nodes, weights = nodes * WIDTH / 2, weights * WIDTH / 2 * kernel(nodes * WIDTH / 2)

    def transform(frequency: np.ndarray) -> np.ndarray:
        return np.cos(2 * np.pi * np.multiply.outer(frequency, nodes)) @ weights

    # The weights of a point miss their sum by up to 1e-5; with it exact, so is the flux.
    table *= transform(np.zeros(1)) / table.sum(axis=1, keepdims=True)
    return table.astype(np.float32), transform


@_compiled
def _spread(image, centre, slope, limit, table, row0, size, grid):
    """Spreads the pixels of a profile over a grid, periodic along x.

    Args:
        image: The profile, ``[S, S]``.
        centre: x and y of the frame's centre, in grid steps.
        slope: The derivatives of the position (dx/di, dx/dj, dy/di, dy/dj) with respect to the
            frame's column i and row j, in grid steps.
        limit: Least and greatest x and y, in grid steps; pixels outside are left out.
        table: Weights from ``spreading_kernel``.
        row0: Row of the periodic grid that is row 0 of ``grid``.
        size: Number of columns of the periodic grid.
        grid: Output ``[rows, size + WIDTH]``; the result is in its first ``size`` columns.
    """
    grid[:] = 0
    middle = (image.shape[0] - 1) / 2
    weight_x = np.empty(WIDTH, np.float32)
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            value = image[j, i]
            x = centre[0] + slope[0] * (i - middle) + slope[1] * (j - middle)
            y = centre[1] + slope[2] * (i - middle) + slope[3] * (j - middle)
            if value == 0 or min(x, y) < limit[0] or max(x, y) > limit[1]:
                continue
            left, low = np.floor(x), np.floor(y)
            qx, qy = (x - left) * _STEPS, (y - low) * _STEPS
            nx, ny = _index(qx), _index(qy)
            rx, ry = np.float32(qx - nx), np.float32(qy - ny)
            column = _index((int(left) - WIDTH // 2 + 1) % size)
            row = _index(int(low) - WIDTH // 2 + 1 - row0)
            for m in range(_index(WIDTH)):
                step = table[nx + _index(1), m] - table[nx, m]
                weight_x[m] = value * (table[nx, m] + rx * step)
            for n in range(_index(WIDTH)):
                weight_y = table[ny, n] + ry * (table[ny + _index(1), n] - table[ny, n])
                for m in range(_index(WIDTH)):
                    grid[row + n, column + m] += weight_y * weight_x[m]
    for y_grid in range(grid.shape[0]):
        for m in range(WIDTH):
            grid[y_grid, m] += grid[y_grid, size + m]


@_compiled
def _place_rows(rows, row0, full):
    """Adds rows of a half-transformed grid at their places in the periodic grid ``full``."""
    full[:] = 0
    for n in range(rows.shape[0]):
        source, target = rows[n], full[(n + row0) % full.shape[0]]
        for kx in range(_index(full.shape[1])):
            target[kx] += source[kx]


@_compiled
def _apply_interpolant(full, slope, table, extent, spectrum):
    """Cuts the wanted frequencies out of a transformed grid and multiplies by the interpolant's.

    Args:
        full: Transform of the grid, ``[size, K + 1]``.
        slope: The derivatives of the position (dx/di, dx/dj, dy/di, dy/dj) with respect to the
            profile's column i and row j, as a share of the box.
        table: The interpolant's transform, ``INTERPOLANT_STEPS`` samples per cycle.
        extent: Greatest kx of each ky, ``[2 K + 1]``, -1 for none.
        spectrum: Output ``[2 K + 1, K + 1]``.
    """
    half = extent.shape[0] // 2
    last = np.float32(table.shape[0] - 2)
    ax, ay = np.float32(slope[0] * INTERPOLANT_STEPS), np.float32(slope[1] * INTERPOLANT_STEPS)
    factor = np.empty(half + 1, np.float32)
    for n in range(extent.shape[0]):
        ky = n - half
        bx = np.float32(slope[2] * INTERPOLANT_STEPS * ky)
        by = np.float32(slope[3] * INTERPOLANT_STEPS * ky)
        source, target = full[ky % full.shape[0]], spectrum[n]
        for kx in range(_index(extent[n] + 1)):  # on its own, so that the compiler vectorises it
            u = min(abs(ax * np.float32(kx) + bx), last)
            v = min(abs(ay * np.float32(kx) + by), last)
            iu, iv = _index(u), _index(v)
            fu = table[iu] + (u - np.float32(iu)) * (table[iu + _index(1)] - table[iu])
            fv = table[iv] + (v - np.float32(iv)) * (table[iv + _index(1)] - table[iv])
            factor[kx] = fu * fv
        for kx in range(_index(extent[n] + 1)):
            target[kx] = source[kx] * factor[kx]


@_compiled
def _fold(spectrum, transfer, extent, flux, point, phase_y, phase_x, folded):
    """Multiplies by the bands' transfer functions and folds at the survey's Nyquist frequency.

    Args:
        spectrum: The galaxy's, for a flux of 1, ``[2 K + 1, K + 1]``.
        transfer: The bands', ``[bands, 2 K + 1, K + 1]``.
        extent: Greatest kx of each ky at which ``transfer`` is not zero, ``[bands, 2 K + 1]``.
        flux: Flux of the galaxy, ``[bands]``.
        point: Flux of a point source at its centre, ``[bands]``.
        phase_y: Spectrum of a point source along ky, ``[2 K + 1]``; not read where ``point`` is 0.
        phase_x: The same along kx, ``[K + 1]``.
        folded: Output ``[bands, L, L / 2 + 1]``, the spectra of the images of L by L pixels.
    """
    size = folded.shape[1]
    half = size // 2
    middle = extent.shape[1] // 2
    for band in range(folded.shape[0]):
        target, source, f, p = folded[band], transfer[band], flux[band], point[band]
        target[:] = 0
        for n in range(extent.shape[1]):
            last = extent[band, n]
            line, response, light = target[(n - middle) % size], source[n], spectrum[n]
            low = _index(max(min(last + 1, half), 0))
            for kx in range(low):
                line[kx] += response[kx] * (f * light[kx])
            if p != 0:
                for kx in range(low):
                    line[kx] += response[kx] * (p * phase_y[n] * phase_x[kx])
            # From the Nyquist frequency on, a frequency and its conjugate at the opposite one fall
            # on different places of the half plane that describes a real image.
            mirrored = target[(middle - n) % size]
            column = half
            for kx in range(half, last + 1):
                value = f * light[kx]
                if p != 0:
                    value += p * phase_y[n] * phase_x[kx]
                value *= response[kx]
                if column <= half:
                    line[column] += value
                if column == 0 or size - column <= half:
                    mirrored[(size - column) if column else 0] += value.conjugate()
                column = column + 1 if column + 1 < size else 0


@_compiled
def _refine(coarse, weights, rows, columns):
    """Interpolates images along x, from every ``STEP``-th pixel to all of them.

    Args:
        coarse: Periodic images, ``[bands, samples, samples]``.
        weights: Of the six samples around a pixel's, ``[STEP, 6]``.
        rows: Number of rows that are wanted, from 2 before the first on.
        columns: Number of pixels that are wanted.

    Returns:
        The rows, ``[bands, rows, columns rounded up to a multiple of STEP]``.
    """
    taps = weights.shape[1]
    samples = coarse.shape[1]
    wanted = -(-columns // STEP)
    table = np.ascontiguousarray(weights.T)
    around = np.empty(wanted + taps - 1, np.float32)
    fine = np.empty((coarse.shape[0], rows, wanted * STEP), np.float32)
    for band in range(coarse.shape[0]):
        for n in range(rows):
            source, target = coarse[band, (n - taps // 2 + 1) % samples], fine[band, n]
            for i in range(around.shape[0]):
                around[i] = source[(i - taps // 2 + 1) % samples]
            for i in range(_index(wanted)):
                a, b, c = around[i], around[i + _index(1)], around[i + _index(2)]
                d, e, f = around[i + _index(3)], around[i + _index(4)], around[i + _index(5)]
                for s in range(_index(STEP)):
                    target[i * _index(STEP) + s] = (
                        table[0, s] * a + table[1, s] * b + table[2, s] * c
                    ) + (table[3, s] * d + table[4, s] * e + table[5, s] * f)
    return fine


@_compiled
def _add_parts(core, first, wings, weights, out):
    """Adds what a galaxy is with the PSF's core to what it is with its wings.

    Args:
        core: Images on a box around the galaxy, ``[bands, size, size]``.
        first: Column and row of the stamp at which that box begins.
        wings: Every ``STEP``-th row from `_refine`, ``[bands, rows, at least N]``.
        weights: Of the six rows around a pixel's, ``[STEP, 6]``.
        out: Output ``[bands, N, N]``.
    """
    size, stamp = core.shape[1], out.shape[1]
    left, right = max(first[0], 0), min(first[0] + size, stamp)
    line = np.empty(wings.shape[2], np.float32)
    for band in range(out.shape[0]):
        for y in range(stamp):
            u, v, w, p, q, r = weights[y % STEP]
            row = y // STEP
            a, b, c = wings[band, row], wings[band, row + 1], wings[band, row + 2]
            d, e, f = wings[band, row + 3], wings[band, row + 4], wings[band, row + 5]
            for x in range(_index(line.shape[0])):
                line[x] = (u * a[x] + v * b[x] + w * c[x]) + (p * d[x] + q * e[x] + r * f[x])
            if 0 <= y - first[1] < size and left < right:
                light = core[band, y - first[1], left - first[0] : right - first[0]]
                inner = line[left:right]
                for x in range(_index(light.shape[0])):
                    inner[x] += light[x]
            target = out[band, y]
            for x in range(_index(stamp)):
                target[x] = line[x]


@_compiled
def _halve(image):
    """Returns a profile ``[S, S]``, S even, with the sums of two by two pixels."""
    half = image.shape[0] // 2
    sums = np.empty((half, half), np.float32)
    for j in range(half):
        for i in range(half):
            upper = image[2 * j, 2 * i] + image[2 * j, 2 * i + 1]
            sums[j, i] = upper + (image[2 * j + 1, 2 * i] + image[2 * j + 1, 2 * i + 1])
    return sums


@_compiled
def place(
    images: np.ndarray, scale: np.ndarray, angle: np.ndarray, g1: np.ndarray, g2: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns how profiles lie in the sky.

    Args:
        images: The profiles, ``[n, S, S]``.
        scale: Their pixel sizes in survey pixels, ``[n]``.
        angle: Rotations, radians, from +x towards +y, ``[n]``.
        g1: Reduced shear, applied after the rotation, ``[n]``.
        g2: Reduced shear, ``[n]``.

    Returns:
        The derivatives of the position in survey pixels, (dx/di, dx/dj, dy/di, dy/dj), ``[n, 4]``;
        and ``[n, 3]``, how far light reaches from the centre along x and y, and its greater
        root-mean-square extent.
    """
    slope, extent = np.empty((len(images), 4)), np.empty((len(images), 3))
    for k in range(len(images)):
        slope[k], extent[k] = _place(images[k], scale[k], angle[k], g1[k], g2[k])
    return slope, extent


@_compiled
def _place(image, scale, angle, g1, g2):
    scale = scale / np.sqrt(1 - g1**2 - g2**2)
    c, s = np.cos(angle), np.sin(angle)
    xi, xj = scale * ((1 + g1) * c + g2 * s), scale * (g2 * c - (1 + g1) * s)
    yi, yj = scale * (g2 * c + (1 - g1) * s), scale * ((1 - g1) * c - g2 * s)
    size = image.shape[0]
    middle = (size - 1) / 2
    ii = ij = jj = total = width = height = 0.0
    for j in range(size):
        row, v = image[j], j - middle
        light = first = second = 0.0
        for i in range(_index(size)):
            value, u = np.float64(row[i]), np.float64(i) - middle
            light += value
            first += value * u
            second += value * u * u
        total, ii, ij, jj = total + light, ii + second, ij + first * v, jj + light * v * v
        left, right = 0, size - 1
        while left < size and row[left] == 0:
            left += 1
        while right > left and row[right] == 0:
            right -= 1
        if left < size:
            for u in (left - middle, right - middle):
                width = max(width, abs(xi * u + xj * v))
                height = max(height, abs(yi * u + yj * v))
    xx = xi * xi * ii + 2 * xi * xj * ij + xj * xj * jj
    yy = yi * yi * ii + 2 * yi * yj * ij + yj * yj * jj
    bulk = np.sqrt(max(xx, yy) / total) if total > 0 else 0.0
    width, height = width + _MARGIN * (abs(xi) + abs(xj)), height + _MARGIN * (abs(yi) + abs(yj))
    return (xi, xj, yi, yj), (width, height, bulk)


@_compiled
def _spectrum(image, centre, slope, height, box, tables):
    """Returns the transform of a profile at its place, times that of the spreading kernel."""
    step = box.grid / box.size
    low, high = box.limit[0] * step, box.limit[1] * step
    x, y = centre[0] * step, centre[1] * step
    row0 = int(np.floor(max(y - height * step, low))) - WIDTH // 2
    last = int(np.floor(min(y + height * step, high))) + WIDTH // 2 + 1
    grid = np.empty((max(last + 1 - row0, 1), box.grid + WIDTH), np.float32)
    a, b, c, d = slope
    if box.samples < box.size and image.shape[0] % 2 == 0:
        image, step = _halve(image), 2 * step
    steps = (a * step, b * step, c * step, d * step)
    _spread(image, (x, y), steps, (low, high), tables.spreading, row0, box.grid, grid)
    half = box.extent.shape[1] // 2
    full = np.empty((box.grid, half + 1), np.complex64)
    _place_rows(scipy.fft.rfft(grid[:, : box.grid]), row0, full)
    full = scipy.fft.fft(full, axis=0, overwrite_x=True)
    turns = (a / box.size, b / box.size, c / box.size, d / box.size)
    spectrum = np.empty((2 * half + 1, half + 1), np.complex64)
    _apply_interpolant(full, turns, tables.interpolant, box.extent[-1], spectrum)
    return spectrum


@_compiled
def _on_box(image, centre, slope, height, flux, point, box, tables, rows):
    """Returns a galaxy on a periodic box, of which so many rows are wanted."""
    spectrum = _spectrum(image, centre, slope, height, box, tables)
    half = box.extent.shape[1] // 2
    phase_x, phase_y = np.empty(half + 1, np.complex64), np.empty(2 * half + 1, np.complex64)
    if np.any(point):
        for k in range(-half, half + 1):
            turn = -2j * np.pi * k / box.size
            phase_y[k + half] = box.kernel[k + half] * np.exp(turn * centre[1])
            if k >= 0:
                phase_x[k] = box.kernel[k + half] * np.exp(turn * centre[0])
    folded = np.empty((flux.shape[0], box.samples, box.samples // 2 + 1), np.complex64)
    _fold(spectrum, box.transfer, box.extent, flux, point, phase_y, phase_x, folded)
    columns = scipy.fft.ifft(folded, axis=1, overwrite_x=True)
    return scipy.fft.irfft(columns[:, :rows], box.samples)


@_compiled
def extended(boxes: List | None, box: Box) -> List:
    """Returns a list of boxes, None for an empty one, with one more."""
    longer = List()
    if boxes is not None:
        for each in boxes:
            longer.append(each)
    longer.append(box)
    return longer


@_compiled
def draw(
    images: np.ndarray,
    centre: np.ndarray,
    slope: np.ndarray,
    height: np.ndarray,
    flux: np.ndarray,
    point: np.ndarray,
    number: np.ndarray,
    boxes: List,
    tables: Tables,
    out: np.ndarray,
    rows: np.ndarray,
) -> None:
    """Draws galaxies.

    Args:
        images: The profiles, ``[n, S, S]``.
        centre: Positions of their centres, survey pixels from the stamp's first pixel, ``[n, 2]``.
        slope: From `place`, ``[n, 4]``.
        height: How far their light reaches along y, ``[n]``.
        flux: Of each galaxy in each band, ``[n, bands]``.
        point: Of a point source at its centre, likewise.
        number: The places in ``boxes`` of each galaxy's periodic box and, if its PSF is parted, of
            that for the core, else -1, ``[n, 2]``.
        boxes: From `extended`.
        tables: The tables.
        out: Output ``[m, bands, N, N]``.
        rows: Where in it to draw each galaxy, ``[n]``.
    """
    for k in range(len(images)):
        a, b, c, d = slope[k]
        lie = images[k], (centre[k, 0], centre[k, 1]), (a, b, c, d), height[k], flux[k], point[k]
        box, target = boxes[number[k, 0]], out[rows[k]]
        if number[k, 1] < 0:
            _draw_whole(*lie, box, tables, target)
        else:
            _draw_parted(*lie, boxes[number[k, 1]], box, tables, target)


@_compiled
def _draw_whole(image, centre, slope, height, flux, point, box, tables, out):
    """Draws a galaxy on one box."""
    stamp = out.shape[1]
    images = _on_box(image, centre, slope, height, flux, point, box, tables, stamp)
    for band in range(out.shape[0]):
        for y in range(stamp):
            target, source = out[band, y], images[band, y]
            for x in range(_index(stamp)):
                target[x] = source[x]


@_compiled
def _draw_parted(image, centre, slope, height, flux, point, core, wings, tables, out):
    """Draws a galaxy with the cores of the PSFs and with their wings, and adds the two."""
    size, stamp = core.size, out.shape[1]
    first = (int(np.floor(centre[0])) - size // 2, int(np.floor(centre[1])) - size // 2)
    near = (centre[0] - first[0], centre[1] - first[1])
    light = _on_box(image, near, slope, height, flux, point, core, tables, size)
    coarse = _on_box(image, centre, slope, height, flux, point, wings, tables, wings.samples)
    rows = -(-stamp // STEP) + tables.wings.shape[1] - 1
    _add_parts(light, first, _refine(coarse, tables.wings, rows, stamp), tables.wings, out)

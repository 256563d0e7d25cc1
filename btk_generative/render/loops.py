"""The compiled inner loops of the renderer, one galaxy a call.

Each works on one galaxy, so that its image does not depend on the others of the batch, and none
holds Python's global lock, so that threads can draw at the same time.
"""

import numba
import numpy as np

WIDTH = 6
"""Number of grid points along an axis over which a profile's pixel is spread."""

_STEPS = 1024  # positions between two grid points at which the spreading kernel is tabulated

INTERPOLANT_STEPS = 2048
"""Samples per cycle per profile pixel of the interpolant's transform."""

_compiled = numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc", "nsz", "arcp"})


def spreading_kernel(oversampling: float) -> tuple[np.ndarray, "np.ufunc"]:
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

    def transform(frequency):
        return np.cos(2 * np.pi * np.multiply.outer(frequency, nodes)) @ weights

    return table.astype(np.float32), transform


@_compiled
def spread(image, frame, limit, table, row0, size, grid):
    """Spreads the pixels of a profile over a grid, periodic along x.

    Args:
        image: The profile, ``[S, S]``.
        frame: x and y of the frame's centre, then the derivatives (dx/di, dx/dj, dy/di, dy/dj)
            with respect to its column i and row j, in grid steps.
        limit: Least and greatest x, then y, in grid steps; pixels outside are left out.
        table: Weights from ``spreading_kernel``.
        row0: Row of the periodic grid that is row 0 of ``grid``.
        size: Number of columns of the periodic grid.
        grid: Output ``[rows, size + WIDTH]``; the result is in its first ``size`` columns.
    """
    grid[:] = 0
    centre = (image.shape[0] - 1) / 2
    weight_x = np.empty(WIDTH, np.float32)
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            value = image[j, i]
            x = frame[0] + frame[2] * (i - centre) + frame[3] * (j - centre)
            y = frame[1] + frame[4] * (i - centre) + frame[5] * (j - centre)
            if value == 0 or x < limit[0] or x > limit[1] or y < limit[2] or y > limit[3]:
                continue
            left, low = np.floor(x), np.floor(y)
            qx, qy = (x - left) * _STEPS, (y - low) * _STEPS
            nx, ny = int(qx), int(qy)
            rx, ry = np.float32(qx - nx), np.float32(qy - ny)
            column = (int(left) - WIDTH // 2 + 1) % size
            row = int(low) - WIDTH // 2 + 1 - row0
            for m in range(WIDTH):
                weight_x[m] = value * (table[nx, m] + rx * (table[nx + 1, m] - table[nx, m]))
            for n in range(WIDTH):
                weight_y = table[ny, n] + ry * (table[ny + 1, n] - table[ny, n])
                for m in range(WIDTH):
                    grid[row + n, column + m] += weight_y * weight_x[m]
    for row in range(grid.shape[0]):
        for m in range(WIDTH):
            grid[row, m] += grid[row, size + m]


@_compiled
def place_rows(rows, row0, full):
    """Adds rows of a half-transformed grid at their places in the periodic grid ``full``."""
    full[:] = 0
    for n in range(rows.shape[0]):
        row = (n + row0) % full.shape[0]
        for kx in range(full.shape[1]):
            full[row, kx] += rows[n, kx]


@_compiled
def apply_interpolant(full, axes, table, extent, spectrum):
    """Cuts the wanted frequencies out of a transformed grid and multiplies by the interpolant's.

    Args:
        full: Transform of the grid, ``[size, K + 1]``.
        axes: Frequency in cycles per profile pixel along its column and row axes, for a step of one
            along kx (first two) and along ky (last two).
        table: The interpolant's transform, ``INTERPOLANT_STEPS`` samples per cycle.
        extent: Greatest kx of each ky, ``[2 K + 1]``, -1 for none.
        spectrum: Output ``[2 K + 1, K + 1]``.
    """
    half = extent.shape[0] // 2
    last = np.float32(table.shape[0] - 2)
    ax, ay = np.float32(axes[0] * INTERPOLANT_STEPS), np.float32(axes[1] * INTERPOLANT_STEPS)
    for n in range(extent.shape[0]):
        ky = n - half
        bx = np.float32(axes[2] * INTERPOLANT_STEPS * ky)
        by = np.float32(axes[3] * INTERPOLANT_STEPS * ky)
        row = ky % full.shape[0]
        for kx in range(extent[n] + 1):
            u = min(abs(ax * np.float32(kx) + bx), last)
            v = min(abs(ay * np.float32(kx) + by), last)
            iu, iv = int(u), int(v)
            fu = table[iu] + (u - iu) * (table[iu + 1] - table[iu])
            fv = table[iv] + (v - iv) * (table[iv + 1] - table[iv])
            spectrum[n, kx] = full[row, kx] * (fu * fv)


@_compiled
def fold(spectrum, transfer, extent, flux, point, point_y, point_x, folded):
    """Multiplies by a band's transfer function and folds at the survey's Nyquist frequency.

    Args:
        spectrum: The galaxy's, for a flux of 1, ``[2 K + 1, K + 1]``.
        transfer: The band's, ``[2 K + 1, K + 1]``.
        extent: Greatest kx of each ky at which ``transfer`` is not zero, ``[2 K + 1]``.
        flux: Flux of the galaxy.
        point: Flux of a point source at its centre.
        point_y, point_x: The phases of that centre along ky and kx.
        folded: Output ``[L, L / 2 + 1]``, the spectrum of the image of L by L pixels.
    """
    folded[:] = 0
    size = folded.shape[0]
    half = size // 2
    middle = extent.shape[0] // 2
    for n in range(extent.shape[0]):
        row = (n - middle) % size
        mirror = (middle - n) % size
        for kx in range(min(extent[n], half) + 1):
            value = flux * spectrum[n, kx]
            folded[row, kx] += transfer[n, kx] * value
        if point != 0:
            for kx in range(min(extent[n], half) + 1):
                value = point * point_y[n] * point_x[kx]
                folded[row, kx] += transfer[n, kx] * value
        # of the frequencies at and beyond Nyquist the transform of a real image keeps only some,
        # so the conjugates at the opposite frequency count too
        for kx in range(half, extent[n] + 1):
            value = flux * spectrum[n, kx] + point * point_y[n] * point_x[kx]
            value *= transfer[n, kx]
            column = kx % size
            if kx > half and column <= half:
                folded[row, column] += value
            if (size - column) % size <= half:
                folded[mirror, (size - column) % size] += value.conjugate()


@_compiled
def second_moments(image):
    """Returns the second moments of an image about the centre of its frame, square pixels."""
    centre = (image.shape[0] - 1) / 2
    moments = np.zeros((2, 2))
    total = 0.0
    for j in range(image.shape[0]):
        for i in range(image.shape[1]):
            value = image[j, i]
            total += value
            moments[0, 0] += value * (i - centre) ** 2
            moments[1, 1] += value * (j - centre) ** 2
            moments[0, 1] += value * (i - centre) * (j - centre)
    moments[1, 0] = moments[0, 1]
    return moments / total

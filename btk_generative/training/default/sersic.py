"""Smooth galaxies of bulge and disk, drawn in a frame scaled to the galaxy."""

import numpy as np
from keras import ops
from scipy.optimize import brentq

SIZE = 64
"""Pixels on a side of the frame."""

N_RANGE = (0.3, 6.0)
"""Sersic indices that can be drawn."""

_TAPER = 0.4  # share of the squared truncation radius at which the taper begins
_EDGE = 0.985  # of the frame's half-width: largest truncation radius
_REACH = (2.2, 6.0)  # range of truncation radii, in half-light radii, that the table covers


class BulgeDiskDecoder:
    """Draws the sum of two Sersic profiles, averaged over pixels, of flux 1.

    A component's isophotes are concentric ellipses. Its profile is ``exp(-b r^(1/n)) w(r)``, where
    ``r`` is the elliptical radius in units of the component's half-light radius and ``w`` takes
    it smoothly to 0 inside the frame. ``b`` is such that half of the light, the taper taken into
    account, lies within ``r = 1``, as for `galsim.Sersic` with ``trunc``.

    The frame is as wide as the light needs: `reach` half-light radii of the major axis (root mean
    square of the two components', by flux). Light is summed on 2 x 2 points in each pixel,
    4 x 4 near the centre, and on a grid refined dyadically in the four central pixels.
    """

    def __init__(self):
        self._points, self._core, self._core_weights, self._core_mask = _sample_points()
        self._log_n, self._log_reach, table = _exponent_table()
        self._table = table.astype(np.float32).ravel()

    def __call__(self, share, radius, axis_ratio, angle, index):
        """Draws galaxies.

        Args:
            share: Shares of the flux of the two components, shape ``[n, 2]``; 0 where absent.
            radius: Half-light radii, circularised sqrt(a b), arcsec, ``[n, 2]``.
            axis_ratio: Minor over major axis, ``[n, 2]``.
            angle: From +x to the major axis, radians, ``[n, 2]``.
            index: Sersic indices, ``[n, 2]``.

        Returns:
            Images ``[n, 64, 64]``, each of sum 1; pixel scales in arcsec ``[n]``; and the ellipse
            of the half-light isophotes, averaged over the components by flux, as the entries xx,
            xy, yy in pixels^2 of the matrix C of ``x^T C^-1 x = 1``, ``[n, 3]``.
        """
        major = radius / ops.sqrt(axis_ratio)
        wanted = reach(index)
        half_width = ops.sqrt(ops.sum(share * (wanted * major) ** 2, -1, keepdims=True))
        half_width = half_width / _EDGE
        major = ops.minimum(major, half_width * _EDGE / _REACH[0])
        truncation = ops.minimum(wanted, half_width * _EDGE / major)
        exponent = self._exponent(index, truncation)
        pixel = half_width * (2 / SIZE)
        # `_sharpened` takes 2 / 12 off the second moments, of which averaging over a pixel had
        # added 1 / 12.
        a = ops.sqrt((major / pixel) ** 2 + 1 / 12)
        b = ops.sqrt((major * axis_ratio / pixel) ** 2 + 1 / 12)
        cos, sin = ops.cos(angle), ops.sin(angle)
        quadratic = ops.stack(
            [
                (cos / a) ** 2 + (sin / b) ** 2,
                2 * cos * sin * (1 / a**2 - 1 / b**2),
                (sin / a) ** 2 + (cos / b) ** 2,
            ],
            axis=-1,
        )
        half = 0.0
        for k in range(2):
            light = self._component(
                quadratic[:, k],
                exponent[:, k : k + 1],
                index[:, k : k + 1],
                truncation[:, k : k + 1],
            )
            half = half + light * (
                0.5 * share[:, k : k + 1, None] / ops.sum(light, axis=(1, 2), keepdims=True)
            )
        image = ops.concatenate([ops.flip(half, axis=(1, 2)), half], axis=1)
        ellipse = [
            (cos * a) ** 2 + (sin * b) ** 2,
            cos * sin * (a**2 - b**2),
            (sin * a) ** 2 + (cos * b) ** 2,
        ]
        ellipse = ops.stack([ops.sum(share * entry, axis=1) for entry in ellipse], axis=1)
        return _sharpened(image), pixel[:, 0], ellipse

    def _component(self, quadratic, exponent, index, truncation):
        """Returns the upper half (y > 0) of one component's image, ``[n, 32, 64]``."""

        def light(points):
            squared = ops.matmul(quadratic, points)
            late = ops.clip(squared * slope + offset, 0.0, 1.0)
            fall = ops.exp(ops.log(squared) * half_power + log_exponent)
            return ops.exp(-ops.minimum(fall, 80.0)) * (1 - late * late) ** 2

        log_exponent, half_power = ops.log(exponent), 0.5 / index
        slope, offset = 1 / (1 - _TAPER) / truncation**2, -_TAPER / (1 - _TAPER)

        image = ops.sum(ops.reshape(light(self._points), (-1, 4, SIZE // 2 * SIZE)), axis=1)
        image = ops.reshape(image, (-1, SIZE // 2, SIZE))
        core = ops.matmul(light(self._core), self._core_weights)
        rows, columns = self._core_mask
        core = ops.reshape(core, (-1, rows, columns))
        margin = (SIZE - columns) // 2
        beside = image[:, :rows, :margin], core, image[:, :rows, -margin:]
        return ops.concatenate([ops.concatenate(beside, axis=2), image[:, rows:]], axis=1)

    def _exponent(self, index, truncation):
        """Interpolates the table of exponents bilinearly in log n and log truncation."""
        place, weight = [], []
        for value, knots in ((index, self._log_n), (truncation, self._log_reach)):
            x = (ops.log(value) - float(knots[0])) / float(knots[1] - knots[0])
            x = ops.clip(x, 0.0, len(knots) - 1.001)
            place.append(ops.floor(x))
            weight.append(x - ops.floor(x))
        columns = len(self._log_reach)
        first = ops.cast(place[0] * columns + place[1], "int32")
        value = 0.0
        for i in range(2):
            for j in range(2):
                w = (weight[0] if i else 1 - weight[0]) * (weight[1] if j else 1 - weight[1])
                value = value + w * ops.take(self._table, first + i * columns + j)
        return ops.exp(value)


def _sharpened(images):
    """Returns images of sum 1 that show, once drawn, the light they were averaged from.

    They are blurred twice: light is averaged over each pixel, and interpolation between pixels
    spreads a core once more. A step of Gold's deconvolution (image over blurred image) undoes a
    blur by a pixel and keeps light positive; here it is squared, for two.

    References:
        Gold 1964, ANL-6984.
    """
    padded = ops.pad(images, ((0, 0), (1, 1), (1, 1)))
    rows = padded[:, :-2] + 22 * padded[:, 1:-1] + padded[:, 2:]
    blurred = (rows[:, :, :-2] + 22 * rows[:, :, 1:-1] + rows[:, :, 2:]) / 24**2
    images = images * (images / ops.maximum(blurred, 1e-30)) ** 2
    return images / ops.sum(images, axis=(1, 2), keepdims=True)


def reach(index):
    """Returns the truncation radius that a Sersic index asks for, in half-light radii.

    0.1 % of the light of an untruncated profile lies beyond it at n = 0.5, 0.5 % at n = 1 and
    11 % at n = 4: the wings of a de Vaucouleurs profile have no end, and half a frame of them
    would leave its core no pixels.
    """
    return 2.0 + 2.4 * ops.minimum(index, 1.0) + 0.25 * ops.maximum(index - 1.0, 0.0)


def _sample_points():
    """Returns where the upper half of the frame is sampled, as rows x^2, xy, y^2.

    Returns:
        Points of the whole half ``[3, 4 * 32 * 64]`` (the four points of a pixel on the slow
        axis), points of its core ``[3, m]``, the weights that sum these over the core's pixels
        (in units of a quarter of a pixel) ``[m, 4 * 8]``, and the core's shape ``(4, 8)``.
    """
    centre = np.arange(SIZE) + 0.5 - SIZE / 2
    x, y = np.meshgrid(centre, centre[SIZE // 2 :])
    everywhere = [(x + dx, y + dy) for dy in (-0.25, 0.25) for dx in (-0.25, 0.25)]
    points = np.array([_monomials(*pair) for pair in everywhere]).transpose(1, 0, 2).reshape(3, -1)

    rows, columns = 4, 8
    xs, ys, areas, pixels = [], [], [], []

    def add(x0, y0, side, pixel, per_side=4):
        u = (np.arange(per_side) + 0.5) / per_side * side
        xx, yy = np.meshgrid(x0 + u, y0 + u)
        xs.append(xx.ravel())
        ys.append(yy.ravel())
        areas.append(np.full(xx.size, (side / per_side) ** 2))
        pixels.append(np.full(xx.size, pixel))

    for row in range(rows):
        for column in range(columns):
            left = column - columns // 2
            pixel = row * columns + column
            if row == 0 and left in (-1, 0):
                side = 1.0
                for _ in range(8):  # the three quarters away from the centre, again and again
                    side /= 2
                    near, far = (0.0, side) if left == 0 else (-side, -2 * side)
                    add(far, 0.0, side, pixel)
                    add(far, side, side, pixel)
                    add(near, side, side, pixel)
            else:
                add(left, row, 1.0, pixel)
    core = _monomials(np.concatenate(xs), np.concatenate(ys))
    weights = np.zeros((core.shape[1], rows * columns))
    weights[np.arange(len(weights)), np.concatenate(pixels)] = 4 * np.concatenate(areas)
    single = [array.astype(np.float32) for array in (points, core, weights)]
    return *single, (rows, columns)


def _monomials(x, y):
    x, y = np.ravel(x), np.ravel(y)
    return np.array([x**2, x * y, y**2])


def _exponent_table():
    """Returns log b at knots of log n and log truncation, ``[44]``, ``[40]``, ``[44, 40]``."""
    log_n = np.linspace(*np.log(N_RANGE), 44)
    log_reach = np.linspace(*np.log(_REACH), 40)
    nodes, weights = np.polynomial.legendre.leggauss(48)

    def light(b, n, truncation, start, end):
        low, high = start ** (1 / n), end ** (1 / n)  # r = t^n spreads out the core's cusp
        t = low + 0.5 * (high - low) * (nodes + 1)
        late = np.clip(((t**n / truncation) ** 2 - _TAPER) / (1 - _TAPER), 0, 1)
        profile = np.exp(-b * t) * (1 - late**2) ** 2
        return 0.5 * (high - low) * (weights @ (profile * n * t ** (2 * n - 1)))

    def excess(log_b, log_n, log_truncation):
        n, truncation = np.exp(log_n), np.exp(log_truncation)
        start = np.sqrt(_TAPER) * truncation
        shells = [
            light(np.exp(log_b), n, truncation, *ends)
            for ends in ((0, 1), (1, start), (start, truncation))
        ]
        return shells[0] / sum(shells) - 0.5

    table = [[brentq(excess, np.log(1e-3), np.log(20), (n, t)) for t in log_reach] for n in log_n]
    return log_n, log_reach, np.array(table)

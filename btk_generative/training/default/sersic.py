"""Smooth galaxies of bulge and disk, drawn in a frame scaled to the galaxy."""

import galsim
import numpy as np
from keras import ops
from scipy.linalg import toeplitz
from scipy.special import gammaincinv

SIZE = 64
"""Pixels on a side of the frame."""

N_RANGE = (0.3, 6.0)
"""Sersic indices that can be drawn."""

_TAPER = 0.6  # share of the squared truncation radius at which the taper begins
_EDGE = 0.985  # of the frame's half-width: largest truncation radius
_FINE = (0.055, 0.085)  # arcsec: wings are drawn as far out as pixels of this size allow, and
_PIXEL = 0.28  # half-light radii, for steep profiles between these
_REACH = (2.2, 60.0)  # range of truncation radii, in half-light radii, that the table covers
_THINNEST = 0.25  # pixels: half-light radii do not go below it
_SUBPIXELS = 2  # on a side of a pixel; `_image` takes its mean over two
_CORE, _FLAT = 4, 1.5  # pixels from the centre, in x or y, to which light is sampled more finely
_BRIGHT = 2.0  # pixels from the centre, within which there may be more than the sampled light
_AROUND = 9  # pixels from the centre, in x or y, that light of the core enters
_RIPPLE = 0.1  # share of the light in a pixel by which it may differ from that light
_ROUNDS = 2  # of moving what exceeds it to the pixels around
_STEPS = 200  # of the tabulated interpolant in a pixel, even


class BulgeDiskDecoder:
    """Draws the sum of two Sersic profiles, of flux 1.

    A component's isophotes are concentric ellipses. Its profile is ``exp(-b r^(1/n)) w(r)``, where
    ``r`` is the elliptical radius in units of the component's half-light radius, ``b`` is that of
    an untruncated Sersic profile, and ``w`` takes it smoothly to 0 inside the frame. The light that
    the frame cuts off is put into the wings: with ``w`` above 1 there, and 1 within ``r = 1``, the
    half-light radius is as asked and the bright part is that of `galsim.Sersic`.

    The frame is as wide as the light needs: at least `reach` half-light radii of the major axis
    (root mean square of the two components', by flux), and where its pixels are fine enough more; a
    component that is small in it extends to its edge.

    An image is drawn through an interpolant. The pixels are those with which the interpolated image
    is nearest to the profile (least squares). Next to what is much narrower than a pixel, such as
    the cusp of a large steep profile, they would ripple: there, pixels are kept near the light in
    them. The integrals that this takes are sums over 2 x 2 points in each pixel, and over many
    more near the centre.
    """

    def __init__(self):
        places, areas, self._core_weights = _core()
        # Along each axis, first the first points of all pixels, then the second.
        grid = (np.arange(_SUBPIXELS * SIZE) + 0.5) / _SUBPIXELS - SIZE / 2
        grid = grid.reshape(-1, _SUBPIXELS).T.ravel()
        upper = _monomials(*np.meshgrid(grid, grid[grid > 0]))
        self._points = np.concatenate([upper, _monomials(*places)], axis=1).astype(np.float32)
        self._grid_size = upper.shape[1]
        areas = np.concatenate([np.full(self._grid_size, _SUBPIXELS**-2.0), areas])
        self._areas = areas.astype(np.float32)
        pixel = np.arange(SIZE) + 0.5 - SIZE / 2
        self._column_weights = (_entering(grid[:, None] - pixel) / _SUBPIXELS).astype(np.float32)
        # What is above the centre enters that half of the image, and turned so does what is below.
        above, half = grid[grid > 0], pixel[SIZE // 2 :, None]
        rows = np.concatenate([_entering(half - above), _entering(half + above)])
        self._row_weights = (rows / _SUBPIXELS).astype(np.float32)
        distance = np.hypot(pixel, pixel[SIZE // 2 :, None])
        self._away = (distance > _BRIGHT).astype(np.float32)
        self._log_n, self._log_reach, log_b, raising = _tables()
        self._log_b_table = log_b.astype(np.float32)
        self._raising_table = raising.astype(np.float32).ravel()

    def __call__(self, share, radius, axis_ratio, angle, index):
        """Draws galaxies.

        Args:
            share: Shares of the flux of the two components, shape ``[n, 2]``; 0 where absent.
            radius: Half-light radii, circularised sqrt(a b), arcsec, ``[n, 2]``.
            axis_ratio: Minor over major axis, ``[n, 2]``.
            angle: From +x to the major axis, radians, ``[n, 2]``.
            index: Sersic indices, ``[n, 2]``.

        Returns:
            Images ``[n, 64, 64]``, each of sum 1; pixel scales in arcsec ``[n]``; the ellipse
            of the half-light isophotes, averaged over the components by flux, as the entries xx,
            xy, yy in pixels^2 of the matrix C of ``x^T C^-1 x = 1``, ``[n, 3]``; and the frame's
            half-width over that which `reach` asks for, ``[n]``.
        """
        major = radius / ops.sqrt(axis_ratio)
        near, far = (
            ops.sqrt(ops.sum(share * (wide(index) * major) ** 2, axis=1, keepdims=True))
            for wide in (reach, _far_reach)
        )
        # The wings of steep profiles weigh more, but not more than a core of a few pixels.
        steep = ops.sum(share * ops.clip((index - 1) / 3, 0.0, 1.0), axis=1, keepdims=True)
        size = ops.sum(share * radius, axis=1, keepdims=True)
        fine = ops.clip(_PIXEL * size, *_FINE) - _FINE[0]
        fine = _FINE[0] + fine * steep**2
        half_width = ops.maximum(near, ops.minimum(far, fine * (_EDGE * SIZE / 2))) / _EDGE
        major = ops.minimum(major, half_width * _EDGE / _REACH[0])
        truncation = ops.minimum(half_width * _EDGE / major, _REACH[1])
        pixel = half_width * (2 / SIZE)
        a, b = major / pixel, major * axis_ratio / pixel
        a, b = ((length**4 + _THINNEST**4) ** 0.25 for length in (a, b))
        cos, sin = ops.cos(angle), ops.sin(angle)
        quadratic = ops.stack(
            [
                (cos / a) ** 2 + (sin / b) ** 2,
                2 * cos * sin * (1 / a**2 - 1 / b**2),
                (sin / a) ** 2 + (cos / b) ** 2,
            ],
            axis=-1,
        )
        profile = (self._log_b(index), index, truncation, self._raising(index, truncation))
        scale = pixel[:, 0] * _stretch(share, radius, *profile)
        # Of absent components nothing but radii is reckoned. The rest must not depend on the number
        # of rows, to the bit: no matrix product, no logarithm of a short vector.
        squared = ops.matmul(ops.reshape(quadratic, (-1, 3)), self._points)
        there = ops.nonzero(ops.reshape(share, (-1,)) > 0)[0]
        squared = ops.take(squared, there, axis=0)
        *shape, flux = (ops.take(ops.reshape(x, (-1, 1)), there, axis=0) for x in (*profile, share))
        light = _light(squared, *shape)
        light = light * (flux / ops.sum(light * self._areas, axis=1, keepdims=True))
        light = ops.segment_sum(light, there // 2, sorted=True)
        ellipse = [
            (cos * a) ** 2 + (sin * b) ** 2,
            cos * sin * (a**2 - b**2),
            (sin * a) ** 2 + (cos * b) ** 2,
        ]
        ellipse = ops.stack([ops.sum(share * entry, axis=1) for entry in ellipse], axis=1)
        return self._image(light), scale, ellipse, (half_width * _EDGE / near)[:, 0]

    def _image(self, light):
        """Returns the image of light at the sampled points of the upper half, ``[n, 64, 64]``."""
        grid, core = light[:, : self._grid_size], light[:, self._grid_size :]
        rows = ops.matmul(ops.reshape(grid, (-1, _SUBPIXELS * SIZE)), self._column_weights)
        rows = ops.matmul(self._row_weights, ops.reshape(rows, (-1, SIZE, SIZE)))
        half = rows[:, : SIZE // 2] + ops.flip(rows[:, SIZE // 2 :], axis=2)
        core = ops.reshape(ops.matmul(core, self._core_weights), (-1, _AROUND, 2 * _AROUND))
        margin = SIZE // 2 - _AROUND
        half = half + ops.pad(core, ((0, 0), (0, margin), (margin, margin)))
        mean = ops.reshape(grid, (-1, 2, SIZE * SIZE))
        mean = ops.reshape(mean[:, 0] + mean[:, 1], (-1, SIZE // 2, 2, SIZE))
        mean = 0.25 * (mean[:, :, 0] + mean[:, :, 1])
        for _ in range(_ROUNDS):
            missing = ops.maximum((1 - _RIPPLE) * mean - half, 0.0)
            surplus = self._away * ops.maximum(half - (1 + _RIPPLE) * mean, 0.0)
            half = half + (missing - surplus - _spread(missing - surplus))
        half = ops.maximum(half, 0.0)
        return _whole(half * (0.5 / ops.sum(half, axis=(1, 2), keepdims=True)))

    def _log_b(self, index):
        """Returns log b, linear in log n between knots."""
        return interpolate(ops.log(index), self._log_n, self._log_b_table)

    def _raising(self, index, truncation):
        """Interpolates the raising bilinearly in log n and log truncation."""
        row, u = place_between(ops.log(index), self._log_n)
        column, v = place_between(ops.log(truncation), self._log_reach)
        columns = len(self._log_reach)
        first = ops.cast(row * columns + column, "int32")
        value = 0.0
        for i in range(2):
            for j in range(2):
                w = (u if i else 1 - u) * (v if j else 1 - v)
                value = value + w * ops.take(self._raising_table, first + i * columns + j)
        return value


def interpolate(value, knots, table):
    """Returns the values of a table at places between its evenly spaced knots, clipped to these."""
    low, weight = place_between(value, knots)
    first = ops.cast(low, "int32")
    below, above = ops.take(table, first), ops.take(table, first + 1)
    return below + weight * (above - below)


def place_between(value, knots):
    """Returns the knot at or below values, and how far they lie from it to the next."""
    x = (value - float(knots[0])) / float(knots[1] - knots[0])
    x = ops.clip(x, 0.0, len(knots) - 1.001)
    low = ops.floor(x)
    return low, x - low


def _light(squared, log_b, index, truncation, raising):
    """Returns a component's profile at squared elliptical radii, ``[n, points]``."""
    fall = ops.exp(ops.log(squared) * (0.5 / index) + log_b)
    return ops.exp(-fall) * _weight(squared, truncation, raising)


def _weight(squared, truncation, raising, math=ops):
    """Returns w at squared radii; ``math`` is numpy or keras.ops."""
    late = squared * (1 / (1 - _TAPER) / truncation**2) - _TAPER / (1 - _TAPER)
    late = math.clip(late, 0.0, 1.0)
    outside = (1 - 1 / math.maximum(squared, 1.0)) * squared / truncation**2
    return (1 - late * late) ** 2 * (1 + raising * outside * outside)


def _stretch(share, radius, log_b, index, truncation, raising):
    """Returns the half-light radius asked, of both components, over that of the drawn, ``[n]``.

    Each component has its own half of the light within its own radius, but at other radii what
    the frame cuts off is missing.
    """
    b = ops.exp(log_b)
    endless = _half_light_radius(share, radius, b, index, _REACH[1] + 0 * truncation, 0 * raising)
    return endless / _half_light_radius(share, radius, b, index, truncation, raising)


def _half_light_radius(share, radius, *profile):
    """Returns the half-light radius of two components together, taken as circular, ``[n]``.

    It lies between theirs, where light is interpolated linearly in the logarithm of radius.
    """
    low, high = (ops.log(end(radius, axis=1, keepdims=True)) for end in (ops.min, ops.max))
    knots = ops.exp(low + (high - low) * np.linspace(0, 1, 9, dtype=np.float32))
    within = 0.0
    for k in range(2):
        one = (ops.expand_dims(x[:, k : k + 1], 2) for x in profile)
        knots_and_one = ops.concatenate([knots / radius[:, k : k + 1], ops.ones_like(low)], axis=1)
        light = _light_within(knots_and_one, *one)
        within = within + share[:, k : k + 1] * light[:, :-1] / (2 * light[:, -1:])
    steps = (0.5 - within[:, :-1]) / (within[:, 1:] - within[:, :-1] + 1e-6)
    steps = ops.mean(ops.clip(steps, 0.0, 1.0), axis=1, keepdims=True)
    return ops.exp(low + (high - low) * steps)[:, 0]


def _light_within(radius, b, index, truncation, raising):
    """Returns the light of a profile within radii, ``[n, radii]``, up to a factor."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    nodes, weights = (0.5 + 0.5 * nodes).astype(np.float32), weights.astype(np.float32)
    # r = t^n spreads out the core's cusp.
    end = ops.minimum(ops.expand_dims(radius, 2), truncation)
    end = ops.exp(ops.log(end) / index)
    end = ops.minimum(end, 30 / b)
    t = end * nodes
    power = ops.exp(ops.log(t) * (2 * index))
    light = power / t * ops.exp(-b * t) * _weight(power, truncation, raising)
    return ops.sum(light * (weights * end), axis=2)


def _whole(half):
    """Returns the whole of images of which the upper half is given: they are symmetric."""
    return ops.concatenate([ops.flip(half, axis=(1, 2)), half], axis=1)


def _spread(half):
    """Returns the means over 3 x 3 pixels, of and in the upper half of images."""
    below = ops.flip(half[:, :1], axis=2)
    rows = ops.concatenate([below, half, ops.zeros_like(below)], axis=1)
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    rows = ops.pad(rows, ((0, 0), (0, 0), (1, 1)))
    return (rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]) * (1 / 9)


def reach(index):
    """Returns the truncation radius that a Sersic index asks for, in half-light radii.

    0.1 % of the light lies beyond it at n = 0.5, 0.5 % at n = 1 and 11 % at n = 4: the wings of a
    de Vaucouleurs profile have no end, and half a frame of them would leave its core no pixels.
    """
    return 2.0 + 2.4 * ops.minimum(index, 1.0) + 0.25 * ops.maximum(index - 1.0, 0.0)


def _far_reach(index):
    """Returns the truncation radius beyond which there is little: 2 % of the light at n = 4."""
    return 2.0 + 2.4 * ops.minimum(index, 1.0) + 3.0 * ops.maximum(index - 1.0, 0.0)


def _entering(distance):
    """Returns with what weight light enters a pixel at a distance, along one axis.

    With pixels c_j, the interpolant Q draws sum_j c_j Q(x - j). The c_j of least squares for a
    profile f solve sum_j <Q_i, Q_j> c_j = <Q_i, f>, so that they are integrals of f times the
    function that is returned, sum_j (<Q, Q>^-1)_0j Q(x - j).
    """
    shifts = np.arange(-12, 13)
    place = np.arange(-3 * _STEPS, 3 * _STEPS + 1) / _STEPS
    quintic = galsim.Quintic().xval(place)
    products = [np.interp(place + k, place, quintic, 0, 0) @ quintic / _STEPS for k in range(25)]
    factors = np.linalg.inv(toeplitz(products))[12]
    return sum(
        factor * np.interp(distance - shift, place, quintic, 0, 0)
        for factor, shift in zip(factors, shifts, strict=True)
    )


def _core():
    """Returns how the light near the centre is sampled, in the upper half of the frame.

    The sums over these points are added to those over the grid, whose points are therefore among
    them with the opposite sign. Further out, they fade.

    Returns:
        Places x and y ``[2, m]``, the areas that they stand for ``[m]``, and the weights with which
        their light enters the pixels around, ``[m, _AROUND * 2 * _AROUND]``.
    """
    samples = []

    coarse = (np.arange(_SUBPIXELS) + 0.5) / _SUBPIXELS
    fine = np.add.outer([0.25, 0.75], [-(48**-0.5), 48**-0.5]).ravel()  # Gauss's, in each half

    def add(x, y, side, points=fine, sign=1):
        xy = np.stack(np.meshgrid(x + side * points, y + side * points)).reshape(2, -1)
        samples.append((*xy, np.full(xy.shape[1], sign * (side / len(points)) ** 2)))

    for y in range(_CORE):
        for x in range(-_CORE, _CORE):
            add(x, y, 1.0, coarse, -1)
            if y > 0 or x not in (-1, 0):
                add(x, y, 1.0)
                continue
            side = 1.0
            for _ in range(8):  # the three quarters away from the centre, again and again
                side /= 2
                near, far = (0.0, side) if x == 0 else (-side, -2 * side)
                add(far, 0.0, side)
                add(far, side, side)
                add(near, side, side)
    x, y, areas = np.concatenate(samples, axis=1)
    for distance in (x, y):
        late = np.clip((np.abs(distance) - _FLAT) / (_CORE - _FLAT), 0, 1)
        areas = areas * (1 - late**3 * (10 - 15 * late + 6 * late**2))
    pixel = np.arange(2 * _AROUND) + 0.5 - _AROUND
    weights = sum(
        _entering(pixel[_AROUND:, None] - sign * y)[:, None] * _entering(pixel[:, None] - sign * x)
        for sign in (1, -1)  # and of the point opposite
    )
    return np.stack([x, y]), areas, (weights.reshape(-1, len(areas)) * areas).T.astype(np.float32)


def _monomials(x, y):
    """Returns x^2, xy and y^2 as rows."""
    x, y = np.ravel(x), np.ravel(y)
    return np.array([x**2, x * y, y**2])


def _tables():
    """Returns b, and how far the wings are raised.

    Returns:
        Knots of log n ``[44]`` and of log truncation ``[40]``; log b ``[44]``; and the raising that
        makes the light outside the half-light radius equal to that inside, ``[44, 40]``.
    """
    log_n = np.linspace(*np.log(N_RANGE), 44)
    log_reach = np.linspace(*np.log(_REACH), 40)
    indices, truncations = np.exp(log_n), np.exp(log_reach)
    exponents = gammaincinv(2 * indices, 0.5)
    nodes, weights = np.polynomial.legendre.leggauss(48)

    def light(b, n, truncation, start, end):
        """Returns the light between two radii without a raising, and what one of 1 adds to it."""
        low, high = start ** (1 / n), end ** (1 / n)  # r = t^n spreads out the core's cusp
        t = low + 0.5 * (high - low) * (nodes + 1)
        sersic = np.exp(-b * t) * n * t ** (2 * n - 1)
        plain, raised = (_weight(t ** (2 * n), truncation, raising, np) for raising in (0, 1))
        return 0.5 * (high - low) * (np.stack([plain, raised - plain]) * sersic @ weights)

    def raising(b, n, truncation):
        tapered = np.sqrt(_TAPER) * truncation
        inside, _ = light(b, n, truncation, 0, 1)
        outside, more = sum(
            light(b, n, truncation, *ends) for ends in ((1, tapered), (tapered, truncation))
        )
        return (inside - outside) / more

    pairs = zip(exponents, indices, strict=True)
    table = [[raising(b, n, truncation) for truncation in truncations] for b, n in pairs]
    return log_n, log_reach, np.log(exponents), np.array(table)

"""Structure: what multiplies a smooth galaxy, drawn from what real galaxies show."""

import numpy as np
from keras import ops
from scipy import ndimage
from scipy.special import gammaincinv

from btk_generative.training.default.constraints import (
    constraints,
    monomials,
    shape_constraints,
    shape_under,
    squared_radius,
)
from btk_generative.training.default.residuals import GRID, HALF_WIDTH, Residuals
from btk_generative.training.default.sersic import N_RANGE, SIZE, interpolate
from btk_generative.training.flow import CouplingFlow

_COARSE = SIZE // 2  # pixels on a side of the grid on which the constraints are solved
_NEWTON_STEPS = 2
_HIGHEST = 3.5  # limit of the logarithm of structure after the tilt
_RINGS = (0.0, 0.3, 0.7, 1.1, 1.6, 2.2, 3.0, 4.0)  # half-light radii between which light stays
_CORE = 0.2  # half-light radii within which structure fades
_INNER, _OUTER = 2.0, 4.0  # half-light radii between which structure fades
_USUAL_RADIUS = 0.2  # arcsec, half-light; a galaxy half as large has twice the structure
_RELATIVE = (0.3, 3.0)  # limits of that factor
_LINEAR = 2.0  # of the logarithm of structure: beyond it grows only logarithmically
_KNOT_FROM = 0.7  # a galaxy has a knot if a normal random number lies above: a quarter have
_KNOT_LIGHT = 0.08  # arcsec: over the half-light radius it gives the knot's share of the light
_KNOT_SHARE = (0.12, 0.5)  # limits of that share
_KNOT_WIDTH = 0.12  # half-light radii, of a Gaussian
_KNOT_PLACE = 0.8  # half-light radii from the centre, along the major axis, rms
_TINY = 1e-12  # of light, where there is none
_INDEX = np.linspace(*np.log(N_RANGE), 33)


def fit_basis(residuals: Residuals, size: int, steps: int, seed: int):
    """Fits a linear model of structure, by factor analysis with known noise.

    ``ratio = z @ basis + noise``, z standard normal, the noise of each pixel as measured; galaxies
    enter also mirrored in x, in y and in both. Expectation maximisation starts from principal
    components of each parity, and keeps them apart.

    Args:
        residuals: What to fit.
        size: Number of factors, a multiple of 4.
        steps: Number of steps of expectation maximisation.
        seed: Seed of the sampled factors.

    Returns:
        Basis ``[size, GRID, GRID]``, and a sample of the factors of each galaxy, given its ratio,
        ``[4, n, size]``.
    """
    ratio, weight = (
        np.stack([flipped(x, k) for k in range(4)]).reshape(-1, GRID * GRID)
        for x in (residuals.ratio, residuals.weight)
    )
    basis = _principal(ratio, weight, size)
    eye = np.eye(size, dtype=np.float32)
    pairs = np.triu_indices(size)
    for step in range(steps + 1):
        products = (basis[pairs[0]] * basis[pairs[1]]).T  # [pixels, pairs]
        precision = np.empty((len(ratio), size, size), np.float32)
        half = weight @ products
        precision[:, pairs[0], pairs[1]] = half
        precision[:, pairs[1], pairs[0]] = half
        covariance = np.linalg.inv(precision + eye)
        mean = np.einsum("nij,nj->ni", covariance, (weight * ratio) @ basis.T)
        if step == steps:
            break
        second = covariance + mean[:, :, None] * mean[:, None, :]
        left = np.empty((GRID * GRID, size, size), np.float32)
        half = weight.T @ second[:, pairs[0], pairs[1]]
        left[:, pairs[0], pairs[1]] = half
        left[:, pairs[1], pairs[0]] = half
        right = (weight * ratio).T @ mean
        basis = np.linalg.solve(left + 20 * eye, right[..., None])[..., 0].T
    rng = np.random.default_rng(seed)
    root = np.linalg.cholesky(covariance)
    factors = mean + np.einsum("nij,nj->ni", root, rng.standard_normal(mean.shape))
    return (
        basis.reshape(size, GRID, GRID).astype(np.float32),
        factors.reshape(4, -1, size).astype(np.float32),
    )


def flipped(images, which: int):
    """Returns images mirrored in x (1), in y (2) or in both (3)."""
    images = images[..., ::-1] if which & 1 else images
    return images[..., ::-1, :] if which & 2 else images


def _principal(ratio, weight, size):
    """Returns principal components, as many of each of the four parities."""
    known = np.where(weight > 1, ratio, 0.0)[: len(ratio) // 4].reshape(-1, GRID, GRID)
    basis = []
    for x in (1, -1):
        for y in (1, -1):
            part = 0.25 * sum(
                (x if k & 1 else 1) * (y if k & 2 else 1) * flipped(known, k) for k in range(4)
            )
            _, values, vectors = np.linalg.svd(part.reshape(len(part), -1), full_matrices=False)
            basis.append(vectors[: size // 4] * values[: size // 4, None] / np.sqrt(len(part)))
    return np.concatenate(basis).astype(np.float32)


class StructureModel:
    """Draws structure: factors from a flow, given axis ratio and concentration; then the field.

    The field m multiplies a smooth profile P as exp(m). A quarter of the galaxies also have a knot,
    a share of their light in one place, which enters m as the logarithm of the light with it over
    P. The field is made to leave the mean light of elliptical rings as it is in P, and then tilted,
    ``m + sum_j c_j psi_j``, by the few smooth functions psi whose sums over the light are to be
    those over P: flux, flux within the half-light ellipse, and Gaussian-weighted centroid.
    So are ellipticity and size under two Gaussian weights, but that they are the catalogue's: P has
    other Sersic indices, and its core may be narrower than its pixels.
    """

    def __init__(self, basis, residuals: Residuals, gain: float, seed: int, **flow_options):
        """Sets up the decoder, and an untrained flow.

        Args:
            basis: See `fit_basis`.
            residuals: Training data.
            gain: What the field is multiplied by.
            seed: Seed of the flow's initial weights.
            flow_options: Passed on to `CouplingFlow`.
        """
        fading = basis * _window()
        splines = [ndimage.spline_filter(b, order=3, mode="grid-constant") for b in fading]
        self.basis = np.reshape(splines, (len(basis), -1)).astype(np.float32)
        zoom = {"order": 3, "grid_mode": True, "mode": "nearest"}
        self._enlarge = ndimage.zoom(np.eye(_COARSE), (SIZE / _COARSE, 1), **zoom).astype(
            np.float32
        )
        self.gain = gain
        seen = np.stack([residuals.axis_ratio, residuals.concentration], axis=1)
        self.mean, self.sd = seen.mean(0).astype(np.float32), seen.std(0).astype(np.float32)
        self.flow = CouplingFlow(len(basis), 2, seed=seed, **flow_options)
        self.flow.build([(None, len(basis)), (None, 2)])
        place = (np.arange(SIZE) + 0.5 - SIZE / 2).astype(np.float32)
        self._place = place[None, :] * (2 * HALF_WIDTH / SIZE)
        self._nodes = (np.arange(GRID) + 0.5 - GRID / 2).astype(np.float32)
        self._fine = monomials(place)
        self._coarse = monomials(place.reshape(-1, 2).mean(1))

    @property
    def random_size(self) -> int:
        """Number of normal random numbers that structure takes."""
        return len(self.basis) + 3

    def encode(self, axis_ratio, concentration):
        """Returns the flow's context, ``[n, 2]``; far values saturate."""
        seen = ops.stack([axis_ratio, concentration], axis=1)
        return 2.5 * ops.tanh((seen - self.mean) / self.sd / 2.5)

    def draw(
        self,
        smooth,
        ellipse,
        weights,
        shapes,
        zoom,
        radius,
        axis_ratio,
        concentration,
        random_normal,
        strength,
    ):
        """Returns images with structure, of sum 1, and by how much their radii have grown.

        The tilt keeps the half-light radius on a coarse grid; the factor is what is left.

        Args:
            smooth: Smooth profiles, ``[n, 64, 64]``, of sum 1.
            ellipse: Of the half-light isophote, as `BulgeDiskDecoder` gives it, ``[n, 3]``.
            weights: Of moments that are kept, see `shape_weights`.
            shapes: By how much the smooth profile's are to change under these weights, but for the
                ellipticity under the first, which is the one to have; ``[n, 3]`` each.
            zoom: Half-width of the frame over that which `reach` gives, ``[n]``.
            radius: Half-light radius, arcsec, ``[n]``.
            axis_ratio: Of the galaxy, ``[n]``.
            concentration: r20 / r80, ``[n]``.
            random_normal: ``[n, random_size]``.
            strength: Factor of the field, ``[n, 1]``.

        Returns:
            Images ``[n, 64, 64]`` and half-light radii over those of the smooth profiles ``[n]``.
        """
        usual, knot = random_normal[:, : len(self.basis)], random_normal[:, len(self.basis) :]
        factors = self.flow.inverse(usual, self.encode(axis_ratio, concentration))
        # Concentrated galaxies are smoother, in the stamps in proportion to r20 / r80; so are those
        # that are large on the sky.
        relative = concentration / self.mean[1]
        relative = relative * ops.clip(_USUAL_RADIUS / radius, *_RELATIVE)
        place = self._place * zoom[:, None]
        field = self._field(factors * (strength * self.gain * relative[:, None]), place)
        # Neither holes nor beacons; yet what is strong stays stronger than what is not.
        field = ops.sign(field) * _LINEAR * ops.log1p(ops.abs(field) / _LINEAR)
        smooth = ops.reshape(smooth, (-1, SIZE * SIZE))
        light = smooth * ops.exp(field)
        light = light / ops.sum(light, axis=1, keepdims=True)
        share = strength * ops.clip(_KNOT_LIGHT / radius, *_KNOT_SHARE)[:, None]
        share = ops.where(knot[:, :1] > _KNOT_FROM, share, 0.0)
        light = (1 - share) * light + share * _knot(knot[:, 1:], place, axis_ratio)
        field = ops.log((light + _TINY) / (smooth + _TINY))
        seen = [shape_under(smooth, weight, self._fine) for weight in weights]
        near, far = shapes[0] + seen[0] * np.array([0, 0, 1], np.float32), shapes[1] + seen[1]
        correction = self._correction(smooth, light, ellipse, weights, (near, far))
        field = field + ops.reshape(correction, (-1, SIZE * SIZE))
        light = smooth * ops.exp(_limited(field))
        light = light / ops.sum(light, axis=1, keepdims=True)
        growth = self._growth(smooth, light, ellipse)
        return ops.reshape(light, (-1, SIZE, SIZE)), growth

    def _field(self, factors, place):
        """Returns the field at pixels ``place`` of both axes, ``[n, 4096]``."""
        distance = ops.expand_dims(place * (0.5 * GRID / HALF_WIDTH), 2) - self._nodes
        distance = ops.abs(distance)
        weights = ops.maximum(2 - distance, 0.0) ** 3 - 4 * ops.maximum(1 - distance, 0.0) ** 3
        weights = weights * (1 / 6)  # of cubic B-splines
        field = ops.reshape(ops.matmul(factors, self.basis), (-1, GRID, GRID))
        field = ops.matmul(ops.matmul(weights, field), ops.transpose(weights, (0, 2, 1)))
        core = ops.exp(place**2 * (-0.5 / _CORE**2))
        field = field * (1 - ops.expand_dims(core, 1) * ops.expand_dims(core, 2))
        return ops.reshape(field, (-1, SIZE * SIZE))

    def _correction(self, smooth, light, ellipse, weights, shapes):
        """Returns what is added to the field, ``[n, 64, 64]``, found on a coarse grid."""
        fine = smooth
        smooth, light = _pool(smooth), _pool(light)
        radius = ops.sqrt(squared_radius(ellipse, self._coarse))
        level = _ring_levels(smooth, light, radius)
        functions = constraints(ellipse, weights, shapes, self._coarse)
        wanted = ops.matmul(functions, smooth[:, :, None])
        # Of a light that has the shapes, the sums over the last functions are 0.
        count = 3 * len(shapes)
        finer = shape_constraints(weights, shapes, self._fine)
        finer = ops.matmul(ops.stack(finer, axis=1), fine[:, :, None])
        wanted = ops.concatenate([wanted[:, :-count], wanted[:, -count:] - finer], axis=1)
        start = ops.log((light + _TINY) / (smooth + _TINY))
        field = start + level
        ridge = 1e-5 * np.eye(functions.shape[1], dtype=np.float32)
        for _ in range(_NEWTON_STEPS):  # the tilt
            limited = _limited(field)
            light = smooth * ops.exp(limited)
            excess = ops.matmul(functions, light[:, :, None]) - wanted
            response = functions * (light * (1 - (limited / _HIGHEST) ** 2))[:, None, :]
            slope = ops.matmul(response, ops.transpose(functions, (0, 2, 1))) + ridge
            step = -ops.solve(slope, excess)
            change = ops.matmul(ops.transpose(step, (0, 2, 1)), functions)[:, 0]
            # No step changes the field by more than 1 anywhere.
            damping = 1 / ops.maximum(ops.max(ops.abs(change), axis=1, keepdims=True), 1.0)
            field = field + damping * change
        correction = ops.reshape(field - start, (-1, _COARSE, _COARSE))
        return ops.matmul(ops.matmul(self._enlarge, correction), self._enlarge.T)

    def _growth(self, smooth, light, ellipse):
        """Returns by what factor the half-light radius has grown, ``[n]``, to first order."""
        squared = squared_radius(ellipse, self._fine)
        inside = ops.sigmoid((1 - squared) / 0.1)
        missing = ops.sum((smooth - light) * inside, axis=1)
        slope = ops.sum(light * inside * (1 - inside) * squared, axis=1) * (2 / 0.1)
        return ops.exp(ops.clip(missing / slope, -0.2, 0.2))


def _knot(random_normal, place, axis_ratio):
    """Returns a round Gaussian of sum 1 somewhere in the galaxy, ``[n, 4096]``.

    Args:
        random_normal: Of its place in x and y, ``[n, 2]``.
        place: Of the pixels of both axes, half-light radii, ``[n, 64]``.
        axis_ratio: Of the galaxy, ``[n]``.
    """
    x, y = (_KNOT_PLACE * random_normal[:, k : k + 1] for k in range(2))
    x, y = (
        ops.exp((place - centre) ** 2 * (-0.5 / _KNOT_WIDTH**2))
        for centre in (x, y * axis_ratio[:, None])
    )
    x, y = (along / (ops.sum(along, axis=1, keepdims=True) + 1e-6) for along in (x, y))
    return ops.reshape(ops.expand_dims(y, 2) * ops.expand_dims(x, 1), (-1, SIZE * SIZE))


def _limited(field):
    """Returns a field of which no value is beyond ``_HIGHEST``."""
    return _HIGHEST * ops.tanh(field / _HIGHEST)


def _ring_levels(smooth, light, radius):
    """Returns the field that gives each ring the smooth profile's light back, ``[n, pixels]``.

    It is linear in radius between the rings.
    """
    level, knots = 0.0, (-1.0, *_RINGS)
    for low, middle, high in zip(knots, _RINGS, _RINGS[1:], strict=False):
        rise, fall = (radius - low) / (middle - low), (high - radius) / (high - middle)
        ring = ops.clip(ops.minimum(rise, fall) if middle > 0 else fall, 0.0, 1.0)
        before = ops.sum(smooth * ring, axis=1, keepdims=True) + 1e-6
        after = ops.sum(light * ring, axis=1, keepdims=True) + 1e-6
        level = level + ring * ops.clip(ops.log(before / after), -1.0, 1.0)
    return level


def _window():
    """Returns what takes the basis to 0 in the outskirts, lost in noise, ``[GRID, GRID]``."""
    place = (np.arange(GRID) + 0.5 - GRID / 2) / (GRID / 2) * HALF_WIDTH
    radius = np.hypot(*np.meshgrid(place, place))
    late = np.clip((radius - _INNER) / (_OUTER - _INNER), 0, 1)
    return 0.5 * (1 + np.cos(np.pi * late))


def concentration(share, index):
    """Returns r20 / r80 of Sersic profiles, averaged over the components by flux, ``[n]``."""
    n = np.exp(_INDEX)
    b = [gammaincinv(2 * n, s) for s in (0.2, 0.8)]
    table = ((b[0] / b[1]) ** n).astype(np.float32)
    return ops.sum(share * interpolate(ops.log(index), _INDEX, table), axis=1)


def _pool(images):
    """Returns the sums over 2 x 2 pixels of flat images, ``[n, pixels / 4]``."""
    pairs = np.tile(np.repeat(np.eye(_COARSE, dtype=np.float32), 2, axis=0), (2, 1))
    return ops.reshape(ops.matmul(ops.reshape(images, (-1, 2 * SIZE)), pairs), (-1, _COARSE**2))

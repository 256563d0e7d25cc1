"""Which moments of the light structure keeps."""

import numpy as np
from keras import ops

_CENTRE_WIDTH = 1.5  # half-light radii, sigma of the Gaussian weight of the centroid
_NEAR, _FAR = 0.6, 1.6  # of those of size and ellipticity, for an exponential profile and no PSF
_SEEING = (0.08, 0.33)  # arcsec, sigma of the PSFs of space and ground, which widen the weights
_WIDEST = 3.5  # half-light radii by which they do so at most
_RESOLVED = 1.5  # pixels, the least width
_EXPONENTIAL = 0.275  # r20 / r80


def shape_weights(ellipse, pixel_scale, concentration):
    """Returns the matrices of the Gaussian weights under which ellipticities are kept.

    The adaptive weight of a galaxy is as wide as its bright part, and through a PSF it weighs the
    light before the PSF with twice the PSF's square added. The weights have the ellipse of the
    light, under which it has the same ellipticity whatever its profile.

    Args:
        ellipse: Of the half-light isophote, entries xx, xy, yy in pixels^2, ``[n, 3]``.
        pixel_scale: Arcsec, ``[n]``.
        concentration: r20 / r80, ``[n]``.

    Returns:
        Entries of W of the weights ``exp(-x^T W^-1 x / 2)`` as from space and as from the ground,
        ``[n, 3]`` each.
    """
    radius = 0.5 * (ellipse[:, 0:1] + ellipse[:, 2:3])
    relative = (ops.maximum(concentration, 0.05) * (1 / _EXPONENTIAL))[:, None]
    near = ops.maximum(_NEAR * relative, _RESOLVED / ops.sqrt(radius))
    far = _FAR * relative**0.65
    wider = [2 * (sigma / pixel_scale[:, None]) ** 2 / radius for sigma in _SEEING]
    near, far = (
        width**2 + ops.minimum(more, _WIDEST**2)
        for width, more in zip((near, far), wider, strict=True)
    )
    return near * ellipse, far * ellipse


def shape_under(light, matrix, places):
    """Returns the shape of light under a weight, as `SersicMoments` gives it, ``[n, 3]``."""
    squared = squared_radius(matrix, places)
    light = light * ops.exp(-0.5 * squared)
    xx, xy, yy = (ops.sum(light * m, axis=1) for m in places[2:])
    size = ops.sum(light * squared, axis=1) / ops.sum(light, axis=1)
    return ops.stack([(xx - yy) / (xx + yy), 2 * xy / (xx + yy), size], axis=1)


def shape_constraints(weights, shapes, places):
    """Returns functions whose sums over light of these shapes are 0, ``[n, pixels]`` each."""
    functions = []
    for matrix, wanted in zip(weights, shapes, strict=True):
        scale = 0.5 * (matrix[:, 0:1] + matrix[:, 2:3])
        squared = squared_radius(matrix, places)
        weight = ops.exp(-0.5 * squared)
        x2, xy, y2 = (weight / scale * m for m in places[2:])
        functions += [x2 - y2 - wanted[:, :1] * (x2 + y2), 2 * xy - wanted[:, 1:2] * (x2 + y2)]
        functions.append(weight * (squared - wanted[:, 2:]))
    return functions


def constraints(ellipse, weights, shapes, places):
    """Returns the functions whose sums over the light structure keeps, ``[n, 10, pixels]``."""
    scale = ops.sqrt(0.5 * (ellipse[:, 0:1] + ellipse[:, 2:3]))
    squared = squared_radius(ellipse, places)
    x, y = places[0] / scale, places[1] / scale
    functions = [ops.ones_like(squared), ops.sigmoid((1 - squared) / 0.15)]
    weight = ops.exp(squared * (-0.5 / _CENTRE_WIDTH**2))
    functions += [weight * x, weight * y, *shape_constraints(weights, shapes, places)]
    return ops.stack(functions, axis=1)


def squared_radius(ellipse, places):
    """Returns the squared elliptical radius, 1 on the half-light ellipse, ``[n, pixels]``."""
    xx, xy, yy = ellipse[:, 0:1], ellipse[:, 1:2], ellipse[:, 2:3]
    terms = yy * places[2] - 2 * xy * places[3] + xx * places[4]
    return terms / (xx * yy - xy**2)


def monomials(place):
    """Returns x, y, x^2, xy and y^2 at pixels ``place`` of both axes, ``[5, 1, pixels]``."""
    y, x = (v.ravel() for v in np.meshgrid(place, place, indexing="ij"))
    return np.stack([x, y, x**2, x * y, y**2])[:, None, :]

"""Ellipticities and sizes of bulge and disk under Gaussian weights, in closed form."""

import numpy as np
from keras import ops
from scipy.optimize import nnls
from scipy.special import gammaincinv

from btk_generative.training.default.sersic import N_RANGE, place_between

INDICES = (4.0, 1.0)
"""Sersic indices of the bulge and the disk that a catalogue means."""

_SIGMA = np.geomspace(0.002, 12.0, 20)  # of the Gaussians, in half-light radii
_VARIANCE = (_SIGMA**2).astype(np.float32)
_LOG_N = np.linspace(*np.log(N_RANGE), 25)


class SersicMoments:
    """Weighted second moments of the sum of two elliptical Sersic profiles.

    Each profile is a sum of Gaussians, whose moments under a Gaussian weight are known.
    """

    def __init__(self):
        table = np.array([_gaussians(index) for index in np.exp(_LOG_N)])
        self._table = table.astype(np.float32)

    def __call__(self, share, radius, axis_ratio, angle, index, weight):
        """Returns the shape of the light under a weight, ``[n, 3]``.

        That is (xx - yy) / (xx + yy) and 2 xy / (xx + yy) of its weighted second moments, and the
        weighted mean of ``x^T W^-1 x``, which tells its size.

        Args:
            share: Shares of the flux of the two components, ``[n, 2]``.
            radius: Half-light radii, circularised, ``[n, 2]``.
            axis_ratio: Minor over major axis, ``[n, 2]``.
            angle: From +x to the major axis, radians, ``[n, 2]``.
            index: Sersic indices, ``[n, 2]``.
            weight: Entries xx, xy, yy of the matrix W of the weight ``exp(-x^T W^-1 x / 2)``,
                in squares of the unit of ``radius``, ``[n, 3]``.
        """
        cos, sin = ops.cos(angle), ops.sin(angle)
        entries = (
            cos**2 / axis_ratio + sin**2 * axis_ratio,
            cos * sin * (1 / axis_ratio - axis_ratio),
            sin**2 / axis_ratio + cos**2 * axis_ratio,
        )
        xx, xy, yy = (ops.expand_dims(radius**2 * x, 2) * _VARIANCE for x in entries)
        wxx, wxy, wyy = (weight[:, k, None, None] for k in range(3))
        # The product of two Gaussians C and W has the matrix W (C + W)^-1 C.
        sxx, sxy, syy = xx + wxx, xy + wxy, yy + wyy
        det, det_c, det_w = (
            a * c - b * b for a, b, c in ((sxx, sxy, syy), (xx, xy, yy), (wxx, wxy, wyy))
        )
        row, above = place_between(ops.log(index), _LOG_N)
        row, above = ops.cast(row, "int32"), ops.expand_dims(above, 2)
        amplitude = ops.take(self._table, row, axis=0) * (1 - above)
        amplitude = amplitude + ops.take(self._table, row + 1, axis=0) * above
        light = ops.expand_dims(share, 2) * amplitude * ops.rsqrt(det)
        flux = ops.sum(light, axis=(1, 2))
        # ... which is (det(W) C + det(C) W) / det(C + W).
        xx, xy, yy = (
            ops.sum(light / det * (det_w * c + det_c * w), axis=(1, 2))
            for c, w in ((xx, wxx), (xy, wxy), (yy, wyy))
        )
        wxx, wxy, wyy = (weight[:, k] for k in range(3))
        size = (wyy * xx - 2 * wxy * xy + wxx * yy) / (wxx * wyy - wxy**2) / flux
        return ops.stack([(xx - yy) / (xx + yy), 2 * xy / (xx + yy), size], axis=1)


def _gaussians(index):
    """Returns the fluxes of the Gaussians that make up a Sersic profile of flux and radius 1."""
    b = gammaincinv(2 * index, 0.5)
    radius = np.geomspace(_SIGMA[0], _SIGMA[-1], 400)
    light = radius[:, None] ** 2 / _SIGMA**2 * np.exp(-0.5 * (radius[:, None] / _SIGMA) ** 2)
    # per logarithm of radius, as is
    sersic = radius**2 * np.exp(-b * radius ** (1 / index))
    flux, _ = nnls(light, sersic)
    return flux / flux.sum()

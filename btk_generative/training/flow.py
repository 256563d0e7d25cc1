"""Conditional normalising flows: densities of a few numbers, given others."""

import keras
import numpy as np
from keras import ops

from btk_generative.training.tensors import Tensor

_MINIMUM = 1e-3  # of a bin's width, its height and the slope at a knot
_LOG_2PI = float(np.log(2 * np.pi))


class CouplingFlow(keras.Model):
    """A conditional normalising flow of spline coupling layers.

    Every layer keeps half of the variables and moves each of the others through a monotonic
    rational-quadratic spline on ``[-bound, bound]`` (the identity outside), whose knots a small
    network reads off the kept half and the context. Sampling costs the same as a density.

    With one variable there is nothing to keep, and the spline depends on the context alone.

    References:
        Durkan et al. 2019, Neural Spline Flows, arXiv:1906.04032.
    """

    def __init__(
        self,
        size: int,
        context_size: int,
        layers: int = 4,
        width: int = 64,
        bins: int = 8,
        bound: float = 4.0,
        seed: int = 0,
    ):
        """Builds the networks.

        Args:
            size: Number of variables d.
            context_size: Number of conditions c.
            layers: Number of coupling layers.
            width: Units in each of the two hidden layers of a network.
            bins: Bins of a spline.
            bound: Half-width of the interval in which the splines act.
            seed: Seed of the initial weights.
        """
        super().__init__()
        self.size, self.context_size = size, context_size
        self.bins, self.bound = bins, bound
        rng = np.random.default_rng(seed)
        self._order = [rng.permutation(size) for _ in range(layers)]
        if size == 2:
            self._order = [np.roll([0, 1], layer) for layer in range(layers)]
        self._kept = size // 2
        self._networks = [
            _network(
                self._kept + context_size,
                width,
                (size - self._kept) * (3 * bins - 1),
                int(rng.integers(2**31)),
            )
            for _ in range(layers)
        ]

    def call(self, inputs: dict) -> Tensor:
        """Returns the log density of ``(variables, context)``, so that `fit` can train it."""
        return self.log_prob(*inputs)

    def log_prob(self, variables: Tensor, context: Tensor) -> Tensor:
        """Returns the natural logarithm of the density, shape ``[n]``.

        Args:
            variables: Shape ``[n, d]``.
            context: Shape ``[n, c]``.
        """
        normal, log_slope = self.forward(variables, context)
        return log_slope - 0.5 * ops.sum(normal**2 + _LOG_2PI, axis=-1)

    def forward(self, variables: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the standard normal vectors ``[n, d]`` of data, and log |Jacobian| ``[n]``."""
        total = ops.zeros_like(variables[:, 0])
        for order, network in zip(self._order, self._networks, strict=True):
            variables, log_slope = self._couple(variables, context, order, network, False)
            total = total + log_slope
        return variables, total

    def inverse(self, normal: Tensor, context: Tensor) -> Tensor:
        """Returns the data ``[n, d]`` of standard normal vectors ``[n, d]``."""
        for order, network in zip(reversed(self._order), reversed(self._networks), strict=True):
            normal, _ = self._couple(normal, context, order, network, True)
        return normal

    def _couple(self, values, context, order, network, inverse):
        kept = ops.take(values, order[: self._kept], axis=1)
        moved = ops.take(values, order[self._kept :], axis=1)
        knots = network(ops.concatenate([kept, context], axis=1))
        knots = ops.reshape(knots, (-1, self.size - self._kept, 3 * self.bins - 1))
        moved, log_slope = rational_quadratic_spline(moved, knots, self.bound, inverse)
        values = ops.concatenate([kept, moved], axis=1)
        return ops.take(values, np.argsort(order), axis=1), ops.sum(log_slope, axis=-1)


def rational_quadratic_spline(
    values: Tensor, parameters: Tensor, bound: float, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """Moves values through monotonic splines (Durkan et al. 2019, equations 4 to 8).

    Args:
        values: Shape ``[...]``.
        parameters: Unconstrained widths and heights of the ``K`` bins and slopes at the ``K - 1``
            inner knots, shape ``[..., 3 K - 1]``. Zeros give the identity.
        bound: The spline acts on ``[-bound, bound]``; outside, values do not move.
        inverse: Whether to go from the spline's values to its arguments.

    Returns:
        The moved values and the logarithm of the derivative of this move, both of shape ``[...]``.
    """
    bins = (parameters.shape[-1] + 1) // 3
    x, dx = _knots(parameters[..., :bins], bound)
    y, dy = _knots(parameters[..., bins : 2 * bins], bound)
    offset = float(np.log(np.expm1(1 - _MINIMUM)))  # so that a parameter of 0 is a slope of 1
    slope = _MINIMUM + ops.softplus(parameters[..., 2 * bins :] + offset)
    ones = ops.ones_like(slope[..., :1])
    left, right = ops.concatenate([ones, slope], -1), ops.concatenate([slope, ones], -1)

    clipped = ops.clip(values, -bound, bound)
    start = y if inverse else x
    above = ops.cast(clipped[..., None] >= start[..., 1:], values.dtype)
    one = ops.ones_like(above[..., :1])
    chosen = ops.concatenate([one, above], -1) - ops.concatenate([above, 0 * one], -1)

    def pick(array):
        return ops.sum(chosen * array, -1)

    x, dx, y, dy, left, right = (pick(array) for array in (x, dx, y, dy, left, right))
    mean = dy / dx
    curve = left + right - 2 * mean
    if inverse:
        rise = clipped - y
        a = dy * (mean - left) + rise * curve
        b = dy * left - rise * curve
        c = -mean * rise
        share = 2 * c / (-b - ops.sqrt(ops.maximum(b**2 - 4 * a * c, 0)))
    else:
        share = (clipped - x) / dx
    product = share * (1 - share)
    bottom = mean + curve * product
    derivative = right * share**2 + 2 * mean * product + left * (1 - share) ** 2
    log_slope = ops.log(mean**2 * derivative / bottom**2)
    moved = x + share * dx if inverse else y + dy * (mean * share**2 + left * product) / bottom
    inside = ops.abs(values) < bound
    log_slope = ops.where(inside, -log_slope if inverse else log_slope, 0 * log_slope)
    return ops.where(inside, moved, values), log_slope


def _knots(parameters, bound):
    """Returns where each bin starts, and its width, both ``[..., K]``."""
    bins = parameters.shape[-1]
    width = _MINIMUM + (1 - _MINIMUM * bins) * ops.softmax(parameters, axis=-1)
    width = 2 * bound * width
    return ops.cumsum(width, axis=-1) - width - bound, width


def _network(size, width, outputs, seed):
    seeds = [int(s) for s in np.random.default_rng(seed).integers(2**31, size=3)]
    return keras.Sequential(
        [
            keras.Input((size,)),
            *(
                keras.layers.Dense(
                    width, "silu", kernel_initializer=keras.initializers.HeNormal(seed=s)
                )
                for s in seeds[:2]
            ),
            keras.layers.Dense(
                outputs, kernel_initializer=keras.initializers.RandomNormal(0.0, 0.01, seeds[2])
            ),
        ]
    )

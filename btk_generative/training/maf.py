"""Masked autoregressive flows."""

import itertools

import keras
import numpy as np
from keras import ops

from btk_generative.training.tensors import Tensor

_LOG_2PI = float(np.log(2 * np.pi))
_MAX_LOG_SCALE = 4.0


class MaskedAutoregressiveFlow(keras.Model):
    """A conditional normalising flow of masked autoregressive layers.

    Each layer shifts and scales every variable by what a masked network reads off the variables
    before it and the context; the order turns round between layers. A density costs one pass
    through each network, a sample as many as there are variables: `CouplingFlow` has the same
    methods and samples as fast as it gives densities.

    References:
        Papamakarios, Pavlakou & Murray 2017, Masked Autoregressive Flow, arXiv:1705.07057.
        Germain et al. 2015, MADE, arXiv:1502.03509.
    """

    def __init__(
        self, size: int, context_size: int, layers: int = 5, width: int = 64, seed: int = 0
    ):
        """Builds the networks.

        Args:
            size: Number of variables d.
            context_size: Number of conditions c.
            layers: Number of autoregressive layers.
            width: Units in each of the two hidden layers of a network.
            seed: Seed of the initial weights.
        """
        super().__init__()
        self.size, self.context_size = size, context_size
        seeds = np.random.default_rng(seed).integers(2**31, size=layers)
        self._networks = [MaskedNetwork(size, context_size, width, int(s)) for s in seeds]

    def call(self, inputs: dict) -> Tensor:
        """Returns the log density of ``(variables, context)``."""
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
        for network in self._networks:
            shift, log_scale = network(variables, context)
            variables = ops.flip((variables - shift) * ops.exp(-log_scale), axis=1)
            total = total - ops.sum(log_scale, axis=-1)
        return variables, total

    def inverse(self, normal: Tensor, context: Tensor) -> Tensor:
        """Returns the data ``[n, d]`` of standard normal vectors ``[n, d]``."""
        for network in reversed(self._networks):
            normal = ops.flip(normal, axis=1)
            variables = ops.zeros_like(normal)
            for _ in range(self.size):  # each pass gets one more variable right
                shift, log_scale = network(variables, context)
                variables = normal * ops.exp(log_scale) + shift
            normal = variables
        return normal


class MaskedNetwork(keras.layers.Layer):
    """Shift and log scale of each variable, from the variables before it and the context."""

    def __init__(self, size: int, context_size: int, width: int, seed: int):
        """Builds the weights; at first shift and log scale are 0."""
        super().__init__()
        first = np.arange(1, size + 1)
        hidden = np.arange(width) % size  # those of degree 0 see the context alone
        degrees = [first, hidden, hidden]
        self._masks = [
            (below[:, None] <= above[None]).astype(np.float32)
            for below, above in itertools.pairwise(degrees)
        ]
        last = (hidden[:, None] < first[None]).astype(np.float32)
        self._masks.append(np.concatenate([last, last], axis=1))
        seeds = [int(s) for s in np.random.default_rng(seed).integers(2**31, size=3)]
        shapes = [(size, width), (width, width), (width, 2 * size)]
        scales = [keras.initializers.HeNormal(seed=s) for s in seeds[:2]] + ["zeros"]
        self._kernels = [
            self.add_weight(shape=shape, initializer=scale, name=f"kernel_{i}")
            for i, (shape, scale) in enumerate(zip(shapes, scales, strict=True))
        ]
        self._biases = [
            self.add_weight(shape=shape[1:], initializer="zeros", name=f"bias_{i}")
            for i, shape in enumerate(shapes)
        ]
        self._context = [
            self.add_weight(
                shape=(context_size, outputs),
                initializer=keras.initializers.HeNormal(seed=seeds[2]) if i == 0 else "zeros",
                name=f"context_{i}",
            )
            for i, outputs in enumerate((width, 2 * size))
        ]
        self.built = True

    def call(self, variables: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns shift and log scale, both ``[n, d]``."""
        kernels = [k * m for k, m in zip(self._kernels, self._masks, strict=True)]
        hidden = ops.matmul(variables, kernels[0]) + ops.matmul(context, self._context[0])
        hidden = ops.silu(hidden + self._biases[0])
        hidden = ops.silu(ops.matmul(hidden, kernels[1]) + self._biases[1])
        outputs = ops.matmul(hidden, kernels[2]) + ops.matmul(context, self._context[1])
        shift, log_scale = ops.split(outputs + self._biases[2], 2, axis=1)
        return shift, _MAX_LOG_SCALE * ops.tanh(log_scale / _MAX_LOG_SCALE)

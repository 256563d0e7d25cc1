"""The types of tensors, for annotations."""

from typing import Any, TypeAlias

Tensor: TypeAlias = Any
"""A tensor of the backend that Keras runs on, TensorFlow, JAX or PyTorch."""

Transform: TypeAlias = tuple[Tensor, Tensor]
"""Real and imaginary part of a Fourier transform, each of shape ``[n, S, S // 2 + 1]``."""

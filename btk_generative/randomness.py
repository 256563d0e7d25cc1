"""Random streams that depend on what is drawn, never on the order in which it is drawn.

Everything random is a function of the user's seed and of a key: what the numbers are for, which
blend, which galaxy. Batch size, number of jobs and order therefore cannot change a result.
"""

from collections.abc import Iterable, Sequence

import numpy as np

MORPHOLOGY = 0
"""Purpose of a stream: the latent vector of a galaxy; its key goes on with (blend, galaxy)."""

ROTATION = 1
"""Purpose of a stream: the random rotations of the galaxies of a blend; key (blend,)."""

NOISE = 2
"""Purpose of a stream: pixel noise; key (blend, checksum of the survey's name), with the
number of a band whose sky is dark."""

SAMPLING = 3
"""Purpose of a stream: which galaxies a blend of a data set has; key (blend, attempt)."""


def stream(seed: int | Sequence[int] | None, *key: int) -> np.random.SeedSequence:
    """Returns the seed sequence of one key.

    Args:
        seed: The user's seed, a non-negative integer, or the entropy of a seed sequence.
        key: Purpose, then the indices of the thing drawn.
    """
    return np.random.SeedSequence(seed, spawn_key=key)


def normals(seed: int, keys: Iterable[Sequence[int]], size: int) -> np.ndarray:
    """Returns standard normal vectors, each from the stream of its own key.

    Args:
        seed: The user's seed.
        keys: A key per vector.
        size: Length of a vector.

    Returns:
        float32 array of shape ``[len(keys), size]``.
    """
    rows = [np.random.default_rng(stream(seed, *key)).standard_normal(size) for key in keys]
    return np.array(rows, dtype=np.float32).reshape(-1, size)

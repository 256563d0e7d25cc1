"""Memory for the arrays of batches."""

import collections
import sys

import numpy as np

_KEPT = 2  # arrays of a shape: in a loop, one batch is drawn while the last one is in use

_probe = [np.empty(0)]
_UNUSED = sys.getrefcount(_probe[0])  # of an array that nothing but a list refers to


class Memory:
    """Gives out large arrays, and gives their memory out again once nothing refers to it.

    Fresh memory has to be cleared by the operating system, which can take longer than drawing what
    goes into it.
    """

    def __init__(self):
        self._arrays = collections.defaultdict(lambda: collections.deque(maxlen=_KEPT))

    def __reduce__(self):
        return Memory, ()

    def empty(self, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a float64 array of any content that nothing else refers to."""
        arrays = self._arrays[shape]
        for index in range(len(arrays)):
            if sys.getrefcount(arrays[index]) == _UNUSED:
                return arrays[index][...]
        arrays.append(np.empty(shape))
        return arrays[-1][...]

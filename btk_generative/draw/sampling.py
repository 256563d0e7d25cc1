"""Samples blend k of a data set, whichever blends were sampled before it."""

import numpy as np
from btk.sampling_functions import SamplingFunction

from btk_generative.errors import ConfigError
from btk_generative.processes import Lock
from btk_generative.randomness import SAMPLING, stream

_ATTEMPTS = 100
_GLOBAL_RANDOM_STATE = Lock()


class IndexedSampling(SamplingFunction):
    """A BTK sampling function whose random numbers are a function of seed and blend index.

    Some of BTK's sampling functions draw from their own generator, others from NumPy's global one:
    both are set for each blend, and the global one is put back afterwards. A sampling function
    that refuses what it drew (friends-of-friends groups that are larger than the stamp) is asked
    again, with the next random numbers of the same blend.

    Attributes:
        blend: Index of the blend that the next call samples.
    """

    def __init__(self, sampling: SamplingFunction, seed: int):
        """Wraps a sampling function.

        Args:
            sampling: The function; its own seed is not used.
            seed: Seed of the data set.
        """
        super().__init__(sampling.stamp_size, sampling.max_number, sampling.min_number)
        self.sampling, self.seed, self.blend = sampling, seed, 0

    def __call__(self, table):
        """Returns the galaxies of the next blend.

        Raises:
            ConfigError: If no blend can be sampled, or one has too many galaxies.
        """
        blend, self.blend = self.blend, self.blend + 1
        for attempt in range(_ATTEMPTS):
            try:
                galaxies = self._sample(table, stream(self.seed, SAMPLING, blend, attempt))
                break
            except ValueError as error:
                refusal = error
        else:
            raise ConfigError(
                f"sampling: {type(self.sampling).__name__} refused blend {blend}"
                f" {_ATTEMPTS} times: {refusal}"
            ) from refusal
        if len(galaxies) > self.max_number:
            raise ConfigError(
                f"sampling: blend {blend} has {len(galaxies)} galaxies, more than"
                f" max_number={self.max_number}; raise it, or make the stamp smaller"
            )
        return galaxies

    def _sample(self, table, key):
        own, shared = key.spawn(2)
        self.sampling.rng = np.random.default_rng(own)
        # worker threads share NumPy's global state
        with _GLOBAL_RANDOM_STATE:
            state = np.random.get_state()  # noqa: NPY002
            np.random.seed(shared.generate_state(8))  # noqa: NPY002
            try:
                return self.sampling(table)
            finally:
                np.random.set_state(state)  # noqa: NPY002

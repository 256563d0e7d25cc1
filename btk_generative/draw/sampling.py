"""Samples blend k of a seed, whichever blends were sampled before it."""

import copy

import btk.sampling_functions
import numpy as np
from btk.sampling_functions import FriendsOfFriendsSampling, SamplingFunction

from btk_generative.errors import ConfigError, need
from btk_generative.randomness import SAMPLING, stream
from btk_generative.runs.processes import Lock

_ATTEMPTS = 100
_GLOBAL_RANDOM_STATE = Lock()


class IndexedSampling(SamplingFunction):
    """A sampling function whose random numbers are a function of its seed and the blend's index.

    Some of BTK's sampling functions draw from their own generator, others from NumPy's global one:
    both are set for each blend, and the global one is put back afterwards. A sampling function
    that refuses what it drew (friends-of-friends groups that are larger than the stamp) is asked
    again, with the next random numbers of the same blend.

    `GenerativeGenerator` and `ParametricGenerator` wrap BTK's own sampling functions in it. Wrap
    one yourself to have the same blends in BTK's `CatsimGenerator`, or a sampling function of your
    own, if it keeps nothing from blend to blend, to have its blends by their indices as well.

    Attributes:
        blend: Index of the blend that the next call samples.

    Example:
        >>> import btk, btk_generative as bg
        >>> catalog = bg.catalogs.mock_catsim(100, seed=0)
        >>> survey = btk.survey.get_surveys("LSST")
        >>> sampling = IndexedSampling(btk.sampling_functions.DefaultSampling(seed=1))
        >>> theirs = btk.draw_blends.CatsimGenerator(catalog, sampling, survey)
        >>> ours = bg.GenerativeGenerator(catalog, sampling, survey)
    """

    def __init__(self, sampling: SamplingFunction):
        """Wraps a copy of a sampling function.

        Args:
            sampling: The function, whose ``rng`` says the seed.

        Raises:
            ConfigError: If it has no ``rng``, or one that was not made from a seed.
            PackageMissing: If it is BTK's `FriendsOfFriendsSampling`, and pandas is not installed.
        """
        if isinstance(sampling, FriendsOfFriendsSampling):
            need("pandas", extra="compare", what="sampling: FriendsOfFriendsSampling")
        super().__init__(sampling.stamp_size, sampling.max_number, sampling.min_number)
        seed = getattr(getattr(sampling, "rng", None), "bit_generator", None)
        seed = getattr(seed, "seed_seq", None)
        if not isinstance(seed, np.random.SeedSequence):
            raise ConfigError(
                f"sampling: {type(sampling).__name__} has no random generator of a seed: set its"
                " 'rng' to numpy.random.default_rng(seed)"
            )
        self.sampling, self.blend = copy.copy(sampling), 0
        self._seed, self._key = seed.entropy, (*seed.spawn_key, SAMPLING)

    def __call__(self, table):
        """Returns the galaxies of the next blend.

        Raises:
            ConfigError: If no blend can be sampled, or one has too many galaxies.
        """
        blend, self.blend = self.blend, self.blend + 1
        for attempt in range(_ATTEMPTS):
            try:
                galaxies = self._sample(table, stream(self._seed, *self._key, blend, attempt))
                break
            except ValueError as error:
                refusal = error
        else:
            raise ConfigError(
                f"sampling: {type(self.sampling).__name__} cannot make a blend of this catalogue"
                f" (blend {blend}, {_ATTEMPTS} attempts): {refusal}"
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


def by_index(sampling: SamplingFunction) -> SamplingFunction:
    """Returns the sampling function that a generator asks, a copy where it goes by the index.

    Only BTK's own functions are known to keep nothing from blend to blend. Another may go through
    a list, and is asked in order.
    """
    if isinstance(sampling, IndexedSampling):
        return copy.copy(sampling)
    if type(sampling).__module__ == btk.sampling_functions.__name__:
        return IndexedSampling(sampling)
    return sampling

"""What the catalogue does not say of a galaxy's shape, drawn given what it says.

Of the 81,499 galaxies of GalSim's COSMOS 25.2 sample, 72 % are fitted by one Sersic profile of any
index, the others by a bulge (n = 4) and a disk (n = 1) at an angle to each other. Index and angle
are not among the seven conditions, so a flow draws them. That all bulges beside a disk have n = 4
is a choice of the fits, not a fact: their indices are drawn too, from a range that is tuned.
"""

import numpy as np
from keras import ops
from scipy.special import ndtr, ndtri

from btk_generative.training.default.cosmos import FittedGalaxies
from btk_generative.training.default.sersic import N_RANGE, interpolate
from btk_generative.training.flow import CouplingFlow

RANDOM_SIZE = 2
"""Normal random numbers that a shape takes: for the Sersic index, and for the angle."""

PARTS = ("bulge", "disk")

_BULGE_INDEX, _BULGE_SCATTER = 3.0, 0.4
"""Median of the Sersic indices of bulges that have a disk, and scatter of the logarithm."""

_SCORES = np.linspace(-3.5, 3.5, 71)  # at which the quantile functions are tabulated
_SOFT_LIMIT = 3.0  # standard deviations beyond which conditions saturate


class ConditionEncoder:
    """Turns named inputs into standardised numbers for a network, ``[n, 9]``.

    Sizes, fluxes and 1 + redshift enter as logarithms. A component that is absent gives zeros,
    beside its flag. Far from the training data the numbers saturate, so that a network sees the
    edge of what it knows rather than the unknown.
    """

    def __init__(self, conditions):
        """Measures mean, standard deviation and limits of each quantity.

        Args:
            conditions: Table of named inputs, masked where a component is absent.
        """
        inputs = plain(conditions)
        raw, there = _quantities(inputs, np), _there(inputs, np)
        raw.append(_total(inputs, np))
        there.append(np.ones(len(conditions)))
        seen = [x[t > 0.5] for x, t in zip(raw, there, strict=True)]
        self._sd = np.array([x.std() for x in seen], np.float32)
        limits = np.array([np.quantile(x, DOMAIN) for x in seen], np.float32)
        self._low, self._high = limits.T
        self._mean = np.array([x.mean() for x in seen], np.float32)
        self.size = len(_NAMES) + len(PARTS)

    def __call__(self, inputs: dict):
        """Returns the encoded inputs, shape ``[n, size]``.

        Args:
            inputs: A tensor ``[n]`` per name, ``bulge_present`` and ``disk_present`` being 0 or 1.
        """
        count = len(_NAMES)
        raw, there = ops.stack(_quantities(inputs, ops), 1), ops.stack(_there(inputs, ops), 1)
        scaled = (raw - self._mean[:count]) / self._sd[:count] / _SOFT_LIMIT
        scaled = _SOFT_LIMIT * ops.tanh(scaled) * there
        return ops.concatenate([scaled, there[:, 1::3]], axis=1)

    def known(self, inputs: dict):
        """Returns 1 for galaxies like the training data, going to 0 beyond it, shape ``[n, 1]``.

        It falls as a Gaussian of the distance from the domain, in units of a third of a
        standard deviation of each quantity; the flux of both components together counts too.
        """
        raw = ops.stack([*_quantities(inputs, ops), _total(inputs, ops)], axis=1)
        there = ops.stack([*_there(inputs, ops), ops.ones_like(raw[:, 0])], axis=1)
        beyond = ops.maximum(self._low - raw, 0.0) + ops.maximum(raw - self._high, 0.0)
        distance = ops.sum((there * beyond / (self._sd / 3)) ** 2, axis=1, keepdims=True)
        return ops.exp(-0.5 * ops.minimum(distance, 80.0))


DOMAIN = (0.001, 0.999)
"""Quantiles of the training data between which an input lies in the domain."""

_NAMES = ("zphot", *(f"{part}_{name}" for part in PARTS for name in ("hlr", "q", "flux")))


def plain(conditions) -> dict:
    """Returns conditions as float32 arrays by name, 1 where they are masked."""
    names = (*_NAMES, *(f"{part}_present" for part in PARTS))
    return {name: np.ma.filled(conditions[name].astype(np.float32), 1.0) for name in names}


def _quantities(inputs, math):
    """Returns what the network is told, one array per name; ``math`` is numpy or keras.ops."""
    values = [math.log(1 + math.maximum(inputs["zphot"], 0.0))]
    for part in PARTS:
        values.append(math.log(math.maximum(inputs[f"{part}_hlr"], 1e-4)))
        values.append(inputs[f"{part}_q"])
        values.append(math.log(math.maximum(inputs[f"{part}_flux"], 1e-4)))
    return values


def _there(inputs, math):
    """Returns for each quantity whether a galaxy has it, as 0 or 1."""
    flags = [math.where(inputs[f"{part}_present"] > 0.5, 1.0, 0.0) for part in PARTS]
    return [math.ones_like(flags[0]), *(flag for flag in flags for _ in range(3))]


def _total(inputs, math):
    """Returns the logarithm of the flux of the components that are there."""
    flux = sum(
        math.where(inputs[f"{part}_present"] > 0.5, inputs[f"{part}_flux"], 0.0) for part in PARTS
    )
    return math.log(math.maximum(flux, 1e-4))


class ShapeModel:
    """Draws the Sersic indices of a smooth galaxy and the angle between bulge and disk.

    Index and angle are first turned into normal scores (the quantile of each among galaxies of
    its kind), which takes care of limits and of the fits that pile up at them; the flow learns
    how these scores depend on the conditions.
    """

    def __init__(self, galaxies: FittedGalaxies, seed: int, **flow_options):
        """Sets the scales up, and an untrained flow.

        Args:
            galaxies: Training data.
            seed: Seed of the flow's initial weights.
            flow_options: Passed on to `CouplingFlow`.
        """
        self.encoder = ConditionEncoder(galaxies.conditions)
        alone = {
            part: np.isfinite(galaxies.index) & np.asarray(galaxies.conditions[f"{part}_present"])
            for part in PARTS
        }
        self.quantiles = {
            part: np.quantile(np.log(galaxies.index[alone[part]]), ndtr(_SCORES)).astype(np.float32)
            for part in PARTS
        }
        angles = galaxies.angle[np.isfinite(galaxies.angle)]
        both = np.concatenate([angles, -angles])  # the sky has no preferred handedness
        self.quantiles["angle"] = np.quantile(both, ndtr(_SCORES)).astype(np.float32)
        self.flow = CouplingFlow(RANDOM_SIZE, self.encoder.size, seed=seed, **flow_options)
        self.flow.build([(None, RANDOM_SIZE), (None, self.encoder.size)])

    def training_set(self, galaxies: FittedGalaxies, rng: np.random.Generator):
        """Returns scores ``[n, 2]`` and context ``[n, c]``, each galaxy once and once mirrored.

        A score that a galaxy does not have is a normal random number.
        """
        scores = rng.standard_normal((2, len(galaxies), RANDOM_SIZE))
        for part in PARTS:
            rows = np.isfinite(galaxies.index) & np.asarray(galaxies.conditions[f"{part}_present"])
            scores[:, rows, 0] = _scores(np.log(galaxies.index[rows]), self.quantiles[part], rng)
        rows = np.isfinite(galaxies.angle)
        for sign, mirrored in zip((1, -1), scores, strict=True):
            mirrored[rows, 1] = _scores(sign * galaxies.angle[rows], self.quantiles["angle"], rng)
        context = ops.convert_to_numpy(self.encoder(plain(galaxies.conditions)))
        return scores.reshape(-1, RANDOM_SIZE).astype(np.float32), np.concatenate([context] * 2)

    def components(self, inputs: dict, random_normal):
        """Draws the two components of each galaxy.

        Args:
            inputs: A tensor ``[n]`` per name.
            random_normal: Standard normal numbers, ``[n, 2]``.

        Returns:
            The arguments of `BulgeDiskDecoder`, each ``[n, 2]``, the bulge first.
        """
        scores = self.flow.inverse(random_normal, self.encoder(inputs))
        there = ops.stack([inputs[f"{part}_present"] > 0.5 for part in PARTS], axis=1)
        both = there[:, 0] & there[:, 1]
        light = {
            name: ops.stack([inputs[f"{part}_{name}"] for part in PARTS], axis=1)
            for name in ("hlr", "q", "flux")
        }
        # A galaxy that is said to have neither is drawn as a disk.
        there = ops.stack([there[:, 0], there[:, 1] | ~there[:, 0]], axis=1)
        flux = ops.where(there, ops.maximum(light["flux"], 1e-12), 0.0)
        share = flux / ops.sum(flux, axis=1, keepdims=True)
        bulge = ops.clip(_BULGE_INDEX * ops.exp(_BULGE_SCATTER * scores[:, 0]), 1.0, N_RANGE[1])
        index = [
            ops.where(
                both, together, ops.exp(interpolate(scores[:, 0], _SCORES, self.quantiles[part]))
            )
            for part, together in zip(PARTS, (bulge, 1.0), strict=True)
        ]
        angle = ops.where(both, interpolate(scores[:, 1], _SCORES, self.quantiles["angle"]), 0.0)
        # An absent component has no size of its own that could widen the frame.
        radius = ops.where(there, ops.maximum(light["hlr"], 1e-5), 1.0)
        radius = ops.where(there, radius, ops.flip(radius, axis=1))
        axis_ratio = ops.where(there, ops.clip(light["q"], 0.02, 1.0), 1.0)
        return (
            share,
            radius,
            axis_ratio,
            ops.stack([angle, ops.zeros_like(angle)], axis=1),
            ops.stack(index, axis=1),
        )


def _scores(values, quantiles, rng):
    """Returns the normal score of each value, at random among those that a tie may have."""
    values = values.astype(np.float32)
    rank = {side: np.searchsorted(quantiles, values, side) for side in ("left", "right")}
    first, last = rank["left"], rank["right"] - 1
    shares = np.concatenate([ndtr(_SCORES), [1.0]])
    low = np.where(first == 0, 1e-5, shares[first])
    high = np.where(last == len(_SCORES) - 1, 1 - 1e-5, shares[np.maximum(last, 0)])
    tied = ndtri(rng.uniform(low, np.maximum(low, high)))
    return np.where(last > first, tied, np.interp(values, quantiles, _SCORES))

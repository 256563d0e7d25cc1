"""What the catalogue does not say of a galaxy's shape: the Sersic indices of bulge and disk.

A catalogue that tells a bulge from a disk means n = 4 and n = 1. Real ones differ, and those of
disks depend on the galaxy: 60 % of GalSim's COSMOS 25.2 sample are fitted by one Sersic profile
below n = 2.5, and a flow learns these indices. They shape the light's details only: ellipticities,
and the sizes of disks, are those that the catalogue means under the weights of `constraints`.
"""

import numpy as np
from astropy.table import Table
from keras import ops
from scipy.special import ndtr, ndtri

from btk_generative.training.default.cosmos import FittedGalaxies
from btk_generative.training.default.moments import INDICES
from btk_generative.training.default.sersic import N_RANGE, interpolate
from btk_generative.training.flow import CouplingFlow

RANDOM_SIZE = 2
"""Normal random numbers that a shape takes: for the Sersic indices of bulge and disk."""

PARTS = ("bulge", "disk")

_SCATTER = 0.36  # of ln n of bulges, as bright and large ones that are fitted alone have it
_FAR = 2.5  # standard deviations beyond which none is drawn
_FAINT, _LARGE, _STEEPEST = 22.5, 0.4, 1.5  # mag, arcsec: such disks are not fitted as steeper
_SCORES = np.linspace(-3.5, 3.5, 71)  # at which the quantile functions are tabulated
_SOFT_LIMIT = 3.0  # standard deviations beyond which conditions saturate
_MATTERS = 0.1  # share of the light from which on it matters that a component is out of the domain

DOMAIN = (0.001, 0.999)
"""Quantiles of the training data between which an input lies in the domain."""

_CONTEXT = 5  # numbers that tell a disk: of redshift, total flux, size, axis ratio and flux


class Domain:
    """Tells how far galaxies lie from the training data.

    Sizes, fluxes and 1 + redshift count by their logarithms, and so does the flux of both
    components together. A component counts as far as its share of the light lets it be seen.
    """

    def __init__(self, conditions: Table):
        """Measures limits and standard deviation of each quantity.

        Args:
            conditions: Named inputs, masked where a component is absent.
        """
        inputs = {
            name: np.ma.filled(conditions[name].astype(np.float32), 1.0)
            for name in conditions.colnames
        }
        raw, weight = _quantities(inputs, np)
        seen = [x[w > 0] for x, w in zip(raw, weight, strict=True)]
        self._mean = np.array([x.mean() for x in seen], np.float32)
        self._sd = np.array([x.std() for x in seen], np.float32)
        limits = np.array([np.quantile(x, DOMAIN) for x in seen], np.float32)
        self._low, self._high = limits.T

    def known(self, inputs: dict):
        """Returns 1 for galaxies like the training data, going to 0 beyond it, shape ``[n, 1]``.

        It falls as a Gaussian of the distance from the domain, in units of a third of a
        standard deviation of each quantity.

        Args:
            inputs: A tensor ``[n]`` per name, ``bulge_present`` and ``disk_present`` being 0 or 1.
        """
        raw, weight = (ops.stack(values, axis=1) for values in _quantities(inputs, ops))
        beyond = ops.maximum(self._low - raw, 0.0) + ops.maximum(raw - self._high, 0.0)
        distance = ops.sum(weight * (beyond / (self._sd / 3)) ** 2, axis=1, keepdims=True)
        return ops.exp(-0.5 * ops.minimum(distance, 80.0))

    def encode_disk(self, inputs: dict):
        """Returns the quantities of galaxies that are a disk, standardised, ``[n, 5]``.

        Far from the training data they saturate.

        Args:
            inputs: A tensor ``[n]`` per name, ``bulge_present`` and ``disk_present`` being 0 or 1.
        """
        raw = ops.stack(_quantities(inputs, ops)[0], axis=1)
        scaled = (raw - self._mean) / self._sd / _SOFT_LIMIT
        return _SOFT_LIMIT * ops.tanh(ops.concatenate([scaled[:, :2], scaled[:, -3:]], axis=1))


def _quantities(inputs, math):
    """Returns what tells a galaxy's distance, and weights; ``math`` is numpy or keras.ops."""
    flux = [
        math.where(inputs[f"{part}_present"] > 0.5, inputs[f"{part}_flux"], 0.0) for part in PARTS
    ]
    total = math.maximum(sum(flux), 1e-4)
    values = [math.log(1 + math.maximum(inputs["zphot"], 0.0)), math.log(total)]
    weights = [math.ones_like(total)] * 2
    for part, light in zip(PARTS, flux, strict=True):
        values.append(math.log(math.maximum(inputs[f"{part}_hlr"], 1e-4)))
        values.append(inputs[f"{part}_q"])
        values.append(math.log(math.maximum(inputs[f"{part}_flux"], 1e-4)))
        weights += [math.minimum(light / total * (1 / _MATTERS), 1.0)] * 3
    return values, weights


class ShapeModel:
    """Draws the Sersic indices of a smooth galaxy.

    The index of a disk alone is turned into a normal score (its quantile among all of these), which
    takes care of limits and of fits that pile up at them; the flow learns how the score depends on
    the conditions. A disk with a bulge has n = 1, as in the fits; bulges scatter about 4.
    """

    def __init__(self, galaxies: FittedGalaxies, seed: int, **flow_options):
        """Sets the scales up, and an untrained flow.

        Args:
            galaxies: Training data.
            seed: Seed of the flow's initial weights.
            flow_options: Passed on to `CouplingFlow`.
        """
        self.domain = Domain(galaxies.conditions)
        _, index = _disks(galaxies)
        self.quantiles = np.quantile(index, ndtr(_SCORES)).astype(np.float32)
        self.flow = CouplingFlow(1, _CONTEXT, seed=seed, **flow_options)
        self.flow.build([(None, 1), (None, _CONTEXT)])

    def training_set(self, galaxies: FittedGalaxies, rng: np.random.Generator):
        """Returns the scores ``[m, 1]`` and contexts ``[m, 5]`` of the disks without a bulge."""
        given, index = _disks(galaxies)
        scores = _normal_scores(index, self.quantiles, rng).astype(np.float32)
        inputs = {n: np.ma.filled(given[n].astype(np.float32), 1.0) for n in given.colnames}
        return scores[:, None], ops.convert_to_numpy(self.domain.encode_disk(inputs))

    def components(self, inputs: dict, random_normal):
        """Draws the two components of each galaxy.

        Args:
            inputs: A tensor ``[n]`` per name.
            random_normal: Standard normal numbers, ``[n, 2]``.

        Returns:
            The arguments of `BulgeDiskDecoder`, each ``[n, 2]``, the bulge first.
        """
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
        bulge = INDICES[0] * ops.exp(_SCATTER * ops.clip(random_normal[:, 0], -_FAR, _FAR))
        score = self.flow.inverse(random_normal[:, 1:], self.domain.encode_disk(inputs))[:, 0]
        alone = ops.exp(interpolate(score, _SCORES, self.quantiles))
        index = [bulge, ops.where(both, INDICES[1], alone)]
        angle = ops.where(both, inputs["bulge_angle"] * np.float32(np.pi / 180), 0.0)
        # An absent component has no size of its own that could widen the frame.
        radius = ops.where(there, ops.maximum(light["hlr"], 1e-5), 1.0)
        radius = ops.where(there, radius, ops.flip(radius, axis=1))
        axis_ratio = ops.where(there, ops.clip(light["q"], 0.02, 1.0), 1.0)
        return (
            share,
            radius,
            axis_ratio,
            ops.stack([angle, ops.zeros_like(angle)], axis=1),
            ops.clip(ops.stack(index, axis=1), *N_RANGE),
        )


def _disks(galaxies: FittedGalaxies):
    """Returns conditions of the disks without a bulge, and the logarithms of their indices."""
    rows = np.isfinite(galaxies.index) & np.asarray(galaxies.conditions["disk_present"])
    given, index = galaxies.conditions[rows], galaxies.index[rows]
    blurred = (given["mag_auto"] > _FAINT) & (given["disk_hlr"] > _LARGE)
    return given, np.log(np.where(blurred, np.minimum(index, _STEEPEST), index))


def _normal_scores(values, quantiles, rng):
    """Returns the normal score of each value, at random among those that a tie may have."""
    values = values.astype(np.float32)
    rank = {side: np.searchsorted(quantiles, values, side) for side in ("left", "right")}
    first, last = rank["left"], rank["right"] - 1
    shares = np.concatenate([ndtr(_SCORES), [1.0]])
    low = np.where(first == 0, 1e-5, shares[first])
    high = np.where(last == len(_SCORES) - 1, 1 - 1e-5, shares[np.maximum(last, 0)])
    tied = ndtri(rng.uniform(low, np.maximum(low, high)))
    return np.where(last > first, tied, np.interp(values, quantiles, _SCORES))

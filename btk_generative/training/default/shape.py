"""What the catalogue does not say of a galaxy's shape: the Sersic indices of bulge and disk.

A catalogue that tells a bulge from a disk means n = 4 and n = 1. Real ones scatter about these, by
as much as the single Sersic fits of GalSim's COSMOS 25.2 sample do where they are to be trusted: in
bright galaxies that are well resolved. (Fits of faint ones pile up at the limits, and a faint,
large disk of n = 2 is an artefact more often than a galaxy.) The medians stay 4 and 1, so that a
galaxy has the adaptive size that the catalogue means, not only its half-light radius.
"""

import numpy as np
from astropy.table import Table
from keras import ops
from scipy.special import ndtri

from btk_generative.training.default.cosmos import FittedGalaxies
from btk_generative.training.default.moments import INDICES
from btk_generative.training.default.sersic import N_RANGE

RANDOM_SIZE = 2
"""Normal random numbers that a shape takes: for the Sersic indices of bulge and disk."""

PARTS = ("bulge", "disk")

_TRUSTED_MAGNITUDE, _TRUSTED_RADIUS = 22.5, 0.2  # mag, arcsec: of the faintest and the smallest
_FAR = 2.5  # standard deviations beyond which no index is drawn

_MATTERS = 0.1  # share of the light from which on it matters that a component is out of the domain

DOMAIN = (0.001, 0.999)
"""Quantiles of the training data between which an input lies in the domain."""


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

    They are log-normal. The medians are those that a catalogue means.
    """

    def __init__(self, galaxies: FittedGalaxies):
        """Measures how the indices scatter.

        Args:
            galaxies: Training data.
        """
        given = galaxies.conditions
        self.domain = Domain(given)
        trusted = np.isfinite(galaxies.index) & (given["mag_auto"] < _TRUSTED_MAGNITUDE)
        self.scatter = {}
        for part in PARTS:
            large = np.ma.filled(given[f"{part}_hlr"], 0.0) > _TRUSTED_RADIUS
            fitted = np.log(galaxies.index[np.asarray(trusted & given[f"{part}_present"]) & large])
            quartiles = np.quantile(fitted, [0.25, 0.75])  # fits that pile up at limits are beyond
            self.scatter[part] = np.float32(np.diff(quartiles)[0] / (2 * ndtri(0.75)))

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
        index = [
            median * ops.exp(self.scatter[part] * ops.clip(random_normal[:, k], -_FAR, _FAR))
            for k, (part, median) in enumerate(zip(PARTS, INDICES, strict=True))
        ]
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

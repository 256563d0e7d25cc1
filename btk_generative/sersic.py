"""Sersic profiles: surface brightness exp(-b r^(1/n)), with r in half-light radii.

Formulas of Graham & Driver 2005 (PASA 22, 118).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gamma, gammainc, gammaincinv

Array = NDArray[np.float64]


def steepness(n: ArrayLike) -> Array:
    """Returns b of an index n: half of the light lies within r = 1 (their equation 4)."""
    return gammaincinv(2 * np.asarray(n), 0.5)


def total_flux(n: ArrayLike) -> Array:
    """Returns the integral of exp(-b r^(1/n)) over the plane (their equation 2 without limit)."""
    n = np.asarray(n)
    return 2 * np.pi * n * gamma(2 * n) / steepness(n) ** (2 * n)


def surface_brightness(radius: ArrayLike, n: float) -> Array:
    """Returns the surface brightness of a profile of flux 1 and half-light radius 1.

    Args:
        radius: Radii in half-light radii, any shape.
        n: Sersic index.
    """
    return np.exp(-steepness(n) * np.asarray(radius) ** (1 / n)) / total_flux(n)


def light_within(radius: ArrayLike, n: ArrayLike) -> Array:
    """Returns the share of the light within radii, in half-light radii (their equation 2)."""
    n = np.asarray(n)
    return gammainc(2 * n, steepness(n) * np.asarray(radius) ** (1 / n))


def radius_within(share: ArrayLike, n: ArrayLike) -> Array:
    """Returns the radius within which a share of the light lies, in half-light radii."""
    n = np.asarray(n)
    return (gammaincinv(2 * n, share) / steepness(n)) ** n


def half_light_radius(parts: Sequence[tuple[Array, Array, float]]) -> Array:
    """Returns the half-light radii of concentric, circular sums of Sersic profiles.

    Newton's method in log radius. A row's result does not depend on the others, to the bit.

    Args:
        parts: Half-light radius, share of the light and Sersic index of each profile; radii and
            shares have shape ``[n]``, and the shares of a row add up to 1.
    """
    low, high = (f([size for size, *_ in parts], axis=0) for f in (np.min, np.max))
    radius, found = np.sqrt(low * high), np.zeros(len(low), dtype=bool)
    for _ in range(100):  # five or six do, unless the sizes are orders of magnitude apart
        light = slope = 0.0
        for size, share, n in parts:
            x = gammaincinv(2 * n, 0.5) * (radius / size) ** (1 / n)
            light = light + share * gammainc(2 * n, x)
            slope = slope + share * x ** (2 * n) * np.exp(-x) / (n * gamma(2 * n))
        low, high = np.where(light < 0.5, radius, low), np.where(light < 0.5, high, radius)
        step = radius * np.exp(np.clip((0.5 - light) / slope, -5, 5))
        step = np.where((low <= step) & (step <= high), step, np.sqrt(low * high))
        radius, found = np.where(found, radius, step), found | (abs(step / radius - 1) < 1e-9)
        if found.all():
            break
    return radius

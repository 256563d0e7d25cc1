"""Structure of real galaxies: the logarithm of their images over a smooth elliptical profile."""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from btk_generative.errors import CatalogError
from btk_generative.training.default.sersic import reach

GRID = 32
"""Pixels on a side of the frame on which structure is learnt, as wide as an n = 1 galaxy's."""

HALF_WIDTH = float(reach(np.float32(1.0)))
"""Half-width of that frame, half-light radii of the major axis."""

_SKY = 0.005  # MJy/sr, rms of the sky of the original images, which sets the scale of arcsinh
_STRETCH = 300.0  # grey levels over which arcsinh(data) was spread
_CLIPPED = 250.0  # grey level from which the core counts as clipped
_FLOOR = 0.1  # uncertainty of the logarithm where the light is bright
_CENTRE_WIDTHS = (0.9, 2.0)  # half-light radii, of Gaussians in which a galaxy may be off centre
_SHAPE_WIDTHS = (0.5, 1.0, 2.0)  # of those in which its brightness and axes may differ


@dataclass(frozen=True)
class Residuals:
    """Structure of galaxies in their own frames, the major axis along +x."""

    ratio: np.ndarray
    """log(image / smooth profile), without what is a change of shape, float32, 0 where unknown,
    shape ``[n, GRID, GRID]``."""

    weight: np.ndarray
    """Inverse variance of ``ratio``, 0 where unknown, the same shape."""

    axis_ratio: np.ndarray
    """Of the smooth profile, shape ``[n]``."""

    concentration: np.ndarray
    """Radius of 20 % over radius of 80 % of the light within 4 half-light radii, ``[n]``."""


def read_residuals(path: str | Path, number: int | None = None) -> Residuals:
    """Measures the structure of size-normalised JWST stamps.

    Each stamp is put back on a linear scale, its centre and shape are those of GalSim's adaptive
    moments, and the smooth profile is the mean in elliptical rings. The clipped core, neighbours
    and rings that are lost in the noise are left out. What a shift, a twist or another axis ratio,
    varying with radius, would do to a smooth galaxy is no structure, and is fitted and taken off.

    Args:
        path: NumPy archive with ``image`` (16 x grey level, arcsinh scale, 0 to 300 clipped at
            255) and ``background_sigma`` (grey levels).
        number: Read the first so many, or all.

    Returns:
        The galaxies that could be measured, in the order of the file.

    Raises:
        CatalogError: If the file cannot be read.
    """
    try:
        with np.load(path) as archive:
            images, sigmas = archive["image"][:number], archive["background_sigma"][:number]
    except (OSError, KeyError, ValueError) as error:
        raise CatalogError(f"{path}: cannot be read as stamps: {error}") from error
    bar = tqdm(zip(images, sigmas, strict=True), total=len(images), desc="Structure", delay=2)
    measured = [m for m in (_measure(image / 16.0, sigma) for image, sigma in bar) if m]
    ratio, weight, axis_ratio, concentration = map(np.array, zip(*measured, strict=True))
    return Residuals(ratio.astype(np.float32), weight.astype(np.float32), axis_ratio, concentration)


def _measure(grey, sigma):
    """Returns ratio, weight, axis ratio and concentration of one stamp, or None."""
    size = len(grey)
    border = np.ones_like(grey, dtype=bool)
    border[8:-8, 8:-8] = False
    sky = np.median(grey[border])
    step = _SKY / max(sigma, 0.5)  # arcsinh units per grey level
    image = np.sinh((grey - sky) * step) / step
    noise = 1.4826 * np.median(np.abs(image[border] - np.median(image[border])))
    noise = max(noise, 0.3)
    core = grey >= _CLIPPED
    moments = galsim.hsm.FindAdaptiveMom(
        galsim.ImageD(image, scale=1),
        guess_sig=4,
        guess_centroid=galsim.PositionD(size / 2 + 0.5, size / 2 + 0.5),
        strict=False,
    )
    if moments.error_message:
        return None
    x0, y0 = moments.moments_centroid.x - 1, moments.moments_centroid.y - 1
    shape = moments.observed_shape
    axis_ratio, beta = shape.q, shape.beta.rad
    if np.hypot(x0 - size / 2 + 0.5, y0 - size / 2 + 0.5) > 5 or axis_ratio < 0.12:
        return None
    y, x = np.indices(image.shape)
    u = (x - x0) * np.cos(beta) + (y - y0) * np.sin(beta)
    v = -(x - x0) * np.sin(beta) + (y - y0) * np.cos(beta)
    radius = np.sqrt(u**2 * axis_ratio + v**2 / axis_ratio)  # circularised, in pixels
    ring = np.minimum((radius / 1.25).astype(int), 60)
    good = _without_neighbours(image, radius, ring, noise)
    count = np.bincount(ring[good], minlength=61)
    profile = np.bincount(ring[good], image[good], minlength=61) / np.maximum(count, 1)
    middle = (np.arange(61) + 0.5) * 1.25
    light = np.cumsum(np.maximum(profile, 0) * (2 * np.pi * middle * 1.25))
    hlr = 6.0
    for _ in range(10):
        total = np.interp(4 * hlr, middle + 0.625, light)
        hlr = np.interp(0.5 * total, np.r_[0, light], np.r_[0, middle + 0.625])
    if not 2.5 < hlr < 11:
        return None
    radii = [np.interp(s * total, np.r_[0, light], np.r_[0, middle + 0.625]) for s in (0.2, 0.8)]
    # Rings from the first that is lost in the noise are unknown.
    error = noise / np.sqrt(np.maximum(count, 1))
    lost = np.flatnonzero((profile < 4 * error) | (count < 4) & (middle > 3))
    last = middle[lost[0]] if len(lost) else middle[-1]
    known = good & ~core & (radius < min(last, 4 * hlr))
    smooth = np.interp(radius, middle, profile)
    smooth = np.maximum(smooth, 0.05 * noise)
    ratio = np.log(np.maximum(image / smooth, 0.1))
    weight = known / ((noise / smooth) ** 2 + _FLOOR**2)
    # Into the frame: mean of ratio, by weight, over each of its pixels.
    pixel = 2 * HALF_WIDTH * hlr / np.sqrt(axis_ratio) / GRID
    centre = (np.arange(GRID * 3) + 0.5) / 3 * pixel - 0.5 * GRID * pixel
    uu, vv = np.meshgrid(centre, centre)
    xx = x0 + uu * np.cos(beta) - vv * np.sin(beta)
    yy = y0 + uu * np.sin(beta) + vv * np.cos(beta)

    def frame(array):
        drawn = ndimage.map_coordinates(array, [yy, xx], order=1, cval=0.0)
        return drawn.reshape(GRID, 3, GRID, 3).mean((1, 3))

    weights = frame(weight)
    ratios = frame(weight * ratio) / np.maximum(weights, 1e-9)
    weights = np.where(weights < 0.3, 0, weights)
    if np.count_nonzero(weights) < 40:
        return None
    ratios = np.where(weights > 0, ratios - _shape(ratios, weights, axis_ratio), 0)
    return ratios, weights, axis_ratio, radii[0] / radii[1]


def _shape(ratio, weight, axis_ratio):
    """Returns the part of a ratio that is a change of profile, centre or axes, ``[GRID, GRID]``."""
    place = (np.arange(GRID) + 0.5 - GRID / 2) / (GRID / 2) * HALF_WIDTH
    x, y = (v.ravel() for v in np.meshgrid(place, place / axis_ratio))
    functions = [np.ones_like(x)]
    for width in _CENTRE_WIDTHS:
        fall = np.exp(-0.5 * (x**2 + y**2) / width**2)
        functions += [fall * x, fall * y]
    for width in _SHAPE_WIDTHS:
        fall = np.exp(-0.5 * (x**2 + y**2) / width**2)
        functions += [fall, fall * (x**2 - y**2), fall * 2 * x * y]
    functions = np.array(functions)
    weighted = functions * weight.ravel()
    slope = weighted @ functions.T + np.eye(len(functions))
    return (np.linalg.solve(slope, weighted @ ratio.ravel()) @ functions).reshape(GRID, GRID)


def _without_neighbours(image, radius, ring, noise):
    """Returns where no other galaxy shows: bright against the ring's median, and far out."""
    smoothed = ndimage.gaussian_filter(image, 1.0)
    typical = ndimage.median(smoothed, ring, np.arange(61))[ring]
    scale = max(
        np.sqrt(
            (radius**2 * np.maximum(image, 0) * (radius < 12)).sum()
            / max((np.maximum(image, 0) * (radius < 12)).sum(), 1e-9)
        ),
        3.0,
    )
    odd = (smoothed > 2.5 * np.maximum(typical, 0) + 3 * noise) & (radius > 2.0 * scale)
    return ~ndimage.binary_dilation(odd, iterations=2)

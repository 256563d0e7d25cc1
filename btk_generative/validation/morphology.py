"""Morphology statistics of a galaxy stamp, as the curves of Lanusse et al. 2021 were measured.

`statmorph` follows other definitions: its M and Gini lie 1.5 standard deviations off the published
curves. The algorithm here is that of the paper's own program, and the galaxies of the paper, drawn
as parametric fits, reproduce the published parametric curves within these curves' own noise.

References:
    Hirata & Seljak 2003, MNRAS 343, 459 (adaptive moments, through `galsim.hsm`).
    Lotz, Primack & Madau 2004, AJ 128, 163 (Gini, M20).
    Freeman et al. 2013, MNRAS 434, 282 (mask; multi-mode M, intensity I, deviation D).
    Lanusse et al. 2021, MNRAS 504, 5543, arXiv:2008.03833; its program is in
        github.com/McWilliamsCenter/deep_galaxy_models.
"""

from typing import NamedTuple

import galsim
import numpy as np
from scipy import ndimage

PIXEL_SCALE = 0.03
"""Pixel of a stamp, arcsec."""

STAMP_SIZE = 128
"""Pixels on a side of the stamp on which the adaptive moments are measured."""

CROP_SIZE = 64
"""Pixels on a side of the stamp's centre, on which the other statistics are measured."""

_NEIGHBOURS = np.ones((3, 3), dtype=bool)
_QUANTILES = 0.99 - 0.005 * np.arange(198)
_SEED = 31


class Morphology(NamedTuple):
    """The statistics of one stamp. A statistic that could not be measured is NaN."""

    flux: float
    """Flux of the adaptive elliptical Gaussian, counts."""

    x: float
    """Adaptive centroid from the stamp's centre, pixels."""

    y: float
    """Adaptive centroid from the stamp's centre, pixels."""

    g1: float
    """Adaptive shape, reduced shear (a - b) / (a + b) along x."""

    g2: float
    """Adaptive shape along the diagonal."""

    g: float
    """Ellipticity, hypot(g1, g2)."""

    size: float
    """Determinant radius of the adaptive Gaussian, arcsec."""

    rho4: float
    """Weighted radial fourth moment; 2 for a Gaussian."""

    log10_M: float
    """Multi-mode statistic, log10; NaN where M = 0 (one mode at every level)."""

    log10_I: float
    """Intensity of the second brightest basin over the brightest, log10; NaN where I = 0."""

    D: float
    """Distance of the brightest peak from the centroid over the mask's radius."""

    gini: float
    """Gini coefficient of the flux in the mask."""

    m20: float
    """log10 of the second moment of the brightest 20 % of the flux over that of all of it."""


def measure(stamp: np.ndarray) -> Morphology:
    """Returns the statistics of one stamp.

    Args:
        stamp: Image of 128 x 128 pixels of 0.03 arcsec with its noise, the galaxy in the middle,
            counts of the GalSim COSMOS catalogue.

    Raises:
        ValueError: If the stamp has another shape.
    """
    if np.shape(stamp) != (STAMP_SIZE, STAMP_SIZE):
        raise ValueError(f"a stamp is {STAMP_SIZE} x {STAMP_SIZE} pixels, not {np.shape(stamp)}")
    edge = (STAMP_SIZE - CROP_SIZE) // 2
    crop = np.asarray(stamp, dtype=np.float64)[edge:-edge, edge:-edge]
    return Morphology(*_adaptive_moments(stamp), *nonparametric(crop))


def nonparametric(crop: np.ndarray) -> tuple[float, float, float, float, float]:
    """Returns log10 M, log10 I, D, Gini and M20 of the centre of a stamp.

    Args:
        crop: Image of 64 x 64 pixels, float64.

    Returns:
        Five numbers, all NaN where no mask is found or no light in it.
    """
    mask = galaxy_mask(crop)
    flux = np.where(False if mask is None else mask, np.maximum(crop, 0), 0)
    if not flux.any():
        return (np.nan,) * 5
    return (
        _log10(multimode(flux)),
        *_intensity_and_deviation(flux),
        gini(flux),
        m20(flux),
    )


def galaxy_mask(image: np.ndarray) -> np.ndarray | None:
    """Returns the pixels that belong to the galaxy (Freeman et al. 2013, section 3.1).

    The connected region around the centre grows as the threshold falls, one half per cent of the
    pixels at a time, until it percolates into the noise or its rim is faint against its mean.

    Args:
        image: Square image; the galaxy covers the pixel (31, 31).

    Returns:
        Mask of the image's shape, or None where the growth never stops.
    """
    pixels = image.size
    ordered = np.sort(image, axis=None)
    region = before = None
    mean, area = 0.0, 0
    for k, quantile in enumerate(_QUANTILES, start=1):
        threshold = ordered[int(quantile * pixels) - 1]
        if image[_SEED, _SEED] <= threshold:
            continue
        labels, _ = ndimage.label(image > threshold, structure=_NEIGHBOURS)
        before, region = region, labels == labels[_SEED, _SEED]
        grown = int(np.count_nonzero(region))
        if before is None:
            mean, area = image[region].mean(), grown
            continue
        added = grown - area
        if added < 16:
            continue
        total = image[region].sum()
        rim = (total - mean * area) / added
        if added > 1.1 * pixels / 200 and k > 10:
            return _fill(before)
        area = grown
        if rim / (mean + rim) < 0.2:
            return _fill(region)
        mean = total / grown
    return None


def _fill(mask: np.ndarray) -> np.ndarray:
    """Sets pixels off the border with more than 4 of 8 masked neighbours, until none is left."""
    mask = mask.copy()
    inner = mask[1:-1, 1:-1]
    while True:
        rows = mask[:-2].astype(np.int8) + mask[1:-1] + mask[2:]
        around = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] - inner
        new = (around > 4) & ~inner
        if not new.any():
            return mask
        inner |= new


def multimode(flux: np.ndarray) -> float:
    """Returns M, the largest (A2 / A1) (A2 / n) over levels (Freeman et al. 2013, equation 2).

    A1 and A2 are the areas of the two largest regions above a level, n the number of lit pixels.

    Args:
        flux: Non-negative image, zero off the mask.
    """
    values = np.sort(flux[flux > 0])
    n = len(values)
    best = 0.0
    for quantile in np.arange(0, 1, 0.025):
        rank = round(n * quantile)
        if rank <= 1:
            continue
        labels, count = ndimage.label(flux >= values[rank - 1], structure=_NEIGHBOURS)
        if count > 1:
            second, first = np.sort(np.bincount(labels.ravel())[1:])[-2:]
            best = max(best, second / first * second / n)
    return best


def _intensity_and_deviation(flux: np.ndarray) -> tuple[float, float]:
    """Returns log10 I and D (Freeman et al. 2013, equations 3 and 4)."""
    smooth = ndimage.gaussian_filter(flux, 1.0, mode="constant")
    smooth[np.abs(smooth) < 1e-5] = 0
    basin = _summits(smooth)
    lit = smooth.ravel() != 0
    if not lit.any():
        return np.nan, np.nan
    sums = np.bincount(basin[lit], weights=flux.ravel()[lit], minlength=flux.size)
    peak = int(np.argmax(sums))
    brightest = sums[peak]
    sums[peak] = 0
    y, x = np.indices(flux.shape)
    total = flux.sum()
    row, column = divmod(peak, flux.shape[1])
    distance = np.hypot(row - (flux * y).sum() / total, column - (flux * x).sum() / total)
    return _log10(sums.max() / brightest), distance / np.sqrt(np.count_nonzero(flux) / np.pi)


def _summits(image: np.ndarray) -> np.ndarray:
    """Returns, for each pixel, the flat index of the local maximum that it climbs to."""
    height, width = image.shape
    padded = np.pad(image, 1, constant_values=-np.inf)
    best = image.copy()
    up = np.arange(image.size).reshape(image.shape)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            near = padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width]
            higher = near > best
            best[higher] = near[higher]
            up[higher] = np.flatnonzero(higher) + dy * width + dx
    summit = up.ravel()
    while True:
        further = summit[summit]
        if np.array_equal(further, summit):
            return summit
        summit = further


def gini(flux: np.ndarray) -> float:
    """Returns the Gini coefficient of the lit pixels (Lotz et al. 2004, equation 6)."""
    values = np.sort(flux[flux > 0])
    n = len(values)
    if n < 2:
        return np.nan
    return float((2 * np.arange(1, n + 1) - n - 1) @ values / (values.mean() * n * (n - 1)))


def m20(flux: np.ndarray) -> float:
    """Returns M20 about the flux centroid (Lotz et al. 2004, equations 7 and 8)."""
    y, x = np.nonzero(flux)
    values = flux[y, x]
    total = values.sum()
    moment = values * ((x - values @ x / total) ** 2 + (y - values @ y / total) ** 2)
    order = np.argsort(-values, kind="stable")
    bright = order[: np.searchsorted(np.cumsum(values[order]), 0.2 * total) + 1]
    return _log10(moment[bright].sum() / moment.sum()) if moment.any() else np.nan


def _adaptive_moments(
    stamp: np.ndarray,
) -> tuple[float, float, float, float, float, float, float, float]:
    """Returns flux, x, y, g1, g2, g, size and rho4 of the adaptive Gaussian."""
    image = galsim.Image(np.asarray(stamp, dtype=np.float64), xmin=1, ymin=1, scale=PIXEL_SCALE)
    centre = galsim.PositionD(STAMP_SIZE / 2, STAMP_SIZE / 2)
    found = galsim.hsm.FindAdaptiveMom(image, guess_centroid=centre, strict=False)
    if found.moments_status != 0:
        return (np.nan,) * 8
    shape = found.observed_shape
    middle = (STAMP_SIZE + 1) / 2
    return (
        found.moments_amp,
        found.moments_centroid.x - middle,
        found.moments_centroid.y - middle,
        shape.g1,
        shape.g2,
        shape.g,
        found.moments_sigma * PIXEL_SCALE,
        found.moments_rho4,
    )


def _log10(value: float) -> float:
    """Returns log10, NaN for 0: a zero is not in the published curves."""
    return float(np.log10(value)) if value > 0 else np.nan

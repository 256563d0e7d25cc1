"""Nearest training neighbours of a model's galaxies: does it draw what it was shown?

Galaxies are compared by their structure: what is left of a stamp, in a frame turned to the major
axis and scaled to the half-light radius, when its smooth elliptical profile is removed.
"""

from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from btk_generative.errors import CatalogError
from btk_generative.models.profiles import LightProfiles
from btk_generative.randomness import stream

FRAME = 24
"""Pixels on a side of the maps that are compared; they reach to 2.5 half-light radii."""

PAIRS = 8
"""How many of the closest pairs are kept to be looked at."""

_REACH = 2.5
_TRAINING_HLR = 5.66
_DEGREE = 8


@dataclass(frozen=True)
class Neighbours:
    """Structural distances: 1 minus the largest correlation over the four reflections."""

    drawn: np.ndarray
    """From each drawn galaxy to its nearest training stamp, shape ``[n]``."""

    nearest: np.ndarray
    """Which training stamp that is, shape ``[n]``."""

    training: np.ndarray
    """From training stamps to the nearest other one, shape ``[m]``: what new galaxies give."""

    closest: np.ndarray
    """Maps of the drawn galaxies that are nearest to a training stamp, and of that stamp reflected
    to match, shape ``[pairs, 2, FRAME, FRAME]``."""


def read_training_stamps(path: Path) -> np.ndarray:
    """Returns training stamps whose circularised half-light radius is 5.66 pixels.

    Args:
        path: NPZ file with ``image``, arcsinh-scaled brightness, shape ``[m, S, S]``.

    Returns:
        Brightness above the border's median, float32, shape ``[m, S, S]``.

    Raises:
        CatalogError: If the file cannot be read or lacks the array.
    """
    try:
        with np.load(path) as file:
            images = file["image"].astype(np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise CatalogError(f"{path}: not a file of training stamps ({error})") from error
    return images - np.median(_border(images), axis=1)[:, None, None]


def nearest_neighbours(
    profiles: LightProfiles, hlr: np.ndarray, training: np.ndarray, seed: int = 0
) -> Neighbours:
    """Compares drawn galaxies with training stamps.

    The drawn galaxies get the stretch and the noise of the training stamps. Each training stamp's
    own nearest neighbour among the others says how near a galaxy is that was never seen.

    Args:
        profiles: Drawn galaxies, n of them.
        hlr: Their half-light radii, arcsec, shape ``[n]``.
        training: Result of `read_training_stamps`.
        seed: Seed of the noise and of which training stamps are compared with the others.
    """
    rng = np.random.default_rng(stream(seed))
    peak = training.max(axis=(1, 2))
    noise = 1.4826 * np.median(np.abs(_border(training)), axis=1) / peak
    shown = tqdm(training, desc="training stamps", unit="stamp")
    maps = np.stack([structure(image, _TRAINING_HLR) for image in shown])
    found = []
    for image, radius in zip(profiles.images, hlr / profiles.pixel_scale, strict=True):
        # on pixels of the training stamps' size, so that the noise has the same scale
        zoomed = _resample(image.astype(float), radius / _TRAINING_HLR, training.shape[-1])
        stretched = np.arcsinh(zoomed / (0.02 * zoomed.max()))
        sigma = noise[rng.integers(len(noise))] * stretched.max()
        noisy = stretched + sigma * rng.standard_normal(stretched.shape)
        found.append(structure(noisy, _TRAINING_HLR))
    drawn = np.stack(found)
    similar = _similarity(drawn, maps)
    nearest = similar.argmax(1)
    first = np.argsort(-similar.max(1), kind="stable")[:PAIRS]
    closest = [(_square(drawn[k]), _matched(maps[nearest[k]], drawn[k])) for k in first]
    picked = rng.choice(len(maps), min(len(drawn), len(maps)), replace=False)
    others = _similarity(maps[picked], maps)
    others[np.arange(len(picked)), picked] = -1
    return Neighbours(1 - similar.max(1), nearest, 1 - others.max(1), np.array(closest))


def structure(image: np.ndarray, hlr: float) -> np.ndarray:
    """Returns what an elliptical profile does not explain of a stamp, a unit vector.

    Args:
        image: Brightness, shape ``[S, S]``.
        hlr: Half-light radius, pixels.

    Returns:
        Map of `FRAME` x `FRAME` pixels with the major axis along x, flattened; zeros where the
        galaxy's moments cannot be measured.
    """
    found = galsim.hsm.FindAdaptiveMom(galsim.Image(np.asarray(image, dtype=float)), strict=False)
    if found.moments_status != 0:
        return np.zeros(FRAME**2, dtype=np.float32)
    q, angle = max(found.observed_shape.q, 0.2), found.observed_shape.beta.rad
    axis = ((np.arange(FRAME) + 0.5) / FRAME * 2 - 1) * _REACH * hlr
    along, across = np.meshgrid(axis, axis)
    x = found.moments_centroid.x - 1 + along * np.cos(angle) - across * np.sin(angle)
    y = found.moments_centroid.y - 1 + along * np.sin(angle) + across * np.cos(angle)
    seen = ndimage.map_coordinates(np.asarray(image, dtype=float), [y, x], order=1)
    radius = np.hypot(along, across / q)
    profile = np.polynomial.chebyshev.chebvander(2 * (radius / radius.max()).ravel() - 1, _DEGREE)
    values = seen.ravel()
    residual = values - profile @ np.linalg.lstsq(profile, values, rcond=None)[0]
    residual[np.hypot(along, across).ravel() > _REACH * hlr] = 0
    length = np.linalg.norm(residual)
    return (residual / length if length > 0 else residual).astype(np.float32)


def _square(maps: np.ndarray) -> np.ndarray:
    return maps.reshape(*maps.shape[:-1], FRAME, FRAME)


def _reflections(maps: np.ndarray) -> list[np.ndarray]:
    """Returns the four reflections of flat maps, shape ``[..., FRAME, FRAME]`` each."""
    square = _square(maps)
    return [square, square[..., ::-1, :], square[..., ::-1], square[..., ::-1, ::-1]]


def _similarity(maps: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the largest correlation over the reflections of each pair, ``[n, m]``."""
    return np.max([flip.reshape(len(maps), -1) @ others.T for flip in _reflections(maps)], axis=0)


def _matched(values: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Returns the reflection of one map that is most like another."""
    return max(_reflections(values), key=lambda flip: float(flip.ravel() @ other))


def _resample(image: np.ndarray, step: float, size: int) -> np.ndarray:
    """Returns an image on ``size`` pixels of ``step`` old ones, about the same centre."""
    offset = (image.shape[0] - 1) / 2 - step * (size - 1) / 2
    return ndimage.affine_transform(image, [step, step], [offset] * 2, (size, size), order=1)


def _border(images: np.ndarray) -> np.ndarray:
    """Returns the pixels of the outermost four rows and columns, shape ``[n, pixels]``."""
    mask = np.ones(images.shape[1:], dtype=bool)
    mask[4:-4, 4:-4] = False
    return images[:, mask]

"""The galaxies of one sample, drawn as parametric fits, by a model, or as HST saw them.

A batch holds what is needed to draw and to measure some rows; it travels to worker processes.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import galsim
import numpy as np
from astropy.table import Table, hstack

from btk_generative.conditions import fitted_position_angle, from_cosmos
from btk_generative.galaxies import Galaxies, GalaxySampler
from btk_generative.hst.instrument import read_psfs
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.morphology import PIXEL_SCALE, STAMP_SIZE, Morphology, measure
from btk_generative.validation.stamps import add_cosmos_noise, choices, convolved

if TYPE_CHECKING:
    from btk_generative.models import GenerativeModel

BATCH = 256
"""Galaxies that a model samples, and a worker draws and measures, at a time."""

_SUBPIXELS = 3
_RINGS = 10


@dataclass(frozen=True)
class Batch:
    """Some rows of a catalogue as their full parametric fits.

    A row has the same PSF and the same noise in every arm: its own PSF where the catalogue has
    images, a random one otherwise.
    """

    sample: CosmosSample
    """The catalogue."""

    rows: np.ndarray
    """Rows of the catalogue, shape ``[n]``."""

    psfs: Path
    """FITS file of ACS PSFs, for `read_psfs`."""

    seed: int
    """Seed of PSF and noise."""

    def __len__(self) -> int:
        return len(self.rows)

    def galaxies(self) -> Iterator[galsim.GSObject]:
        """Yields the light profile of each row."""
        for row in self.rows:
            yield self.sample.parametric(row)

    def seen(self) -> Iterator[np.ndarray]:
        """Yields each row through its PSF, without noise, float64, shape ``[128, 128]``."""
        for row, galaxy in zip(self.rows, self.galaxies(), strict=True):
            if self.sample.has_images:
                psf = self.sample.psf(row)
            else:
                psfs = read_psfs(self.psfs)
                psf = psfs[int(choices(self.seed, int(row))[0] * len(psfs))]
            yield convolved(galaxy, psf)

    def stamps(self) -> Iterator[np.ndarray]:
        """Yields the stamp of each row with noise, counts per pixel, float64, ``[128, 128]``."""
        for row, image in zip(self.rows, self.seen(), strict=True):
            yield add_cosmos_noise(image, choices(self.seed, int(row))[1])

    def measure(self) -> Table:
        """Returns the statistics of each row: ``row`` and the fields of `Morphology`."""
        table = Table(rows=[measure(stamp) for stamp in self.stamps()], names=Morphology._fields)
        table.add_column(self.rows, name="row", index=0)
        return table


@dataclass(frozen=True)
class ProfileBatch(Batch):
    """Some rows of a catalogue as the profiles that a model has drawn for them."""

    drawn: Galaxies
    """A galaxy per row."""

    flux: np.ndarray
    """Counts, shape ``[n]``."""

    angle: np.ndarray
    """Angle of the major axis from +x, radians, shape ``[n]``."""

    def galaxies(self) -> Iterator[galsim.GSObject]:
        """Yields the light profile of each row, turned to its position angle."""
        yield from self.drawn.to_galsim(self.flux)

    def measure(self) -> Table:
        """Returns the statistics, and the fields of `Shape` of the profiles before any PSF."""
        shapes = Table(
            rows=[
                profile_shape(image, scale)
                for image, scale in zip(
                    self.drawn.profiles.images, self.drawn.profiles.pixel_scale, strict=True
                )
            ],
            names=Shape._fields,
        )
        shapes["profile_angle"] += self.drawn.rotation - self.angle
        return hstack([super().measure(), shapes])


@dataclass(frozen=True)
class PairBatch:
    """Two draws of the same rows, with the same PSF and noise."""

    first: ProfileBatch
    """The one draw."""

    second: ProfileBatch
    """The other."""

    def __len__(self) -> int:
        return len(self.first)

    def measure(self) -> Table:
        """Returns the statistics of the second draw, and ``moved``.

        That is the share of the light that lies elsewhere than in the first draw, through the PSF
        and without noise: half the summed absolute difference over the flux.
        """
        table = self.second.measure()
        both = zip(self.first.seen(), self.second.seen(), strict=True)
        table["moved"] = [0.5 * np.abs(a - b).sum() / a.sum() for a, b in both]
        return table


class Shape(NamedTuple):
    """The shape of a light profile, without PSF and noise."""

    profile_hlr: float
    """Radius of the ellipse that holds half the light, arcsec, circularised."""

    profile_q: float
    """Axis ratio of the adaptive elliptical Gaussian."""

    profile_angle: float
    """Angle of its major axis from the frame's +x, radians in (-pi/2, pi/2]."""


def profile_shape(image: np.ndarray, pixel_scale: float) -> Shape:
    """Returns the shape of one profile; NaN where the adaptive moments fail.

    Args:
        image: Surface brightness, shape ``[S, S]``.
        pixel_scale: Pixel, arcsec.
    """
    found = galsim.hsm.FindAdaptiveMom(galsim.Image(image.astype(float)), strict=False)
    if found.moments_status != 0:
        return Shape(np.nan, np.nan, np.nan)
    q, angle = found.observed_shape.q, found.observed_shape.beta.rad
    fine = _SUBPIXELS * image.shape[0]
    x = (np.arange(fine) + 0.5) / _SUBPIXELS - image.shape[0] / 2
    x, y = np.meshgrid(x, x)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    radius = np.sqrt(along**2 * q + across**2 / q).ravel()
    weights = _interpolation(image.shape[0])
    light = (weights @ image.astype(float) @ weights.T).ravel()
    grown = np.cumsum(np.bincount((radius * _RINGS).astype(int), weights=light))
    half = np.interp(0.5 * grown[-1], grown, np.arange(1, len(grown) + 1) / _RINGS)
    return Shape(half * pixel_scale, q, angle)


@functools.cache
def _interpolation(size: int) -> np.ndarray:
    """Returns the weights of a profile's pixels at the subpixels, as galaxies are rendered."""
    place = (np.arange(_SUBPIXELS * size) + 0.5) / _SUBPIXELS - 0.5
    distance = place[:, None] - np.arange(size)
    return galsim.Quintic().xval(distance.ravel()).reshape(distance.shape)


@dataclass(frozen=True)
class RealBatch(Batch):
    """Some rows of a catalogue as HST saw them, noise included."""

    def stamps(self) -> Iterator[np.ndarray]:
        """Yields the stamp of each row; noise like its own fills it beyond the image."""
        for row in self.rows:
            _, noise_seed = choices(self.seed, int(row))
            galaxy = self.sample.real(row, noise_seed, STAMP_SIZE * PIXEL_SCALE)
            yield convolved(galaxy, galaxy.original_psf)


@dataclass(frozen=True)
class Arms:
    """Makes the batches of the ways in which the rows of a catalogue are drawn."""

    sample: CosmosSample
    """The catalogue."""

    psfs: Path
    """FITS file of ACS PSFs, for a catalogue without images."""

    model: "GenerativeModel"
    """The model, which gets `conditions` of the rows."""

    seed: int = 0
    """Seed of everything random."""

    def parametric(self, rows: np.ndarray) -> Iterator[Batch]:
        """Yields the rows as their full parametric fits."""
        for piece in _split(rows):
            yield Batch(self.sample, piece, self.psfs, self.seed)

    def real(self, rows: np.ndarray) -> Iterator[RealBatch]:
        """Yields the rows as HST saw them; needs the images."""
        for piece in _split(rows):
            yield RealBatch(self.sample, piece, self.psfs, self.seed)

    def drawn(self, rows: np.ndarray, draw: int = 0) -> Iterator[ProfileBatch]:
        """Yields the rows as the model draws them.

        Conditions outside the model's domain are clipped, as `GenerativeGenerator` does.

        Args:
            rows: Rows of the catalogue, shape ``[n]``.
            draw: Which of several galaxies drawn from the same row.
        """
        for piece in _split(rows):
            records = self.sample.records(piece)
            given = from_cosmos(records)
            flux = given["bulge_flux"].filled(0) + given["disk_flux"].filled(0)
            angle = fitted_position_angle(records)
            sampler = GalaxySampler(self.model, seed=self.seed)
            keys = [(draw, int(row)) for row in piece]
            galaxies = sampler.draw(sampler.from_conditions(given, angle), keys)
            yield ProfileBatch(self.sample, piece, self.psfs, self.seed, galaxies, flux, angle)


def _split(rows: np.ndarray) -> list[np.ndarray]:
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

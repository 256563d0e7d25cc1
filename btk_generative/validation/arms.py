"""The galaxies of one sample drawn in several ways, and measured by several processes.

A batch holds what is needed to draw some rows. It travels to worker processes that are started
afresh, never forked, so that a parent may use TensorFlow.
"""

import multiprocessing
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import galsim
import numpy as np
from astropy.table import Table, vstack
from tqdm import tqdm

from btk_generative.models.profiles import LightProfiles
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.morphology import PIXEL_SCALE, STAMP_SIZE, Morphology, measure
from btk_generative.validation.stamps import add_cosmos_noise, choices, convolved, read_psfs

BATCH = 128
"""Galaxies that a worker draws and measures at a time."""


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

    def galaxies(self) -> Iterator[galsim.GSObject]:
        """Yields the light profile of each row."""
        for row in self.rows:
            yield self.sample.parametric(row)

    def stamps(self) -> Iterator[np.ndarray]:
        """Yields the stamp of each row, counts per pixel, float64, shape ``[128, 128]``."""
        for row, galaxy in zip(self.rows, self.galaxies(), strict=True):
            which, noise_seed = choices(self.seed, int(row))
            if self.sample.has_images:
                psf = self.sample.psf(row)
            else:
                psfs = read_psfs(self.psfs)
                psf = psfs[int(which * len(psfs))]
            yield add_cosmos_noise(convolved(galaxy, psf), noise_seed)

    def measure(self) -> Table:
        """Returns the statistics of each row: ``row`` and the fields of `Morphology`."""
        table = Table(rows=[measure(stamp) for stamp in self.stamps()], names=Morphology._fields)
        table.add_column(self.rows, name="row", index=0)
        return table


@dataclass(frozen=True)
class ProfileBatch(Batch):
    """Some rows of a catalogue as the profiles that a model has drawn for them."""

    profiles: LightProfiles
    """A profile per row."""

    flux: np.ndarray
    """Counts, shape ``[n]``."""

    angle: np.ndarray
    """Angle of the major axis from +x, radians, shape ``[n]``."""

    def galaxies(self) -> Iterator[galsim.GSObject]:
        """Yields the light profile of each row, turned to its position angle."""
        angle = self.angle
        if not self.profiles.oriented:
            angle = angle - self.profiles.position_angle()
        shapes = self.profiles.to_galsim()
        for shape, flux, radians in zip(shapes, self.flux, angle, strict=True):
            yield shape.withFlux(flux).rotate(radians * galsim.radians)


@dataclass(frozen=True)
class RealBatch(Batch):
    """Some rows of a catalogue as HST saw them, noise included."""

    def stamps(self) -> Iterator[np.ndarray]:
        """Yields the stamp of each row; noise like its own fills it beyond the image."""
        for row in self.rows:
            _, noise_seed = choices(self.seed, int(row))
            galaxy = self.sample.real(row, noise_seed, STAMP_SIZE * PIXEL_SCALE)
            yield convolved(galaxy, galaxy.original_psf)


def measure_all(batches: Iterable[Batch], total: int, label: str, jobs: int = 1) -> Table:
    """Returns the statistics of every galaxy of some batches, in their order.

    Args:
        batches: What to draw; taken one by one, a few ahead of what is being measured.
        total: Number of galaxies, for the progress bar.
        label: What the progress bar says.
        jobs: Worker processes; 1 works in this one.
    """
    with tqdm(total=total, desc=label, unit="galaxy") as bar:
        tables = []
        for table in _in_order(batches, jobs):
            tables.append(table)
            bar.update(len(table))
    return vstack(tables)


def _in_order(batches: Iterable[Batch], jobs: int) -> Iterator[Table]:
    """Yields the measurements of each batch; at most ``jobs + 2`` batches are in memory."""
    if jobs == 1:
        for batch in batches:
            yield batch.measure()
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=spawn) as pool:
        waiting = deque()
        for batch in batches:
            waiting.append(pool.submit(batch.measure))
            if len(waiting) > jobs + 1:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def split(rows: np.ndarray) -> list[np.ndarray]:
    """Returns the rows in pieces of `BATCH`."""
    return [rows[start : start + BATCH] for start in range(0, len(rows), BATCH)]

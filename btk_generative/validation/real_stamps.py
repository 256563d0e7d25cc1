"""Real HST stamps against a model's: can a classifier tell them apart?

The catalogue of stamps has no parametric fits, so each is fitted by a Sersic profile here. A model
is given the fit as its inputs; PSF, noise and the stamp's border are those of the real galaxy.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import astropy.units as u
import galsim
import numpy as np
from astropy.table import MaskedColumn, Table
from scipy import ndimage

from btk_generative.errors import CatalogError
from btk_generative.galaxies import Galaxies
from btk_generative.randomness import stream
from btk_generative.validation.morphology import CROP_SIZE, PIXEL_SCALE, STAMP_SIZE, nonparametric
from btk_generative.validation.sersic_fit import SersicFit, fit_sersic
from btk_generative.validation.stamps import convolved

FEATURES = (
    "log10_M log10_I D gini m20 asymmetry smoothness power_large power_middle power_small".split()
)
"""What the classifier sees of a stamp."""

DRAWS = 3
"""Stamps drawn for each real one."""

_REPEATS = 2
_ABSENT = {"log10_M": -6.0, "log10_I": -3.0}
_BANDS = ((0.02, 0.06), (0.06, 0.12), (0.12, 0.25))


@dataclass(frozen=True)
class RealStamps:
    """A `galsim.RealGalaxyCatalog`, with ``flux_radius`` and ``ZPHOT`` in a file ``_fits`` beside.

    Raises:
        CatalogError: On first use, if the catalogue cannot be opened.
    """

    path: Path
    """The catalogue of images."""

    @property
    def catalog(self) -> galsim.RealGalaxyCatalog:
        """The catalogue; every process opens it once."""
        return _open(Path(self.path))[0]

    @property
    def properties(self) -> Table:
        """Size and redshift of each galaxy."""
        return _open(Path(self.path))[1]

    def __len__(self) -> int:
        return len(self.catalog)

    def background(self, index: int, seed: int) -> np.ndarray:
        """Returns noise like that of a stamp, shape ``[128, 128]``."""
        noise = self.catalog.getNoise(index, rng=galsim.BaseDeviate(seed))
        image = galsim.Image(STAMP_SIZE, STAMP_SIZE, scale=PIXEL_SCALE, dtype=float)
        image.addNoise(noise)
        return image.array

    def real(self, index: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns a real galaxy on a stamp of 128 pixels, and which pixels its image covers."""
        image = self.catalog.getGalImage(index).array.astype(float)
        canvas = self.background(index, seed)
        covered = np.zeros(canvas.shape, dtype=bool)
        here, there = zip(*(_overlap(size) for size in image.shape), strict=True)
        canvas[here] = image[there]
        covered[here] = True
        return canvas, covered

    def drawn(
        self, index: int, galaxy: galsim.GSObject, seed: int, covered: np.ndarray
    ) -> np.ndarray:
        """Returns another galaxy in the place of a real one: same PSF, noise and border."""
        seen = convolved(galaxy, self.catalog.getPSF(index))
        return np.where(covered, seen, 0) + self.background(index, seed)


@cache
def _open(path: Path) -> tuple[galsim.RealGalaxyCatalog, Table]:
    try:
        catalog = galsim.RealGalaxyCatalog(str(path))
        properties = Table.read(path.with_name(path.stem + "_fits.fits"))
        properties["flux_radius"], properties["ZPHOT"]
    except (OSError, KeyError, galsim.GalSimError) as error:
        raise CatalogError(f"{path}: not a catalogue of real galaxies ({error})") from error
    return catalog, properties


def _overlap(size: int) -> tuple[slice, slice]:
    """Returns where an image of some pixels lies on a stamp, and which part of it."""
    if size <= STAMP_SIZE:
        start = (STAMP_SIZE - size) // 2
        return slice(start, start + size), slice(None)
    start = (size - STAMP_SIZE) // 2
    return slice(None), slice(start, start + STAMP_SIZE)


def conditions_of_fits(stamps: RealStamps, fitted: list[SersicFit]) -> Table:
    """Returns what a model is told of the fitted galaxies, as `conditions.from_cosmos` does."""
    steep = np.array([fit.n >= 2.5 for fit in fitted])
    table = Table({"zphot": np.asarray(stamps.properties["ZPHOT"], dtype=float)})
    for part, there in (("bulge", steep), ("disk", ~steep)):
        for name, unit in (("hlr", u.arcsec), ("q", None), ("flux", None)):
            values = [getattr(fit, name) for fit in fitted]
            table[f"{part}_{name}"] = MaskedColumn(values, mask=~there, unit=unit)
        table[f"{part}_present"] = there
    table["mag_auto"] = np.asarray(stamps.catalog.mag, dtype=float) * u.mag
    table["flux_radius"] = np.asarray(stamps.properties["flux_radius"], dtype=float) * u.pix
    return table


def placed(galaxies: Galaxies, fitted: list[SersicFit]) -> list[galsim.GSObject]:
    """Returns galaxies with the flux and the centre of fits."""
    shapes = galaxies.to_galsim([fit.flux for fit in fitted])
    return [shape.shift(fit.x, fit.y) for shape, fit in zip(shapes, fitted, strict=True)]


def features(
    stamp: np.ndarray, covered: np.ndarray, psf: galsim.GSObject, fit: SersicFit
) -> list[float]:
    """Returns `FEATURES` of a stamp.

    Asymmetry is the sum of |I - I180| over that of |I| about the fitted centre, smoothness the sum
    of |I - I smoothed by a Gaussian of 0.25 r| over that of |I| (Conselice 2003, ApJS 147, 1), both
    within r = 2 fitted half-light radii through the PSF. The powers are log10 of the mean power of
    the residual from the fit in three bands, 0.02 to 0.06, 0.12 and 0.25 cycles a pixel.

    Args:
        stamp: Counts per pixel, shape ``[128, 128]``.
        covered: Pixels on which the galaxy was observed.
        psf: PSF.
        fit: Result of `fit_sersic` on this stamp.
    """
    edge = (STAMP_SIZE - CROP_SIZE) // 2
    values = list(nonparametric(stamp[edge:-edge, edge:-edge]))
    values[:2] = [
        _ABSENT[n] if np.isnan(v) else v for n, v in zip(FEATURES[:2], values[:2], strict=True)
    ]
    middle = (STAMP_SIZE - 1) / 2
    x0, y0 = middle + fit.x / PIXEL_SCALE, middle + fit.y / PIXEL_SCALE
    radius = 2 * np.hypot(fit.hlr, 0.05) / PIXEL_SCALE
    y, x = np.indices(stamp.shape)
    inside = (np.hypot(x - x0, y - y0) < radius) & covered
    turned = ndimage.affine_transform(stamp, [-1, -1], offset=[2 * y0, 2 * x0], order=1)
    light = np.abs(stamp[inside]).sum()
    smooth = ndimage.gaussian_filter(stamp, max(0.25 * radius, 1.0), mode="constant")
    residual = np.where(covered, stamp - convolved(fit.galaxy(), psf), 0)[edge:-edge, edge:-edge]
    power = np.abs(np.fft.fft2(residual)) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(CROP_SIZE), np.fft.fftfreq(CROP_SIZE)))
    bands = [power[(frequency >= low) & (frequency < high)].mean() for low, high in _BANDS]
    return [
        *values,
        np.abs(stamp - turned)[inside].sum() / light,
        np.abs(stamp - smooth)[inside].sum() / light,
        *np.log10(bands),
    ]


@dataclass(frozen=True)
class StampTask:
    """One stamp to fit and to measure: the real galaxy, or another in its place."""

    stamps: RealStamps
    """The catalogue."""

    index: int
    """Which galaxy of the catalogue."""

    seed: int
    """Seed of the noise, in [1, 2**31)."""

    galaxy: galsim.GSObject | None = None
    """What is drawn in the place of the real galaxy."""

    def __len__(self) -> int:
        return 1

    def measure(self) -> tuple[np.ndarray, SersicFit, list[float]]:
        """Returns the stamp, its Sersic fit and its `features`."""
        stamp, covered = self.stamps.real(self.index, self.seed)
        if self.galaxy is not None:
            stamp = self.stamps.drawn(self.index, self.galaxy, self.seed, covered)
        psf = self.stamps.catalog.getPSF(self.index)
        fit = fit_sersic(stamp, psf, covered)
        return stamp, fit, features(stamp, covered, psf, fit)


@dataclass(frozen=True)
class TwoSample:
    """How well a classifier separates real stamps from others."""

    auc: float
    """Area under the ROC curve of held-out galaxies; 0.5 if it cannot tell them apart."""

    low: float
    """2.5th percentile over bootstrap samples of the galaxies."""

    high: float
    """97.5th percentile."""


def two_sample(real: np.ndarray, drawn: np.ndarray, seed: int = 0) -> TwoSample:
    """Returns the cross-validated separation of real stamps from drawn ones.

    A galaxy and what was drawn in its place are in the same fold, so that the classifier is always
    asked about galaxies that it has not seen.

    Args:
        real: Features, shape ``[n, features]``.
        drawn: Features of the stamps drawn for each, shape ``[draws, n, features]``.
        seed: Seed of folds, classifier and bootstrap.
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GroupKFold, cross_val_predict

    draws, number = drawn.shape[:2]
    everything = np.concatenate([real[None], drawn]).reshape(-1, real.shape[1])
    is_real = np.repeat([True, False], [number, draws * number])
    galaxy = np.tile(np.arange(number), draws + 1)
    rng = np.random.default_rng(stream(seed))
    scores = np.zeros(len(everything))
    for _ in range(_REPEATS):
        groups = rng.permutation(number)[galaxy]
        forest = RandomForestClassifier(
            100,
            min_samples_leaf=3,
            class_weight="balanced",
            random_state=int(rng.integers(2**31)),
        )
        folds = GroupKFold(5)
        scores += cross_val_predict(
            forest, everything, is_real, groups=groups, cv=folds, method="predict_proba"
        )[:, 1]
    by_sample = scores.reshape(draws + 1, number)
    first, others = by_sample[0][:, None], by_sample[1:, None]
    wins = ((first > others) + 0.5 * (first == others)).mean(axis=0)
    resampled = rng.integers(number, size=(1000, number))
    spread = [wins[np.ix_(rows, rows)].mean() for rows in resampled]
    low, high = np.percentile(spread, (2.5, 97.5))
    return TwoSample(float(wins.mean()), float(low), float(high))

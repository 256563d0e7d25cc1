"""What the generators share: blends, truth tables, noise, and how a batch is put together."""

import copy
import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import galsim
import numba
import numpy as np
from astropy.table import Column, Table
from btk.blend_batch import BlendBatch
from btk.catalog import CatsimCatalog
from btk.draw_blends import DrawBlendsGenerator
from btk.survey import Survey, make_wcs
from btk.utils import DEFAULT_SEED
from surveycodex.utilities import mag2counts
from tqdm.auto import tqdm

from btk_generative.conditions import check_catsim
from btk_generative.draw.batch import SurveyBatch, SurveyBatches
from btk_generative.draw.memory import Memory
from btk_generative.draw.noise import add_noise, sky_levels
from btk_generative.draw.rows import Rows
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.randomness import ROTATION, stream

_CHUNK = 5  # blends that a thread draws at a time


@dataclass(frozen=True)
class Galaxies:
    """All galaxies of a batch, in one table, and where each belongs."""

    table: Table
    """The catalogue rows, with ``btk_rotation``, ``blend_index``, ``galaxy_index`` and whatever
    columns a subclass adds for the truth tables."""

    slot: np.ndarray
    """Row of each galaxy in the isolated images flattened to ``[batch * max_number, ...]``."""


class StreamGenerator(DrawBlendsGenerator):
    """A BTK generator of which every galaxy and all noise are functions of seed and indices.

    The blends of a seed are the same for any batch size and number of jobs, and a galaxy is the
    same in every band and survey. The truth tables carry, besides BTK's columns, ``blend_index``
    and ``galaxy_index``, which together with the seed identify a galaxy for good.

    Subclasses say what a galaxy looks like.
    """

    compatible_catalogs = ("CatsimCatalog",)

    def __init__(
        self,
        catalog,
        sampling_function,
        surveys,
        batch_size: int = 8,
        njobs: int = 1,
        verbose: bool = False,
        use_bar: bool = False,
        add_noise: str = "all",
        seed: int = DEFAULT_SEED,
        apply_shear: bool = False,
        augment_data: bool = False,
    ):
        """Initialises the generator; the arguments are those of `DrawBlendsGenerator`.

        Args:
            catalog: BTK catalogue in the CatSim schema.
            sampling_function: BTK sampling function, which makes blends of the catalogue's rows.
            surveys: BTK survey or list of them.
            batch_size: Number of blends in a batch.
            njobs: Number of threads that draw.
            verbose: Whether to print a line for every batch.
            use_bar: Whether to show a progress bar over the blends of a batch.
            add_noise: "none", "background" (Poisson noise of the sky), "galaxy" (of the signal)
                or "all".
            seed: Seed of morphologies, rotations and noise, a non-negative integer. The sampling
                function has a seed of its own.
            apply_shear: Whether to shear every galaxy by columns ``g1`` and ``g2``.
            augment_data: Whether to turn every galaxy by a random angle, kept in ``btk_rotation``.

        Raises:
            CatalogError: If the catalogue lacks something (see `conditions.check_catsim`).
            ConfigError: If an argument is out of range.
        """
        for name, value, least in (
            ("seed", seed, 0),
            ("njobs", njobs, 1),
            ("batch_size", batch_size, 1),
        ):
            if not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
        super().__init__(
            catalog,
            sampling_function,
            surveys,
            batch_size,
            njobs,
            verbose,
            use_bar,
            add_noise,
            seed,
            apply_shear,
            augment_data,
        )
        self.blend_generator.catalog = copy.copy(catalog)
        self.blend_generator.catalog.table = Rows(catalog.table, copy=False)
        self.seed = int(seed)
        self._next_blend = 0
        self._memory = Memory()
        self._sky = {name: sky_levels(survey) for name, survey in self.surveys.items()}

    def _check_compatibility(self, survey: Survey) -> None:
        if not isinstance(self.catalog, CatsimCatalog):
            raise CatalogError(
                f"{type(self).__name__} draws from a btk.catalog.CatsimCatalog, "
                f"not a {type(self.catalog).__name__}"
            )
        for band in survey.available_filters:
            if f"{band}_ab" not in self.catalog.table.colnames:
                raise CatalogError(
                    f"the {band} band of survey {survey.name} has no magnitude in the catalogue: "
                    f"add a column '{band}_ab' or choose another survey"
                )
        check_catsim(self.catalog.table, tuple(survey.available_filters))

    def seek(self, blend: int, batch_size: int) -> None:
        """Continues with another blend of the same seed.

        The sampling function stays where it is: one that is to give the galaxies of that blend
        has to be told as well.

        Args:
            blend: Index of the first blend of the next batch.
            batch_size: Number of blends in the batches from then on.
        """
        self._next_blend = blend
        self.batch_size = self.blend_generator.batch_size = batch_size

    def __next__(self) -> BlendBatch | SurveyBatches:
        """Draws the next batch.

        Returns:
            A `btk.blend_batch.BlendBatch`, or for several surveys a
            `btk.blend_batch.MultiResolutionBlendBatch`.
        """
        try:
            blends = next(self.blend_generator)
        except ValueError as error:
            name = type(self.blend_generator.sampling_function).__name__
            raise ConfigError(f"{name} cannot make a blend of this catalogue: {error}") from error
        first = self._next_blend
        galaxies = self._label(blends, first)
        looks = self._morphology(galaxies)
        batches = [
            self._draw_survey(survey, galaxies, looks, first) for survey in self.surveys.values()
        ]
        self._next_blend += len(blends)
        if self.verbose:
            print(f"Drew {len(galaxies.slot)} galaxies in blends {first} to {self._next_blend - 1}")
        return batches[0] if len(batches) == 1 else SurveyBatches(batches)

    def _label(self, blends: list[Table], first: int) -> Galaxies:
        """Stacks the blends' tables, adding rotations and indices."""
        sizes = [len(blend) for blend in blends]
        table = Table()
        for name, column in blends[0].columns.items():
            table[name] = Column(np.concatenate([b[name].data for b in blends]), unit=column.unit)
        if self.apply_shear and not {"g1", "g2"} <= set(table.colnames):
            raise CatalogError(
                "apply_shear needs columns 'g1' and 'g2' in what the sampling function returns"
            )
        index = np.repeat(np.arange(first, first + len(blends)), sizes)
        within = np.concatenate([np.arange(size) for size in sizes])
        rotation = np.zeros(len(table))
        if self.augment_data:
            streams = [stream(self.seed, ROTATION, first + k) for k in range(len(blends))]
            rotation = np.concatenate(
                [
                    np.random.default_rng(key).uniform(0, 360, size)
                    for key, size in zip(streams, sizes, strict=True)
                ]
            )
        table["btk_rotation"], table["blend_index"], table["galaxy_index"] = rotation, index, within
        return Galaxies(table, (index - first) * self.max_number + within)

    def _draw_survey(self, survey: Survey, galaxies: Galaxies, looks, first: int) -> SurveyBatch:
        """Draws the batch as one survey sees it."""
        n_bands, size = len(survey.available_filters), self._get_pix_stamp_size(survey)
        isolated = self._memory.empty((self.batch_size, self.max_number, n_bands, size, size))
        images = self._memory.empty((self.batch_size, n_bands, size, size))
        psf, truth = self._get_psf_from_survey(survey), self._truth(galaxies.table, survey, size)
        flat = isolated.reshape(-1, n_bands, size, size)
        flux, sky = band_flux(galaxies.table, survey), self._sky[survey.name]
        bounds = np.searchsorted(
            galaxies.table["blend_index"], first + np.arange(self.batch_size + 1)
        )

        def draw(blends):
            part = slice(bounds[blends.start], bounds[blends.stop])
            self._draw(galaxies, looks, part, flux, survey, psf, flat)
            for index in range(blends.start, blends.stop):
                number = bounds[index + 1] - bounds[index]
                isolated[index, number:] = 0
                _add_up(isolated[index, :number], images[index])
                add_noise(images[index], self.add_noise, survey, sky, self.seed, first + index)
            pairs = itertools.pairwise(bounds[blends.start : blends.stop + 1])
            return [truth[start:stop] for start, stop in pairs]

        chunks = [
            slice(start, min(start + _CHUNK, self.batch_size))
            for start in range(0, self.batch_size, _CHUNK)
        ]
        catalogs, description = [], f"Generating blends for {survey.name} survey"
        with tqdm(total=self.batch_size, desc=description, disable=not self.use_bar) as bar:
            for tables in self._map(draw, chunks):
                catalogs += tables
                bar.update(len(tables))
        return SurveyBatch(
            self.batch_size,
            self.max_number,
            self.stamp_size,
            survey,
            images,
            isolated,
            catalogs,
            psf,
        )

    def _map(self, work, parts: Iterable) -> Iterator:
        """Yields the results of work on each part, in their order, from ``njobs`` threads."""
        if self.njobs == 1:
            yield from map(work, parts)
        else:
            with ThreadPoolExecutor(self.njobs) as pool:
                yield from pool.map(work, parts)

    def _truth(self, table: Table, survey: Survey, size: int) -> Rows:
        """Returns the table with the columns that BTK adds for a survey."""
        truth = Rows(table)
        wcs = make_wcs(survey.pixel_scale.to_value("arcsec"), (size, size))
        x, y = wcs.world_to_pixel_values(table["ra"] / 3600, table["dec"] / 3600)
        truth["x_peak"], truth["y_peak"] = x, y
        for band in survey.available_filters:
            truth[f"not_drawn_{band}"] = np.zeros(len(table))
        return truth

    def render_single(self, entry, filt, psf: galsim.GSObject, survey: Survey) -> galsim.Image:
        """Draws one galaxy of a truth table in one band.

        Args:
            entry: Row of a table of `BlendBatch.catalog_list`.
            filt: BTK filter.
            psf: PSF of the band.
            survey: BTK survey.
        """
        row = Galaxies(Table(entry), np.zeros(1, dtype=int))
        size = self._get_pix_stamp_size(survey)
        image = np.zeros((1, 1, size, size))
        bands = [filt.name]
        flux = band_flux(row.table, survey, bands)
        self._draw(row, self._morphology(row), slice(1), flux, survey, [psf], image, bands)
        scale = survey.pixel_scale.to_value("arcsec")
        return galsim.Image(image[0, 0].astype(np.float32), scale=scale)

    @abstractmethod
    def _morphology(self, galaxies: Galaxies):
        """Returns what the galaxies look like, whatever the survey, in a form of its own."""

    @abstractmethod
    def _draw(
        self,
        galaxies: Galaxies,
        looks,
        rows: slice,
        flux: np.ndarray,
        survey: Survey,
        psf: list,
        out: np.ndarray,
        bands=None,
    ) -> None:
        """Draws some rows of the galaxies, of given `band_flux`, into ``out[galaxies.slot]``.

        Args:
            galaxies: All galaxies of the batch.
            looks: What `_morphology` returned.
            rows: The rows to draw.
            flux: `band_flux` of all galaxies.
            survey: BTK survey.
            psf: PSF of every band.
            out: Array of shape ``[..., bands, N, N]``.
            bands: Names of the bands, all of the survey's where not given.
        """


def band_flux(table: Table, survey: Survey, bands=None) -> np.ndarray:
    """Returns the catalogue's flux in every band, in detected electrons, as BTK computes it.

    Args:
        table: Galaxies with a magnitude column ``{band}_ab`` for every band.
        survey: BTK survey.
        bands: Names of the bands, all of the survey's where not given.

    Returns:
        float64 array of shape ``[n, bands]``.
    """
    return np.stack(
        [
            mag2counts(
                np.array(table[f"{band}_ab"], dtype=np.float64), survey, survey.get_filter(band)
            ).to_value("electron")
            for band in bands or survey.available_filters
        ],
        axis=1,
    ).astype(np.float64)


@numba.njit(nogil=True, cache=True)
def _add_up(images, out):
    """Sums images ``[n, bands, N, N]`` over the first axis, row by row, into ``out``."""
    out[:] = 0
    for band in range(out.shape[0]):
        for y in range(out.shape[1]):
            target = out[band, y]
            for k in range(images.shape[0]):
                source = images[k, band, y]
                for x in range(np.uintp(target.shape[0])):
                    target[x] += source[x]

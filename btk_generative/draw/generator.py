"""The generator of blends: sampling, truth tables, noise, and how a batch is put together."""

import copy
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import galsim
import numpy as np
from astropy.table import Row, Table
from btk.blend_batch import BlendBatch
from btk.catalog import CatsimCatalog
from btk.draw_blends import DrawBlendsGenerator
from btk.sampling_functions import SamplingFunction
from btk.survey import Filter, Survey, make_wcs
from btk.utils import DEFAULT_SEED
from tqdm.auto import tqdm

from btk_generative.catalogs.schema import usable
from btk_generative.conditions import check_catsim
from btk_generative.draw.batch import SurveyBatch, SurveyBatches
from btk_generative.draw.memory import Memory
from btk_generative.draw.noise import add_noise
from btk_generative.draw.painter import Canvas, Painter
from btk_generative.draw.rows import Rows, SampledRows
from btk_generative.draw.sampling import IndexedSampling, by_index
from btk_generative.draw.stack import Stacker
from btk_generative.errors import CatalogError, ConfigError
from btk_generative.models.model import CHUNK
from btk_generative.randomness import ROTATION, stream
from btk_generative.render.compiled import compiled
from btk_generative.surveys import band_flux, pixel_scale, sky_levels


@dataclass(frozen=True)
class BatchRows:
    """All galaxies of a batch, in one table, and where each belongs."""

    table: Table
    """The catalogue rows, with ``btk_rotation``, ``blend_index``, ``galaxy_index`` and whatever
    columns a painter adds for the truth tables."""

    slot: np.ndarray
    """Row of each galaxy in the isolated images flattened to ``[batch * max_number, ...]``."""

    own: dict[int, dict]
    """Columns that not every blend has, by name and place of the blend in the batch."""


@dataclass(frozen=True)
class Part:
    """Blends that a thread draws at a time."""

    batch: BatchRows
    """The galaxies of the batch."""

    prepared: Any
    """What the painter has prepared of them."""

    truth: list[Rows]
    """Their truth table in every survey."""

    flux: list[np.ndarray]
    """Their `band_flux` in every survey."""

    start: int
    """Place of the first blend in the batch."""

    bounds: np.ndarray
    """The row at which each blend begins, and the one at which the last ends."""


class StreamGenerator(DrawBlendsGenerator):
    """A BTK generator of which every galaxy and all noise are functions of seed and indices.

    The blends of a seed are the same for any batch size, number of jobs and order, and a galaxy is
    the same in every band and survey. The truth tables carry, besides BTK's columns,
    ``blend_index`` and ``galaxy_index``, which together with the seed identify a galaxy for good.

    A painter draws the galaxies.
    """

    compatible_catalogs = ("CatsimCatalog",)

    def __init__(
        self,
        catalog: CatsimCatalog,
        sampling_function: SamplingFunction,
        surveys: Survey | list[Survey],
        batch_size: int = 8,
        njobs: int = 1,
        verbose: bool = False,
        use_bar: bool = False,
        add_noise: str = "all",
        seed: int = DEFAULT_SEED,
        apply_shear: bool = False,
        augment_data: bool = False,
        *,
        painter: Painter,
    ):
        """Initialises the generator; all arguments but one are those of `DrawBlendsGenerator`.

        Args:
            catalog: BTK catalogue in the CatSim schema.
            sampling_function: BTK sampling function, which makes blends of the catalogue's rows.
                Those of a function of BTK depend on its seed and their index only (see
                `IndexedSampling`); a function of your own is asked for them in order.
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
            painter: What draws the galaxies.

        Raises:
            CatalogError: If the catalogue lacks something (see `conditions.check_catsim`), or has a
                column whose name is taken (see `schema.RESERVED`).
            ConfigError: If an argument is out of range, or two surveys have the same name.
        """
        for name, value, least in (
            ("seed", seed, 0),
            ("njobs", njobs, 1),
            ("batch_size", batch_size, 1),
            ("max_number of the sampling function", sampling_function.max_number, 1),
        ):
            if not isinstance(value, int | np.integer) or value < least:
                raise ConfigError(f"{name} must be an integer of at least {least}, not {value!r}")
        if not 0 < sampling_function.stamp_size < math.inf:
            raise ConfigError(
                "stamp_size of the sampling function must be a positive number of arcsec, not"
                f" {sampling_function.stamp_size!r}"
            )
        if not isinstance(catalog, CatsimCatalog):
            raise CatalogError(
                f"{type(self).__name__} draws from a btk.catalog.CatsimCatalog, "
                f"not a {type(catalog).__name__}"
            )
        catalog = copy.copy(catalog)
        catalog.table = usable(catalog.table)
        super().__init__(
            catalog,
            by_index(sampling_function),
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
        self.blend_generator.catalog.table = SampledRows(catalog.table, copy=False)
        self.painter = painter
        self._stacker = Stacker(sampling_function)
        self.seed = int(seed)
        self._next_blend = 0
        self._memory = Memory()
        self._sky = {name: sky_levels(survey) for name, survey in self.surveys.items()}

    def _set_surveys(self, surveys: Survey | list[Survey]) -> None:
        super()._set_surveys(surveys)
        if not isinstance(surveys, Survey) and len(self.surveys) < len(surveys):
            names = [survey.name for survey in surveys]
            name = next(name for name in names if names.count(name) > 1)
            raise ConfigError(
                f"several surveys are called {name}; give each a name of its own, as in"
                f" dataclasses.replace(survey, name='{name} 2')"
            )

    def _check_compatibility(self, survey: Survey) -> None:
        if self._get_pix_stamp_size(survey) < 1:
            raise ConfigError(
                f"stamp_size={self.stamp_size} arcsec of the sampling function is less than a pixel"
                f" of survey {survey.name} ({survey.pixel_scale})"
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

        A sampling function of your own stays where it is: it has to be told as well.

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
        batches = [self._blank(survey) for survey in self.surveys.values()]

        def draw(part):
            return self._draw_part(part, batches)

        with tqdm(total=self.batch_size, desc="Generating blends", disable=not self.use_bar) as bar:
            for number in self._map(draw, self._parts()):
                bar.update(number)
        first, self._next_blend = self._next_blend, self._next_blend + self.batch_size
        if self.verbose:
            number = sum(len(table) for table in batches[0].catalog_list)
            print(f"Drew {number} galaxies in blends {first} to {self._next_blend - 1}")
        return batches[0] if len(batches) == 1 else SurveyBatches(batches)

    def _blank(self, survey: Survey) -> SurveyBatch:
        """Returns a batch to be filled in."""
        n, size = self.batch_size, self._get_pix_stamp_size(survey)
        shape = len(survey.available_filters), size, size
        return SurveyBatch(
            n,
            self.max_number,
            self.stamp_size,
            survey,
            self._memory.empty((n, *shape)),
            self._memory.empty((n, self.max_number, *shape)),
            [None] * n,
            self._get_psf_from_survey(survey),
        )

    def _parts(self) -> Iterator[Part]:
        """Samples the blends of a batch, and yields the parts in which they are drawn."""
        blends = self._sample()
        batch = self._label(blends)
        prepared = self.painter.prepare(batch.table)
        surveys = self.surveys.values()
        truth = [self._truth(batch.table, survey) for survey in surveys]
        flux = [band_flux(batch.table, survey) for survey in surveys]
        bounds = np.cumsum([0] + [len(blend) for blend in blends])
        most = min(CHUNK, math.ceil(bounds[-1] / self.njobs))  # galaxies of a part
        start = 0
        while start < len(blends):
            stop = max(np.searchsorted(bounds, bounds[start] + most, "right") - 1, start + 1)
            yield Part(batch, prepared, truth, flux, start, bounds[start : stop + 1])
            start = stop

    def _sample(self) -> list[Table]:
        """Returns the tables of the blends of a batch."""
        sampling = self.blend_generator.sampling_function
        if isinstance(sampling, IndexedSampling):
            sampling.blend = self._next_blend
        try:
            return next(self.blend_generator)
        except ConfigError:
            raise
        except ValueError as error:
            name = type(sampling).__name__
            raise ConfigError(f"{name} cannot make a blend of this catalogue: {error}") from error

    def _label(self, blends: list[Table]) -> BatchRows:
        """Stacks the blends' tables, adding rotations and indices."""
        first = self._next_blend
        sizes = [len(blend) for blend in blends]
        table, own = self._stacker.stack(blends, first)
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
        if len(table):
            bands = dict.fromkeys(b for s in self.surveys.values() for b in s.available_filters)
            shear = ("g1", "g2") if self.apply_shear else ()
            check_catsim(table, tuple(bands), shear, self._stacker.where)
        return BatchRows(table, (index - first) * self.max_number + within, own)

    def _draw_part(self, part: Part, batches: list[SurveyBatch]) -> int:
        """Fills some blends of a batch in, in every survey, and returns their number."""
        rows = slice(part.bounds[0], part.bounds[-1])
        number = len(part.bounds) - 1
        places, first = slice(part.start, part.start + number), self._next_blend + part.start
        profiles = self.painter.profiles(part.prepared, rows)
        for batch, flux, truth in zip(batches, part.flux, part.truth, strict=True):
            survey, isolated = batch.survey, batch.isolated_images
            flat, sky = isolated.reshape(-1, *isolated.shape[2:]), self._sky[survey.name]
            bands, slot = list(survey.available_filters), part.batch.slot[rows]
            canvas = Canvas(survey, bands, batch.psf, flat, slot, flux[rows])
            self.painter.paint(profiles, canvas)
            images = batch.blend_images[places]
            _add_up(isolated[places], np.diff(part.bounds), images)
            add_noise(images, self.add_noise, survey, sky, self.seed, first)
            batch.catalog_list[places] = [
                truth[start:stop] for start, stop in itertools.pairwise(part.bounds)
            ]
            for place, columns in part.batch.own.items():
                if place in range(places.start, places.stop):
                    batch.catalog_list[place].update(columns)
        return number

    def _map(self, work: Callable[[Part], int], parts: Iterable[Part]) -> Iterator[int]:
        """Yields the results of work on each part, in their order, from ``njobs`` threads."""
        if self.njobs == 1:
            yield from map(work, parts)
        else:
            with ThreadPoolExecutor(self.njobs) as pool:
                yield from pool.map(work, parts)

    def _truth(self, table: Table, survey: Survey) -> Rows:
        """Returns the table with the columns that BTK adds for a survey."""
        truth, size = Rows(table), self._get_pix_stamp_size(survey)
        wcs = make_wcs(pixel_scale(survey), (size, size))
        x, y = wcs.world_to_pixel_values(table["ra"] / 3600, table["dec"] / 3600)
        truth["x_peak"], truth["y_peak"] = x, y
        for band in survey.available_filters:
            truth[f"not_drawn_{band}"] = np.zeros(len(table))
        return truth

    def render_single(
        self, entry: Row, filt: Filter, psf: galsim.GSObject, survey: Survey
    ) -> galsim.Image:
        """Draws one galaxy of a truth table in one band.

        Args:
            entry: Row of a table of `BlendBatch.catalog_list`.
            filt: BTK filter.
            psf: PSF of the band.
            survey: BTK survey.
        """
        table, size = Table(entry), self._get_pix_stamp_size(survey)
        image, bands = np.zeros((1, 1, size, size)), [filt.name]
        flux = band_flux(table, survey, bands)
        canvas = Canvas(survey, bands, [psf], image, np.zeros(1, dtype=int), flux)
        self.painter.paint(self.painter.profiles(self.painter.prepare(table), slice(0, 1)), canvas)
        return galsim.Image(image[0, 0].astype(np.float32), scale=canvas.pixel_scale)


@compiled
def _add_up(isolated, numbers, out):
    """Sums the first images of each blend, row by row, and blanks the others.

    Args:
        isolated: Images, ``[n, max_number, bands, N, N]``.
        numbers: How many of them a blend has, ``[n]``.
        out: Output ``[n, bands, N, N]``.
    """
    out[:] = 0
    for blend in range(out.shape[0]):
        isolated[blend, numbers[blend] :] = 0
        for band in range(out.shape[1]):
            for y in range(out.shape[2]):
                target = out[blend, band, y]
                for k in range(numbers[blend]):
                    source = isolated[blend, k, band, y]
                    for x in range(np.uintp(target.shape[0])):
                        target[x] += source[x]

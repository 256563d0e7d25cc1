"""The generator of blends of generative galaxies."""

from dataclasses import dataclass, replace

import numpy as np
from astropy.table import Table
from btk.catalog import CatsimCatalog
from btk.sampling_functions import SamplingFunction
from btk.survey import Survey
from btk.utils import DEFAULT_SEED

from btk_generative.conditions import from_catsim
from btk_generative.draw.color import bulge_shares, split
from btk_generative.draw.generator import StreamGenerator
from btk_generative.draw.painter import Canvas, Placement
from btk_generative.draw.parametric import ParametricPainter
from btk_generative.errors import ConfigError, ModelError
from btk_generative.galaxies import Candidates, Galaxies, GalaxySampler
from btk_generative.inputs import COMPONENTS
from btk_generative.models import GenerativeModel, LightProfiles
from btk_generative.render import SurveyRenderer
from btk_generative.render.graph import make_renderer

COLORS = ("flat", "components")
"""Whether a galaxy has one colour, or its bulge and disk have their own."""


@dataclass(frozen=True)
class Prepared:
    """Galaxies of a batch before the model has drawn them, row by row."""

    table: Table
    """Rows of the catalogue."""

    candidates: Candidates
    """What is to be drawn for them."""

    placement: Placement
    """Where they lie; the rotation is that of the major axis."""


@dataclass(frozen=True)
class Profiles:
    """Some galaxies as the model has drawn them, row by row."""

    table: Table
    """Rows of the catalogue, those of the whole batch."""

    rows: slice
    """Which of them these are."""

    galaxies: Galaxies
    """Their light profiles."""

    placement: Placement
    """Where they lie."""


class GenerativePainter:
    """Draws galaxies of a generative model."""

    def __init__(self, sampler: GalaxySampler, apply_shear: bool, color: str, device: str):
        """Initialises the painter.

        Args:
            sampler: Where the galaxies come from.
            apply_shear: Whether to shear every galaxy by columns ``g1`` and ``g2``.
            color: See `GenerativeGenerator`.
            device: See `GenerativeGenerator`.
        """
        if color not in COLORS:
            raise ConfigError(f"color must be one of {COLORS}, not {color!r}")
        self.sampler, self.apply_shear = sampler, apply_shear
        self.color, self.device = color, device
        self._parametric = ParametricPainter(apply_shear)
        self._renderers: dict[str, tuple[list, SurveyRenderer]] = {}

    def __getstate__(self):
        return {**self.__dict__, "_renderers": {}}  # made again where they are needed

    def prepare(self, table: Table) -> Prepared:
        """See `Painter`; adds the column ``in_domain``."""

        def label(row):
            blend, galaxy = table["blend_index"][row], table["galaxy_index"][row]
            return f"galaxy {galaxy} of blend {blend}"

        candidates = self.sampler.from_catalog(table, label)
        angle = np.asarray(candidates.angle + np.deg2rad(table["btk_rotation"]))
        candidates = replace(candidates, angle=angle)
        table["in_domain"] = candidates.in_domain
        x, y = (np.array(table[name], dtype=np.float64) for name in ("ra", "dec"))
        g1, g2 = np.zeros((2, len(table)))
        if self.apply_shear:
            g1[:], g2[:] = table["g1"], table["g2"]
        return Prepared(table, candidates, Placement(x, y, angle, g1, g2))

    def profiles(self, prepared: Prepared, rows: slice) -> Profiles:
        """See `Painter`."""
        blend, galaxy = (prepared.table[f"{n}_index"].data[rows] for n in ("blend", "galaxy"))
        keys = list(zip(map(int, blend), map(int, galaxy), strict=True))
        drawn = self.sampler.draw(prepared.candidates, keys, rows)
        placement = replace(prepared.placement[rows], rotation=drawn.rotation)
        return Profiles(prepared.table, rows, drawn, placement)

    def paint(self, profiles: Profiles, canvas: Canvas) -> None:
        """See `Painter`."""
        galaxies, placement = profiles.galaxies, profiles.placement
        rows = np.arange(profiles.rows.start, profiles.rows.stop)
        theirs = galaxies.parametric
        if theirs.any():
            self._parametric.paint(profiles.table[rows[theirs]], canvas[theirs])
            kept = np.flatnonzero(~theirs)
            galaxies, placement = galaxies[kept], placement[kept]
            canvas, rows = canvas[kept], rows[kept]
        agn, light = galaxies.agn_share[:, None], galaxies.profiles
        point, flux = canvas.flux * agn, canvas.flux * (1 - agn)
        renderer = self._renderer(canvas)
        if self.color == "components":
            table = profiles.table[rows]
            light, flux, mixed, others = _two_colours(light, flux, table, placement, canvas.bands)
        renderer.draw(
            light,
            flux,
            placement.x,
            placement.y,
            placement.rotation,
            placement.g1,
            placement.g2,
            point_flux=point,
            out=canvas.images,
            rows=canvas.slot,
        )
        if self.color == "components":
            (disk, faint), at = others, placement[mixed]
            disks = renderer.draw(disk, faint, at.x, at.y, at.rotation, at.g1, at.g2)
            for place, image in zip(canvas.slot[mixed], disks, strict=True):
                canvas.images[place] += image

    def _renderer(self, canvas: Canvas) -> SurveyRenderer:
        """Returns the renderer of a survey, which is kept as long as the PSFs stay the same."""
        name, psfs = canvas.survey.name, canvas.psfs
        known = self._renderers.get(name)
        if known is None or known[0] != psfs:
            size = canvas.images.shape[-1]
            known = psfs, make_renderer(psfs, canvas.pixel_scale, size, self.device)
            self._renderers[name] = known
        return known[1]


class GenerativeGenerator(StreamGenerator):
    """Draws blends whose galaxies have the morphologies of a deep generative model.

    Each galaxy's profile is sampled once, given the catalogue's size, axis ratio, fluxes and
    redshift, turned to the catalogue's position angle, and drawn with the catalogue's flux in
    every band of every survey. It takes the place of `btk.draw_blends.CatsimGenerator` in a BTK
    script. The truth tables have a column ``in_domain``: whether the model has seen such a galaxy.

    Example:
        >>> import btk, btk_generative as bg
        >>> catalog = bg.catalogs.mock_catsim(1000, seed=0)
        >>> sampling = btk.sampling_functions.DefaultSampling(stamp_size=24.0, max_number=3)
        >>> lsst = btk.survey.get_surveys("LSST")
        >>> generator = bg.GenerativeGenerator(catalog, sampling, lsst, batch_size=2, seed=1)
        >>> next(generator).blend_images.shape
        (2, 6, 120, 120)
    """

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
        model: str | GenerativeModel = "default",
        out_of_domain: str = "clip",
        color: str = "flat",
        device: str = "auto",
    ):
        """Initialises the generator; see `StreamGenerator` for the other arguments.

        Args:
            catalog: See parent class.
            sampling_function: See parent class.
            surveys: See parent class.
            batch_size: See parent class.
            njobs: See parent class.
            verbose: See parent class.
            use_bar: See parent class.
            add_noise: See parent class.
            seed: See parent class.
            apply_shear: See parent class.
            augment_data: See parent class.
            model: Name or path for `load_model`, or a model that it returned.
            out_of_domain: What to do with a galaxy that the model was not trained on. "clip"
                samples the nearest conditions inside the domain and keeps the catalogue's flux
                and half-light radius; "parametric" draws the catalogue's bulge and disk as
                CatsimGenerator does; "raise" raises a `ModelError`.
            color: "flat" gives a galaxy the same morphology in every band; "components" the
                colours of its bulge and disk, of which the catalogue has to hold the bulge's
                share, ``bulge_share_{band}`` (see `btk_generative.draw.color`). The flux in each
                band is the same.
            device: "cpu", "gpu" or "auto", a GPU where TensorFlow finds one. The images agree
                within 1e-5 of the peak; only the CPU's are the same to the bit from run to run.

        Raises:
            CatalogError: See parent class.
            ConfigError: If an argument is out of range.
            ModelError: If the model cannot be loaded, or asks for inputs that a CatSim catalogue
                does not give.
        """
        sampler = GalaxySampler(model, out_of_domain, seed)
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
            painter=GenerativePainter(sampler, apply_shear, color, device),
        )
        self.model = sampler.model
        """The model that draws the galaxies."""
        has = from_catsim(self.catalog.table[:1]).colnames
        unknown = {given.name for given in self.model.inputs} - set(has)
        if unknown:
            raise ModelError(
                f"model '{self.model.name}' asks for {sorted(unknown)}, "
                "which cannot be had from a CatSim catalogue"
            )


def _two_colours(
    profiles: LightProfiles, flux: np.ndarray, table: Table, placement: Placement, bands: list[str]
) -> tuple[LightProfiles, np.ndarray, np.ndarray, tuple[LightProfiles, np.ndarray]]:
    """Takes the disks out of the profiles of galaxies with bulge and disk.

    Returns:
        Profiles and fluxes without those disks, the rows they come from, and the disks' profiles
        and fluxes.
    """
    share, of_band = bulge_shares(table, bands)
    rows, own = np.flatnonzero((share > 0) & (share < 1)), placement.rotation
    turned = {
        part: (np.deg2rad(table[f"pa_{part}"]) + np.deg2rad(table["btk_rotation"]) - own)[rows]
        for part in COMPONENTS
    }
    bulge, disk, *sums = split(profiles[rows], table[rows], share[rows], turned)
    weights = [
        w * s[:, None] for w, s in zip((of_band[rows], 1 - of_band[rows]), sums, strict=True)
    ]
    total = weights[0] + weights[1]
    images, light = profiles.images.copy(), flux.copy()
    images[rows] = bulge.images
    light[rows] = flux[rows] * weights[0] / total
    others = disk, flux[rows] * weights[1] / total
    return LightProfiles(images, profiles.pixel_scale, profiles.oriented), light, rows, others

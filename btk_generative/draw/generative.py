"""The generator of blends of generative galaxies."""

from dataclasses import dataclass, replace

import numpy as np
from btk.survey import Survey
from btk.utils import DEFAULT_SEED

from btk_generative.conditions import from_catsim
from btk_generative.draw import base
from btk_generative.draw.color import bulge_shares, split
from btk_generative.draw.parametric import draw_parametric
from btk_generative.errors import ConfigError, ModelError
from btk_generative.galaxies import Candidates, Galaxies, GalaxySampler
from btk_generative.inputs import COMPONENTS
from btk_generative.models import GenerativeModel, LightProfiles
from btk_generative.render import SurveyRenderer
from btk_generative.render.graph import make_renderer

COLORS = ("flat", "components")
"""Whether a galaxy has one colour, or its bulge and disk have their own."""


@dataclass(frozen=True)
class Given:
    """What is known of galaxies before their profiles are sampled, row by row."""

    candidates: Candidates
    """The galaxies."""

    pose: np.ndarray
    """Position x and y in arcsec from the centre of the stamp, counter-clockwise rotation of the
    major axis in radians, before any shear, and shear g1 and g2, ``[n, 5]``."""


@dataclass(frozen=True)
class Looks:
    """What galaxies look like, row by row."""

    galaxies: Galaxies
    """Galaxies, of which the generator draws the parametric ones as the catalogue's."""

    pose: np.ndarray
    """As in `Given`, with the rotation of the profile."""


class GenerativeGenerator(base.StreamGenerator):
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
        if color not in COLORS:
            raise ConfigError(f"color must be one of {COLORS}, not {color!r}")
        self.color = color
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
        self.sampler = GalaxySampler(model, out_of_domain, self.seed)
        self.device = device
        self._renderers = {}
        has = from_catsim(self.catalog.table[:1]).colnames
        unknown = {given.name for given in self.model.inputs} - {*has, "bulge_angle"}
        if unknown:
            raise ModelError(
                f"model '{self.model.name}' asks for {sorted(unknown)}, "
                "which cannot be had from a CatSim catalogue"
            )

    def __getstate__(self):
        return {**self.__dict__, "_renderers": {}}  # made again where they are needed

    @property
    def model(self) -> GenerativeModel:
        """The model that draws the galaxies."""
        return self.sampler.model

    def _prepare(self, galaxies: base.Galaxies) -> Given:
        table = galaxies.table

        def label(row):
            blend, galaxy = table["blend_index"][row], table["galaxy_index"][row]
            return f"galaxy {galaxy} of blend {blend}"

        candidates = self.sampler.from_catalog(table, label)
        angle = candidates.angle + np.deg2rad(table["btk_rotation"])
        candidates = replace(candidates, angle=np.asarray(angle))
        table["in_domain"] = candidates.in_domain
        pose = np.zeros((len(table), 5))
        pose[:, 0], pose[:, 1], pose[:, 2] = table["ra"], table["dec"], angle
        if self.apply_shear:
            pose[:, 3], pose[:, 4] = table["g1"], table["g2"]
        return Given(candidates, pose)

    def _morphology(self, galaxies: base.Galaxies, given: Given, rows: slice) -> Looks:
        blend, galaxy = (galaxies.table[f"{n}_index"].data for n in ("blend", "galaxy"))
        keys = [(int(blend[row]), int(galaxy[row])) for row in range(rows.start, rows.stop)]
        drawn = self.sampler.draw(given.candidates, keys, rows)
        pose = given.pose[rows].copy()
        pose[:, 2] = drawn.rotation
        return Looks(drawn, pose)

    def _draw(self, galaxies, looks, rows, flux, survey, psf, out, bands=None) -> None:
        bands = bands or survey.available_filters
        drawn, pose = looks.galaxies, looks.pose
        rows = np.arange(rows.start, rows.stop)
        if drawn.parametric.any():
            theirs, kept = rows[drawn.parametric], np.flatnonzero(~drawn.parametric)
            light = flux[drawn.parametric]
            draw_parametric(galaxies, theirs, light, survey, psf, out, bands, self.apply_shear)
            rows, flux, drawn, pose = rows[kept], flux[kept], drawn[kept], pose[kept]
        agn, profiles, pose = drawn.agn_share[:, None], drawn.profiles, pose.T
        point, light, slot = flux * agn, flux * (1 - agn), galaxies.slot[rows]
        renderer = self._renderer(survey, psf, out.shape[-1])
        if self.color == "components":
            table = galaxies.table[rows]
            profiles, light, mixed, others = _two_colours(profiles, light, table, pose[2], bands)
        renderer.draw(profiles, light, *pose, point_flux=point, out=out, rows=slot)
        if self.color == "components":
            disks = renderer.draw(*others, *pose[:, mixed])
            for place, disk in zip(slot[mixed], disks, strict=True):
                out[place] += disk

    def _renderer(self, survey: Survey, psf: list, size: int) -> SurveyRenderer:
        """Returns the renderer of a survey, which is kept as long as the PSFs stay the same."""
        known, renderer = self._renderers.get(survey.name, (None, None))
        if known != psf:
            scale = survey.pixel_scale.to_value("arcsec")
            renderer = make_renderer(psf, scale, size, self.device)
            self._renderers[survey.name] = psf, renderer
        return renderer


def _two_colours(profiles: LightProfiles, flux, table, angle, bands):
    """Takes the disks out of the profiles of galaxies with bulge and disk.

    Returns:
        Profiles and fluxes without those disks, the rows they come from, and the disks' profiles
        and fluxes.
    """
    share, of_band = bulge_shares(table, bands)
    rows = np.flatnonzero((share > 0) & (share < 1))
    turned = {
        part: (np.deg2rad(table[f"pa_{part}"]) + np.deg2rad(table["btk_rotation"]) - angle)[rows]
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

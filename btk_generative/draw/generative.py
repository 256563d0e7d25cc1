"""The generator of blends of generative galaxies."""

from dataclasses import dataclass

import numpy as np
from btk.survey import Survey
from btk.utils import DEFAULT_SEED

from btk_generative.conditions import agn_share, clip, from_catsim, position_angle
from btk_generative.draw.base import Galaxies, StreamGenerator
from btk_generative.draw.color import bulge_shares, split
from btk_generative.draw.parametric import draw_parametric
from btk_generative.errors import ConfigError, ModelError
from btk_generative.models import GenerativeModel, LightProfiles, load_model
from btk_generative.randomness import MORPHOLOGY, normals
from btk_generative.render import SurveyRenderer
from btk_generative.render.graph import make_renderer

POLICIES = ("clip", "parametric", "raise")
"""What to do with a galaxy outside the model's domain."""

COLORS = ("flat", "components")
"""Whether a galaxy has one colour, or its bulge and disk have their own."""


@dataclass(frozen=True)
class Given:
    """What is known of galaxies before their profiles are sampled, row by row."""

    encoded: dict[str, np.ndarray]
    """Conditions of the galaxies that are sampled, inside the domain, as the model takes them."""

    ratio: np.ndarray
    """By how much a galaxy is larger than its conditions say."""

    pose: np.ndarray
    """Position x and y in arcsec from the centre of the stamp, counter-clockwise rotation of the
    major axis in radians, before any shear, and shear g1 and g2, ``[n, 5]``."""

    agn: np.ndarray
    """Share of the flux that comes from the AGN."""

    sampled: np.ndarray
    """Whether there is a profile to sample."""

    parametric: np.ndarray
    """Whether the catalogue's bulge and disk are drawn instead."""


@dataclass(frozen=True)
class Looks:
    """What galaxies look like, row by row."""

    profiles: LightProfiles
    """Profiles; a galaxy that is only an AGN, or is drawn parametrically, has an empty one."""

    pose: np.ndarray
    """As in `Given`, with the rotation of the profile."""

    agn: np.ndarray
    """See `Given`."""

    parametric: np.ndarray
    """See `Given`."""


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
        if out_of_domain not in POLICIES:
            raise ConfigError(f"out_of_domain must be one of {POLICIES}, not {out_of_domain!r}")
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
        self.model = model if isinstance(model, GenerativeModel) else load_model(model)
        self.out_of_domain = out_of_domain
        self.device = device
        self._renderers = {}
        unknown = {i.name for i in self.model.inputs} - set(from_catsim(catalog.table[:1]).colnames)
        if unknown:
            raise ModelError(
                f"model '{self.model.name}' asks for {sorted(unknown)}, "
                "which cannot be had from a CatSim catalogue"
            )

    def __getstate__(self):
        return {**self.__dict__, "_renderers": {}}  # made again where they are needed

    def _prepare(self, galaxies: Galaxies) -> Given:
        table = galaxies.table
        conditions = from_catsim(table)
        extended = conditions["bulge_present"] | conditions["disk_present"]
        inside = self.model.in_domain(conditions) | ~extended
        table["in_domain"] = inside
        parametric = np.zeros(len(table), dtype=bool)
        if self.out_of_domain == "raise":
            self._raise_outside(conditions, inside, table)
        elif self.out_of_domain == "parametric":
            parametric = ~inside
        ratio = clip(conditions, self.model.inputs)
        pose = np.zeros((len(table), 5))
        pose[:, 0], pose[:, 1], pose[:, 2] = table["ra"], table["dec"], _angle(table)
        if self.apply_shear:
            pose[:, 3], pose[:, 4] = table["g1"], table["g2"]
        sampled = extended & ~parametric
        encoded = self.model.encode(conditions[sampled])
        return Given(encoded, ratio, pose, agn_share(table), sampled, parametric)

    def _morphology(self, galaxies: Galaxies, given: Given, rows: slice) -> Looks:
        chosen = np.flatnonzero(given.sampled[rows])
        n, size, oriented = len(given.pose[rows]), self.model.stamp_size, self.model.oriented
        images, scale = np.zeros((n, size, size), np.float32), np.ones(n)
        pose, source = given.pose[rows].copy(), rows.start + chosen
        blend, galaxy = (galaxies.table[f"{name}_index"].data for name in ("blend", "galaxy"))
        keys = [(MORPHOLOGY, int(blend[row]), int(galaxy[row])) for row in source]
        random_normal = normals(self.seed, keys, self.model.random_size)
        before = np.count_nonzero(given.sampled[: rows.start])
        these = slice(before, before + len(chosen))
        encoded = {name: values[these] for name, values in given.encoded.items()}
        drawn = self.model.decode(encoded, random_normal)
        images[chosen], scale[chosen] = drawn.images, drawn.pixel_scale * given.ratio[source]
        if not oriented:
            pose[chosen, 2] -= drawn.position_angle()
        profiles = LightProfiles(images, scale, oriented)
        return Looks(profiles, pose, given.agn[rows], given.parametric[rows])

    def _raise_outside(self, conditions, inside, table) -> None:
        if inside.all():
            return
        row = int(np.argmin(inside))
        for given in self.model.inputs:
            value = conditions[given.name][row]
            if value is not np.ma.masked and not given.minimum <= value <= given.maximum:
                raise ModelError(
                    f"galaxy {table['galaxy_index'][row]} of blend {table['blend_index'][row]}: "
                    f"{given.name} = {value:.6g} is outside the domain of model "
                    f"'{self.model.name}', {given.minimum:.6g} to {given.maximum:.6g}; "
                    "use out_of_domain='clip' or 'parametric', or select other galaxies"
                )

    def _draw(self, galaxies, looks, rows, flux, survey, psf, out, bands=None) -> None:
        bands = bands or survey.available_filters
        if looks.parametric.any():
            every, kept = np.arange(rows.start, rows.stop), np.flatnonzero(~looks.parametric)
            drawn = every[looks.parametric]
            light = flux[looks.parametric]
            draw_parametric(galaxies, drawn, light, survey, psf, out, bands, self.apply_shear)
            rows, flux = every[kept], flux[kept]
            looks = Looks(looks.profiles[kept], looks.pose[kept], looks.agn[kept], None)
        agn, profiles, pose = looks.agn[:, None], looks.profiles, looks.pose.T
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


def _angle(table) -> np.ndarray:
    """Returns the angle of every galaxy in the stamp, counter-clockwise, radians."""
    return np.asarray(position_angle(table) + np.deg2rad(table["btk_rotation"]))


def _two_colours(profiles: LightProfiles, flux, table, angle, bands):
    """Takes the disks out of the profiles of galaxies with bulge and disk.

    Returns:
        Profiles and fluxes without those disks, the rows they come from, and the disks' profiles
        and fluxes.
    """
    share, of_band = bulge_shares(table, bands)
    rows = np.flatnonzero((share > 0) & (share < 1))
    turned = _angle(table) - angle
    bulge, disk, *sums = split(profiles[rows], table[rows], share[rows], turned[rows])
    weights = [
        w * s[:, None] for w, s in zip((of_band[rows], 1 - of_band[rows]), sums, strict=True)
    ]
    total = weights[0] + weights[1]
    images, light = profiles.images.copy(), flux.copy()
    images[rows] = bulge.images
    light[rows] = flux[rows] * weights[0] / total
    others = disk, flux[rows] * weights[1] / total
    return LightProfiles(images, profiles.pixel_scale, profiles.oriented), light, rows, others

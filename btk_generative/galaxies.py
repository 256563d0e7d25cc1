"""The one door to generative galaxies: rows and random numbers in, placed profiles out.

Whoever draws a galaxy of a model (the BTK generator, the GalSim driver, WeakLensingDeblending,
validation) asks a `GalaxySampler`. It applies the policy for rows outside the model's domain, the
units of the model's card, the size that the policy has changed, and the position angle.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import galsim
import numpy as np
from astropy.table import Table

from btk_generative.conditions import (
    agn_share,
    clip,
    from_catsim,
    in_unit,
    lacks,
    position_angle,
)
from btk_generative.errors import ConfigError, ModelError
from btk_generative.inputs import COMPONENTS
from btk_generative.models import GenerativeModel, LightProfiles, load_model
from btk_generative.randomness import MORPHOLOGY, normals

POLICIES = ("clip", "parametric", "raise")
"""What to do with a galaxy outside the model's domain."""


@dataclass(frozen=True)
class Candidates:
    """Galaxies of which everything is known but what the model draws; row by row, n of them."""

    encoded: dict[str, np.ndarray]
    """Inputs of the model, float32, of the rows that are `drawn`."""

    drawn: np.ndarray
    """Which rows the model draws: not those without bulge and disk, nor `parametric` ones."""

    parametric: np.ndarray
    """Which rows are left to the catalogue's own bulge and disk."""

    in_domain: np.ndarray
    """Whether the model was trained on such galaxies."""

    size_ratio: np.ndarray
    """By how much a galaxy is larger than the conditions that the model gets."""

    angle: np.ndarray
    """Angle of the major axis from +x towards +y, radians."""

    agn_share: np.ndarray
    """Share of the flux that comes from the AGN, a point source."""

    def __len__(self) -> int:
        return len(self.drawn)


@dataclass(frozen=True)
class Galaxies:
    """Light profiles and how they lie on the sky; row by row, n of them."""

    profiles: LightProfiles
    """Profiles of the catalogue's size; one without light where the model draws nothing."""

    rotation: np.ndarray
    """Counter-clockwise rotation that takes a profile to its position angle, radians."""

    agn_share: np.ndarray
    """See `Candidates`."""

    parametric: np.ndarray
    """See `Candidates`."""

    def __len__(self) -> int:
        return len(self.profiles)

    def __getitem__(self, rows: slice | np.ndarray) -> "Galaxies":
        """Returns the galaxies of some rows (a slice, an index array or a mask)."""
        return Galaxies(
            self.profiles[rows], self.rotation[rows], self.agn_share[rows], self.parametric[rows]
        )

    def to_galsim(
        self, flux: Iterable[float], gsparams: galsim.GSParams | None = None
    ) -> list[galsim.GSObject]:
        """Returns each galaxy's profile, turned to its position angle, as a GalSim object.

        Args:
            flux: Flux of each profile, without the AGN, shape ``[n]``.
            gsparams: Accuracy settings, GalSim's defaults where not given.
        """
        shapes = self.profiles.to_galsim(gsparams)
        return [
            shape.withFlux(light).rotate(angle * galsim.radians) if angle else shape.withFlux(light)
            for shape, light, angle in zip(shapes, flux, self.rotation, strict=True)
        ]


class GalaxySampler:
    """Draws galaxies of a model, each a function of its row and of its random numbers alone."""

    def __init__(
        self, model: str | GenerativeModel = "default", out_of_domain: str = "clip", seed: int = 0
    ):
        """Initialises the sampler.

        Args:
            model: Name or path for `load_model`, or a model that it returned.
            out_of_domain: What to do with a galaxy that the model was not trained on. "clip" gives
                the model the nearest conditions inside the domain (`conditions.clip`) and keeps the
                galaxy's flux, half-light radius and angle; "parametric" leaves the galaxy to the
                catalogue's bulge and disk; "raise" raises a `ModelError`.
            seed: Seed of the random numbers of `draw`.

        Raises:
            ConfigError: If ``out_of_domain`` is something else.
            ModelError: If the model cannot be loaded.
        """
        if out_of_domain not in POLICIES:
            raise ConfigError(f"out_of_domain must be one of {POLICIES}, not {out_of_domain!r}")
        self.model = model if isinstance(model, GenerativeModel) else load_model(model)
        self.out_of_domain, self.seed = out_of_domain, seed

    def from_catalog(
        self, table: Table, label: Callable[[int], str] = "row {}".format
    ) -> Candidates:
        """Returns what is to be drawn for rows of a catalogue.

        Args:
            table: Rows that pass `conditions.check_catsim`.
            label: What an error calls a row.

        Raises:
            ModelError: If the model asks for inputs that a CatSim catalogue does not give, or with
                the policy "raise" a galaxy is outside the domain.
        """
        return self._candidates(from_catsim(table), position_angle(table), agn_share(table), label)

    def from_conditions(
        self,
        conditions: Table,
        angle: np.ndarray | float = 0.0,
        agn: np.ndarray | float = 0.0,
        label: Callable[[int], str] = "row {}".format,
    ) -> Candidates:
        """Returns what is to be drawn for given conditions.

        Args:
            conditions: Table with a column per input of the model, length n.
            angle: Angle of the disk's major axis from +x towards +y, or of the bulge's where there
                is no disk, radians, ``[n]`` or a number.
            agn: Share of the AGN in the flux, ``[n]`` or a number.
            label: What an error calls a row.

        Raises:
            ModelError: If a column is missing, a value is one that no galaxy has (see
                `GenerativeModel.sample`), or with the policy "raise" one is outside the domain.
        """
        self.model.encode(conditions)
        shape = len(conditions)
        angle, agn = (np.broadcast_to(np.asarray(x, float), shape).copy() for x in (angle, agn))
        return self._candidates(conditions.copy(), angle, agn, label)

    def _candidates(
        self, conditions: Table, angle: np.ndarray, agn: np.ndarray, label: Callable[[int], str]
    ) -> Candidates:
        """Returns candidates of conditions, which are changed."""
        no_bulge, no_disk = (lacks(conditions, part) for part in COMPONENTS)
        extended = ~(no_bulge & no_disk)
        inside = self.model.in_domain(conditions) | ~extended
        parametric = np.zeros(len(conditions), dtype=bool)
        if self.out_of_domain == "raise":
            self._raise_outside(conditions, inside, label)
        elif self.out_of_domain == "parametric":
            parametric = ~inside
        drawn = extended & ~parametric
        bulge_angle = np.zeros(len(conditions))
        if "bulge_angle" in conditions.colnames:
            bulge_angle = in_unit(conditions["bulge_angle"], "rad", "bulge_angle")
        ratio = clip(conditions, self.model.inputs)
        # without its disk a galaxy lies as its bulge does
        angle = angle + np.where(lacks(conditions, "disk") & ~no_disk, bulge_angle, 0.0)
        encoded = self.model.encode(conditions[drawn])
        return Candidates(encoded, drawn, parametric, inside, ratio, angle, agn)

    def draw(
        self,
        candidates: Candidates,
        keys: Iterable[Sequence[int]] | None = None,
        rows: slice = slice(None),
        *,
        random_normal: np.ndarray | None = None,
    ) -> Galaxies:
        """Draws galaxies.

        Args:
            candidates: Galaxies to draw.
            keys: What identifies each of the rows besides the seed, whole numbers, such as (blend,
                galaxy).
            rows: Which of the candidates.
            random_normal: The model's standard normal numbers of the rows, in place of keys, shape
                ``[rows, random_size]``.
        """
        start, stop, _ = rows.indices(len(candidates))
        rows = slice(start, stop)
        chosen = np.flatnonzero(candidates.drawn[rows])
        if random_normal is not None:
            random_normal = random_normal[chosen]
        elif keys is not None:
            keys = list(keys)
            keys = [(MORPHOLOGY, *keys[row]) for row in chosen]
            random_normal = normals(self.seed, keys, self.model.random_size)
        else:
            raise TypeError("what identifies the galaxies, keys or random_normal, has to be given")
        before = np.count_nonzero(candidates.drawn[:start])
        these = slice(before, before + len(chosen))
        encoded = {name: values[these] for name, values in candidates.encoded.items()}
        profiles = self.model.decode(encoded, random_normal)
        rotation = candidates.angle[rows].copy()
        if not profiles.oriented:
            rotation[chosen] -= profiles.position_angle()
        size = self.model.stamp_size
        images, scale = np.zeros((stop - start, size, size), np.float32), np.ones(stop - start)
        images[chosen] = profiles.images
        scale[chosen] = profiles.pixel_scale * candidates.size_ratio[rows][chosen]
        return Galaxies(
            LightProfiles(images, scale, profiles.oriented),
            rotation,
            candidates.agn_share[rows],
            candidates.parametric[rows],
        )

    def _raise_outside(
        self, conditions: Table, inside: np.ndarray, label: Callable[[int], str]
    ) -> None:
        if inside.all():
            return
        row = int(np.argmin(inside))
        only = conditions[row : row + 1]
        outside = self.model.outside(only)
        given = next(i for i in self.model.inputs if outside[i.name][0])
        low, high = f"{given.minimum:.6g}", f"{given.maximum:.6g} {given.unit}".rstrip()
        value = f"{only[given.name][0]:.6g} {only[given.name].unit or ''}".rstrip()
        raise ModelError(
            f"{label(row)}: {given.name} = {value} is outside the domain of model "
            f"'{self.model.name}', {low} to {high}; use out_of_domain='clip' or 'parametric', or "
            "select other galaxies"
        )


def bulge_and_disk(
    conditions: dict[str, float | None], flux: float, gsparams: galsim.GSParams | None = None
) -> galsim.GSObject:
    """Returns the catalogue's own profile, a de Vaucouleurs bulge and an exponential disk.

    The disk's major axis, or that of a bulge without a disk, lies along +x.

    Args:
        conditions: Value by name, as in a table of conditions; None for a value that is missing.
        flux: Flux of both together.
        gsparams: Accuracy settings.

    Raises:
        ModelError: If the conditions do not tell bulge and disk.
    """
    parts, total = [], 0.0
    for part, profile in (("bulge", galsim.DeVaucouleurs), ("disk", galsim.Exponential)):
        hlr, q, light = (conditions.get(f"{part}_{name}") for name in ("hlr", "q", "flux"))
        if hlr and q and light:
            shape = profile(half_light_radius=hlr, flux=light, gsparams=gsparams)
            turn = (conditions.get("bulge_angle") or 0.0) if part == "bulge" else 0.0
            parts.append(shape.shear(q=q, beta=turn * galsim.degrees))
            total += light
    if not parts:
        raise ModelError(
            "out_of_domain='parametric' needs the sizes, axis ratios and fluxes of bulge and disk "
            f"among the conditions, not {sorted(conditions)}"
        )
    return galsim.Add(parts) * (flux / total)

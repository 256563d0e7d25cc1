"""Sampling from a generative model."""

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np
from astropy.table import MaskedColumn, Table
from tqdm.auto import tqdm

from btk_generative.conditions import in_unit, lacks
from btk_generative.errors import ConfigError, ModelError
from btk_generative.inputs import COMPONENTS, INPUTS, component_of, is_presence
from btk_generative.models.card import ModelInput, parse
from btk_generative.models.graph import CHUNK, Graph, import_tensorflow
from btk_generative.models.profiles import LightProfiles

_log = logging.getLogger(__name__)


class GenerativeModel:
    """A model that draws the light profile of a galaxy, given its conditions.

    `load_model` makes it. TensorFlow is imported at the first sample.

    Example:
        >>> import btk_generative as bg
        >>> model = bg.load_model("default")
        >>> conditions = bg.conditions.from_catsim(bg.catalogs.mock_catsim(5, seed=0).table)
        >>> profiles = model.sample(conditions, rng=1)
        >>> len(profiles)
        5
    """

    card: dict
    """What the model's `model.json` holds: description, licence, citation, provenance, metrics."""

    name: str
    """The model's own name."""

    inputs: tuple[ModelInput, ...]
    """The conditions that it takes, with their units and the domain of the training."""

    random_size: int
    """Length of the vector of standard normal numbers that decides a galaxy, d."""

    stamp_size: int
    """Side of a profile's frame in pixels, S."""

    oriented: bool
    """Whether the major axes lie along +x."""

    sha256: str
    """SHA-256 of the archive."""

    def __init__(self, card: dict, network: Callable[[], Graph], sha256: str):
        """Initialises the model.

        Args:
            card: A valid card.
            network: Returns the network; called at the first sample.
            sha256: SHA-256 of the archive.
        """
        parsed = parse(card, card.get("name", "card"))
        self.card, self.sha256 = card, sha256
        self.name, self.inputs = parsed.name, tuple(parsed.inputs)
        self.random_size, self.stamp_size = parsed.random_size, parsed.stamp_size
        self.oriented = parsed.oriented
        self._load = network
        foreign = [given.name for given in self.inputs if given.name not in INPUTS]
        if foreign:
            _log.warning(
                "model '%s' takes %s, of which nothing is known but what its card says: no"
                " catalogue gives it",
                self.name,
                ", ".join(foreign),
            )

    def __repr__(self) -> str:
        return f"<GenerativeModel {self.name!r}: {', '.join(given.name for given in self.inputs)}>"

    @cached_property
    def _network(self) -> Graph:
        return self._load()

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_network"}

    def sample(
        self,
        conditions: Table,
        rng: int | np.random.Generator | np.random.SeedSequence | None = None,
        *,
        random_normal: np.ndarray | None = None,
    ) -> LightProfiles:
        """Draws a light profile per row.

        A profile depends on its row of conditions and random numbers alone, to the bit: not on
        the other rows, nor on how many there are.

        Args:
            conditions: Table with a column per input, length n (see
                `btk_generative.conditions`). Units are converted. A masked value stands for a
                component that the galaxy lacks. A column ``bulge_present`` or ``disk_present``
                may be left out: the component is there unless one of its values is masked. So may
            ``bulge_angle``: bulge and disk are then aligned.
            rng: Seed or generator of the random numbers.
            random_normal: Standard normal numbers instead, shape ``[n, random_size]``.

        Returns:
            Profiles, length n.

        Raises:
            ModelError: If a column is missing, a value is not finite, masked where the model has
                no way to do without it, or of another kind of unit.
            ConfigError: If neither ``rng`` nor ``random_normal`` is given, or of a wrong shape.
        """
        if random_normal is None:
            if rng is None:
                raise ConfigError("sample needs a seed or generator, rng, or random_normal")
            shape = len(conditions), self.random_size
            random_normal = np.random.default_rng(rng).standard_normal(shape)
        return self.decode(self.encode(conditions), random_normal)

    def encode(self, conditions: Table) -> dict[str, np.ndarray]:
        """Returns what the network gets for conditions.

        Args:
            conditions: See `sample`.

        Returns:
            float32 array ``[n]`` of each input.

        Raises:
            ModelError: See `sample`.
        """
        values = self._values(conditions)
        self._check(conditions, values)
        return {
            given.name: values[given.name].filled(given.missing or 0.0).astype(np.float32)
            for given in self.inputs
        }

    def decode(self, encoded: dict[str, np.ndarray], random_normal: np.ndarray) -> LightProfiles:
        """Draws a light profile for each row of encoded conditions.

        Args:
            encoded: From `encode`, or some rows of it, n.
            random_normal: Standard normal numbers, ``[n, random_size]``.

        Returns:
            Profiles, length n.

        Raises:
            ModelError: If the network fails, or draws no light.
            ConfigError: If the random numbers have a wrong shape.
        """
        tensors = {**encoded, "random_normal": np.asarray(random_normal, dtype=np.float32)}
        n, size = len(next(iter(encoded.values()), random_normal)), self.stamp_size
        if tensors["random_normal"].shape != (n, self.random_size):
            raise ConfigError(
                f"random_normal must have shape [{n}, {self.random_size}] for model "
                f"'{self.name}', not {list(tensors['random_normal'].shape)}"
            )
        images, scale = np.empty((n, size, size), dtype=np.float32), np.empty(n)
        import_tensorflow()
        starts = range(0, n, CHUNK)
        for start in tqdm(
            starts, desc="Sampling", unit="chunk", delay=2, leave=False, disable=None
        ):
            rows = np.arange(start, start + CHUNK)
            rows[rows >= n] = start
            given = {name: values[rows] for name, values in tensors.items()}
            part = slice(start, min(start + CHUNK, n))
            images[part], scale[part] = self._decode(given, part.stop - start, start)
        return LightProfiles(images, scale, self.oriented)

    def in_domain(self, conditions: Table) -> np.ndarray:
        """Returns whether every condition of a row is one that the model was trained on.

        The values of a component that a galaxy lacks count as inside, if the model knows galaxies
        without it.

        Args:
            conditions: See `sample`.

        Returns:
            Booleans, shape ``[n]``.
        """
        return ~np.any(list(self.outside(conditions).values()), axis=0)

    def outside(self, conditions: Table) -> dict[str, np.ndarray]:
        """Returns which values of each input lie outside of what the model was trained on.

        Args:
            conditions: See `sample`.

        Returns:
            Booleans ``[n]`` by the name of the input.
        """
        values, found = self._values(conditions), {}
        for given in self.inputs:
            column, slack = values[given.name], 1e-12  # of a conversion of units
            low = given.minimum - slack * abs(given.minimum)
            high = given.maximum + slack * abs(given.maximum)
            inside = (low <= column.data) & (column.data <= high)
            there = ~np.ma.getmaskarray(column)
            found[given.name] = np.where(there, ~inside, given.missing is None)
        return found

    def check(self) -> None:
        """Draws galaxies over the whole domain, and raises a `ModelError` if anything is wrong.

        Raises:
            ModelError: If an input has no domain, images or pixel scales have the wrong shape or
                are not finite, an image is negative or dark, or depends on its batch.
        """
        n = CHUNK + 3
        rng = np.random.default_rng(0)
        conditions = Table()
        known = {component_of(i.name) for i in self.inputs if i.missing is not None}
        parts = sorted(part for part in known if part is not None)
        lacking = rng.permutation(np.arange(n) % (len(parts) + 1))
        for given in self.inputs:
            if is_presence(given.name):
                continue
            if not np.isfinite([given.minimum, given.maximum]).all():
                raise ModelError(f"model '{self.name}': the domain of '{given.name}' is not given")
            values = rng.permutation(np.linspace(given.minimum, given.maximum, n))
            mask, part = np.zeros(n, dtype=bool), component_of(given.name)
            if given.missing is not None and len(parts) > 1 and part is not None:
                mask = np.equal(lacking, parts.index(part))
            conditions[given.name] = MaskedColumn(values, mask=mask, unit=given.unit or None)
        random_normal = rng.standard_normal((n, self.random_size))
        drawn = self.sample(conditions, random_normal=random_normal)
        if drawn.images.min() < 0:
            row = int(np.argmin(drawn.images.min(axis=(1, 2))))
            raise ModelError(
                f"model '{self.name}' draws a negative image for {dict(conditions[row])}"
            )
        order = rng.permutation(n)
        again = self.sample(conditions[order], random_normal=random_normal[order])
        if not np.array_equal(again.images, drawn.images[order]):
            raise ModelError(
                f"model '{self.name}' draws a galaxy that depends on the others of its batch"
            )

    def _decode(self, given: dict, count: int, start: int) -> tuple[np.ndarray, np.ndarray]:
        """Returns the normalised images and pixel scales of the first rows of a chunk."""
        outputs = self._network(given)
        size = self.stamp_size
        for name, value in outputs.items():
            if value.dtype.kind in "OSUbc":
                raise ModelError(f"model '{self.name}' returned a '{name}' of {value.dtype}")
        try:
            images = outputs["image"].reshape(CHUNK, size, size)[:count]
            scale = outputs.get("pixel_scale", np.full(CHUNK, self.card["pixel_scale"]))
            scale = scale.reshape(CHUNK)[:count].astype(np.float64)
        except ValueError as error:
            shapes = {name: list(value.shape) for name, value in outputs.items()}
            raise ModelError(
                f"model '{self.name}' returned {shapes} for {CHUNK} galaxies, not images of "
                f"{size} x {size} pixels and a pixel scale each"
            ) from error
        total = images.sum(axis=(1, 2), dtype=np.float64)
        bad = ~(np.isfinite(total) & (total > 0) & np.isfinite(scale) & (scale > 0))
        if bad.any():
            row = int(np.argmax(bad))
            values = {k: float(v[row]) for k, v in given.items() if k != "random_normal"}
            raise ModelError(
                f"model '{self.name}' draws no light, or light that is not finite, for row "
                f"{start + row} of the conditions, {values}"
            )
        return images / total[:, None, None].astype(np.float32), scale

    def _values(self, conditions: Table) -> dict[str, np.ma.MaskedArray]:
        """Returns every input in the model's unit, float64, masked where a galaxy lacks it."""
        absent: dict[str | None, np.ndarray] = {p: lacks(conditions, p) for p in COMPONENTS}
        values, needed = {}, []
        column: np.ndarray
        mask: np.ndarray | bool
        for given in self.inputs:
            name, known = given.name, INPUTS.get(given.name)
            if known and is_presence(name):
                column, mask = ~absent[known.component], False
            elif name in conditions.colnames:
                column = in_unit(conditions[name], given.unit, name)
                mask = absent.get(component_of(name), np.ma.getmaskarray(conditions[name]))
            elif known and known.otherwise is not None:
                column, mask = np.full(len(conditions), known.otherwise), False
            else:
                needed.append(name)
                continue
            values[name] = np.ma.MaskedArray(column, mask=mask, dtype=np.float64)
        if needed:
            raise ModelError(
                f"conditions: column '{needed[0]}' is missing; model '{self.name}' needs "
                f"{[name for name in [*values, *needed] if not is_presence(name)]}"
            )
        return values

    def _check(self, conditions: Table, values: dict[str, np.ma.MaskedArray]) -> None:
        """Raises a `ModelError` unless a galaxy can be drawn from every row of conditions."""

        def reject(bad, name, why):
            if bad.any():
                row = int(np.argmax(bad))
                found = conditions[name][row] if name in conditions.colnames else None
                raise ModelError(
                    f"conditions: column '{name}', row {row}: value {found} {why}"
                    f" ({np.count_nonzero(bad)} such rows)"
                )

        for given in self.inputs:
            column, known = values[given.name], INPUTS.get(given.name)
            there = ~np.ma.getmaskarray(column)
            if given.missing is None:
                reject(~there, given.name, "is masked, but the model knows no galaxy without it")
            with np.errstate(over="ignore"):
                single = column.data.astype(np.float32)  # in which 1e39 is not finite
            reject(there & ~np.isfinite(single), given.name, "is not finite")
            if known:
                reject(there & known.beyond(single), given.name, known.fault)
        fluxes = [name for name in values if name in INPUTS and INPUTS[name].quantity == "flux"]
        if fluxes:
            dark = np.all([np.ma.getmaskarray(values[name]) for name in fluxes], axis=0)
            reject(dark, fluxes[-1], "leaves the galaxy without any light")

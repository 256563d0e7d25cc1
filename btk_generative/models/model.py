"""Sampling from a generative model."""

from collections.abc import Callable
from functools import cached_property

import astropy.units as u
import numpy as np
from astropy.table import MaskedColumn, Table
from tqdm.auto import tqdm

from btk_generative.errors import ConfigError, ModelError
from btk_generative.models.card import ModelInput, parse
from btk_generative.models.graph import Graph, import_tensorflow
from btk_generative.models.profiles import LightProfiles

CHUNK = 40
"""Galaxies decoded at a time: always as many, so that a galaxy never depends on its batch."""

PRESENT = "_present"
"""An input ``bulge_present`` is 1 where the galaxy has a bulge, and 0 elsewhere."""

BULGE_ANGLE = "bulge_angle"
"""An input that may be left out: the angle from the disk's axis to the bulge's, 0 by default."""


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

    def __repr__(self) -> str:
        return f"<GenerativeModel {self.name!r}: {', '.join(given.name for given in self.inputs)}>"

    @cached_property
    def _network(self) -> Graph:
        return self._load()

    def __getstate__(self):
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
        return {given.name: self._values(conditions, given) for given in self.inputs}

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
        inside = np.ones(len(conditions), dtype=bool)
        for given in self.inputs:
            if given.name.endswith(PRESENT):
                continue
            values, masked = self._column(conditions, given)
            here = (given.minimum <= values) & (values <= given.maximum)
            inside &= np.where(masked, given.missing is not None, here)
        return inside

    def check(self) -> None:
        """Draws galaxies over the whole domain, and raises a `ModelError` if anything is wrong.

        Raises:
            ModelError: If an input has no domain, images or pixel scales have the wrong shape or
                are not finite, an image is negative or dark, or depends on its batch.
        """
        n = CHUNK + 3
        rng = np.random.default_rng(0)
        conditions = Table()
        parts = sorted({i.name.split("_")[0] for i in self.inputs if i.missing is not None})
        lacks = rng.permutation(np.arange(n) % (len(parts) + 1))
        for given in self.inputs:
            if given.name.endswith(PRESENT):
                continue
            if not np.isfinite([given.minimum, given.maximum]).all():
                raise ModelError(f"model '{self.name}': the domain of '{given.name}' is not given")
            values = rng.permutation(np.linspace(given.minimum, given.maximum, n))
            mask = np.zeros(n, dtype=bool)
            if given.missing is not None:
                mask = lacks == parts.index(given.name.split("_")[0])
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

    def _values(self, conditions: Table, given: ModelInput) -> np.ndarray:
        """Returns what the network gets for an input, float32, shape ``[n]``."""
        values, masked = self._column(conditions, given)
        bad = ~masked & ~np.isfinite(values)
        if masked.any() and given.missing is None:
            bad, why = masked, "is masked, but the model knows no galaxy without it"
        else:
            why = "is not finite"
        if bad.any():
            row = int(np.argmax(bad))
            raise ModelError(
                f"conditions: column '{given.name}', row {row}: value "
                f"{conditions[given.name][row]} {why} ({np.count_nonzero(bad)} such rows)"
            )
        return np.where(masked, given.missing or 0.0, values).astype(np.float32)

    def _column(self, conditions: Table, given: ModelInput) -> tuple[np.ndarray, np.ndarray]:
        """Returns an input's values in the model's unit, and which are masked."""
        if given.name not in conditions.colnames:
            if given.name.endswith(PRESENT):
                return self._presence(conditions, given), np.zeros(len(conditions), dtype=bool)
            if given.name == BULGE_ANGLE:
                return np.zeros(len(conditions)), np.zeros(len(conditions), dtype=bool)
            raise ModelError(
                f"conditions: column '{given.name}' is missing; model '{self.name}' needs "
                f"{[i.name for i in self.inputs if not self._optional(i)]}"
            )
        column = conditions[given.name]
        masked = np.ma.getmaskarray(np.ma.asarray(column))
        values = np.ma.getdata(np.ma.asarray(column)).astype(np.float64)
        if column.unit and given.unit:
            try:
                values = u.Unit(column.unit).to(u.Unit(given.unit), values)
            except u.UnitConversionError as error:
                raise ModelError(
                    f"conditions: column '{given.name}' has unit '{column.unit}', which does not "
                    f"convert to '{given.unit}'"
                ) from error
        return values, masked

    @staticmethod
    def _optional(given: ModelInput) -> bool:
        """Returns whether conditions need no column of an input."""
        return given.name.endswith(PRESENT) or given.name == BULGE_ANGLE

    def _presence(self, conditions: Table, given: ModelInput) -> np.ndarray:
        """Returns 1 where no value of a component is masked."""
        part = given.name.removesuffix(PRESENT)
        masks = [
            self._column(conditions, other)[1]
            for other in self.inputs
            if other.name.startswith(f"{part}_") and not self._optional(other)
        ]
        return (~np.any(masks, axis=0)).astype(np.float64) if masks else np.ones(len(conditions))

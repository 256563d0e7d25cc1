"""Named conditions as the standardised numbers that a network takes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from btk_generative.errors import ConfigError
from btk_generative.inputs import COMPONENTS, INPUTS, component_of, is_presence

CONDITIONS = tuple(name for name in INPUTS if not is_presence(name) and name != "bulge_angle")
"""Every condition that a model can be trained on."""


@dataclass(frozen=True)
class Inputs:
    """The inputs of a model, with the range and the scaling that its training data give them.

    A component's quantities come with its presence as an input of its own; where it is 0 they
    enter as zeros, whatever their value.
    """

    names: tuple[str, ...]
    """Conditions, without presence."""

    mean: tuple[float, ...]
    """Mean of each, of its log10 where it is a size or a flux."""

    scale: tuple[float, ...]
    """Standard deviation likewise."""

    minimum: tuple[float, ...]
    """The 0.1 % quantile of each."""

    maximum: tuple[float, ...]
    """The 99.9 % quantile of each."""

    @classmethod
    def measure(cls, names: list[str], conditions: Table) -> "Inputs":
        """Returns the inputs as training data scale them.

        Args:
            names: Conditions.
            conditions: Training galaxies; what a galaxy lacks is NaN or masked.

        Raises:
            ConfigError: If the galaxies have no such condition.
        """
        require(names, conditions)
        moments = []
        for name in names:
            values = np.ma.filled(np.ma.asarray(conditions[name], dtype=np.float64), np.nan)
            values = values[np.isfinite(values)]
            if len(values) == 0:
                raise ConfigError(f"conditions: no galaxy of the training data has '{name}'")
            low, high = np.quantile(values, [0.001, 0.999])
            scaled = np.log10(values) if INPUTS[name].logarithmic else values
            moments.append((scaled.mean(), max(scaled.std(), 1e-3), low, high))
        columns = np.array(moments, dtype=np.float32).astype(float).T
        return cls(tuple(names), *(tuple(column.tolist()) for column in columns))

    @property
    def components(self) -> list[str]:
        """The components of which something is among the inputs."""
        told = {component_of(name) for name in self.names}
        return [part for part in COMPONENTS if part in told]

    @property
    def all_names(self) -> list[str]:
        """Conditions and presences, in the order of a model's signature."""
        return [*self.names, *(f"{part}_present" for part in self.components)]

    @property
    def size(self) -> int:
        """Length c of an encoded row."""
        return len(self.all_names)

    def encode(self, values: dict) -> Any:
        """Returns the standardised inputs, float32 tensor of shape ``[n, c]``.

        Args:
            values: Tensor ``[n]`` per name of `all_names`.
        """
        from keras import ops  # which imports its backend: the makers of data do without

        there = {
            part: ops.cast(values[f"{part}_present"] > 0.5, "float32") for part in self.components
        }
        columns = []
        for name, mean, scale in zip(self.names, self.mean, self.scale, strict=True):
            value = values[name]
            if INPUTS[name].logarithmic:
                value = ops.log(ops.maximum(value, 1e-6)) / float(np.log(10))
            value = ops.clip((value - mean) / scale, -5.0, 5.0)
            part = component_of(name)
            columns.append(ops.where(there[part] > 0, value, 0.0) if part in there else value)
        return ops.stack([*columns, *there.values()], axis=1)

    def values(self, conditions: Table) -> dict[str, np.ndarray]:
        """Returns what `encode` takes of a table, float32; what a galaxy lacks is at the mean."""
        values = {}
        for name, missing in zip(self.names, self.missing(), strict=True):
            column = np.ma.filled(np.ma.asarray(conditions[name], dtype=np.float64), np.nan)
            values[name] = np.where(np.isfinite(column), column, missing).astype(np.float32)
        for part in self.components:
            values[f"{part}_present"] = np.asarray(conditions[f"{part}_present"], np.float32)
        return values

    def missing(self) -> list[float]:
        """Returns the value that stands for each condition where a galaxy lacks it."""
        pairs = zip(self.names, self.mean, strict=True)
        return [float(10**mean) if INPUTS[name].logarithmic else mean for name, mean in pairs]

    def card(self) -> list[dict]:
        """Returns the ``inputs`` of a model's card."""
        limits = zip(self.minimum, self.maximum, self.missing(), strict=True)
        rows = dict(zip(self.names, limits, strict=True))
        rows |= {f"{part}_present": (0.0, 1.0, 0.0) for part in self.components}
        return [
            {
                "name": name,
                "unit": INPUTS[name].unit,
                "minimum": low,
                "maximum": high,
                "missing": missing,
                "description": INPUTS[name].description,
            }
            for name, (low, high, missing) in rows.items()
        ]

    def as_dict(self) -> dict:
        """Returns what rebuilds this: ``Inputs(**as_dict())``."""
        return asdict(self)


def require(names: Sequence[str], conditions: Table) -> None:
    """Checks that galaxies have the named conditions.

    Raises:
        ConfigError: If one is missing.
    """
    for name in names:
        if name not in conditions.colnames:
            has = ", ".join(known for known in CONDITIONS if known in conditions.colnames)
            raise ConfigError(
                f"conditions: the catalogue has no '{name}' (it has {has}); bulge and disk "
                "need the parametric fits, a file whose name ends in _fits.fits"
            )


def radius(values: dict, numbers: Any) -> Any:
    """Returns the radius to which a galaxy's own frame is scaled, arcsec, shape ``[n]``.

    The radius of SExtractor where it is given, or else the root mean square of the components'
    half-light radii, by flux.

    Args:
        values: Arrays ``[n]``, as `Inputs.encode` takes them.
        numbers: `numpy` or `keras.ops`, in which to compute.
    """
    if "flux_radius" in values:
        return 0.03 * values["flux_radius"]
    flux = [values[f"{part}_flux"] * values[f"{part}_present"] for part in COMPONENTS]
    square = sum(f * values[f"{part}_hlr"] ** 2 for f, part in zip(flux, COMPONENTS, strict=True))
    return numbers.sqrt(square / (flux[0] + flux[1]))

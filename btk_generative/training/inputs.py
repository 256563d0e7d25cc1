"""Named conditions as the standardised numbers that a network takes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from astropy.table import Table

from btk_generative.errors import ConfigError

PARTS = ("bulge", "disk")
COMPONENT = tuple(f"{part}_{name}" for part in PARTS for name in ("hlr", "q", "flux"))
"""Conditions that a galaxy without that component lacks."""

KNOWN = ("mag_auto", "flux_radius", "zphot", *COMPONENT)
"""Every condition that a model can be trained on."""

_LOGARITHMIC = ("flux_radius", "bulge_hlr", "disk_hlr", "bulge_flux", "disk_flux")
_UNITS = {"mag_auto": "mag", "flux_radius": "pix", "bulge_hlr": "arcsec", "disk_hlr": "arcsec"}
_DESCRIPTIONS = {
    "mag_auto": "F814W magnitude",
    "flux_radius": "half-light radius of SExtractor, pixels of 0.03 arcsec",
    "zphot": "photometric redshift",
    "hlr": "half-light radius, circularised",
    "q": "axis ratio",
    "flux": "F814W counts, mag = 25.94 - 2.5 log10 flux",
    "present": "1 where there is one, else 0",
}


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
            scaled = np.log10(values) if name in _LOGARITHMIC else values
            moments.append((scaled.mean(), max(scaled.std(), 1e-3), low, high))
        columns = np.array(moments, dtype=np.float32).astype(float).T
        return cls(tuple(names), *(tuple(column.tolist()) for column in columns))

    @property
    def components(self) -> list[str]:
        """The components of which something is among the inputs."""
        return [part for part in PARTS if any(name.startswith(part) for name in self.names)]

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
            if name in _LOGARITHMIC:
                value = ops.log(ops.maximum(value, 1e-6)) / float(np.log(10))
            value = ops.clip((value - mean) / scale, -5.0, 5.0)
            part = name.split("_")[0]
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
        return [float(10**mean) if name in _LOGARITHMIC else mean for name, mean in pairs]

    def card(self) -> list[dict]:
        """Returns the ``inputs`` of a model's card."""
        rows = [
            (name, _UNITS.get(name, ""), low, high, missing)
            for name, low, high, missing in zip(
                self.names, self.minimum, self.maximum, self.missing(), strict=True
            )
        ]
        rows += [(f"{part}_present", "", 0.0, 1.0, 0.0) for part in self.components]
        keys = ("name", "unit", "minimum", "maximum", "missing", "description")
        return [dict(zip(keys, (*row, _describe(row[0])), strict=True)) for row in rows]

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
            has = ", ".join(known for known in KNOWN if known in conditions.colnames)
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
    flux = [values[f"{part}_flux"] * values[f"{part}_present"] for part in PARTS]
    square = sum(f * values[f"{part}_hlr"] ** 2 for f, part in zip(flux, PARTS, strict=True))
    return numbers.sqrt(square / (flux[0] + flux[1]))


def _describe(name: str) -> str:
    part, _, quantity = name.partition("_")
    return f"{part}: {_DESCRIPTIONS[quantity]}" if part in PARTS else _DESCRIPTIONS[name]

"""The arguments of BTK's sampling functions, checked before anything is drawn."""

import inspect
import math
from typing import Annotated, Any

from btk.sampling_functions import SamplingFunction
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from btk_generative.errors import ConfigError, suggest
from btk_generative.runs.config import phrase


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("input should be a number")
    return value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Magnitude = Annotated[float, AfterValidator(_not_nan)]

_SAMPLING_ARGUMENTS: dict[str, Any] = {
    "stamp_size": Annotated[Finite, Field(gt=0)],
    "max_number": PositiveInt,
    "min_number": NonNegativeInt,
    "max_shift": Annotated[Finite, Field(ge=0)] | None,
    "seed": NonNegativeInt,
    "density": Annotated[Finite, Field(ge=0)],
    "link_distance": Annotated[Finite, Field(gt=0)],
    "max_mag": Magnitude,
    "min_mag": Magnitude,
    "bright_cut": Magnitude,
    "dim_cut": Magnitude,
    "mag_name": str,
    "shear": tuple[Finite, Finite],
}
"""What the arguments of BTK's sampling functions may be; BTK looks at none of these numbers."""


class SamplingConfig(BaseModel):
    """A BTK sampling function and its arguments, beside the name."""

    model_config = ConfigDict(extra="allow")

    function: str = "DefaultSampling"

    @model_validator(mode="after")
    def _arguments_make_sense(self):
        accepted = inspect.signature(self._class()).parameters
        given = {name: argument.default for name, argument in accepted.items()}
        for name, value in self._arguments.items():
            if name not in accepted:
                raise ValueError(
                    f"{self.function} has no argument '{name}'{suggest(name, accepted)}"
                )
            given[name] = self._arguments[name] = _checked(name, value)
        _check_together(given)
        return self

    @property
    def _arguments(self) -> dict[str, Any]:
        return {} if self.model_extra is None else self.model_extra

    def _class(self):
        import btk.sampling_functions as functions

        known = {
            name
            for name, value in vars(functions).items()
            if inspect.isclass(value)
            and issubclass(value, functions.SamplingFunction)
            and value is not functions.SamplingFunction
        }
        if self.function not in known:
            raise ValueError(
                f"BTK has no sampling function '{self.function}'{suggest(self.function, known)}"
            )
        return getattr(functions, self.function)

    def build(self, seed: int) -> SamplingFunction:
        """Returns the sampling function.

        Args:
            seed: Its seed, where the configuration gives it none of its own.
        """
        try:
            return self._class()(**{"seed": seed, **self._arguments})
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"sampling: {self.function}: {error}") from error


def _checked(name: str, value: Any) -> Any:
    """Returns an argument of a sampling function as what it must be."""
    if name not in _SAMPLING_ARGUMENTS:
        return value
    if isinstance(value, bool):  # which pydantic takes for 0 or 1
        raise ValueError(f"{name}: input should be a number, not {value}")
    try:
        return TypeAdapter(_SAMPLING_ARGUMENTS[name]).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}: {phrase(error.errors()[0])}, not {value!r}") from error


def _check_together(given: dict) -> None:
    """Checks arguments of a sampling function, those that are not given by their defaults."""
    for least, most in (
        ("min_number", "max_number"),
        ("min_mag", "max_mag"),
        ("bright_cut", "dim_cut"),
    ):
        if least in given and most in given and given[least] > given[most]:
            raise ValueError(f"{least}={given[least]} is more than {most}={given[most]}")
    shift, size = given.get("max_shift"), given["stamp_size"]
    if shift is not None and shift > size / 2:
        raise ValueError(
            f"max_shift={shift} puts galaxies outside a stamp of stamp_size={size} arcsec; it may"
            f" be {size / 2} at most"
        )
    if math.hypot(*given.get("shear", (0, 0))) >= 1:
        raise ValueError(f"shear={list(given['shear'])} must be below 1 in size")

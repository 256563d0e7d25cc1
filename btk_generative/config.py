"""Configuration files: YAML, checked against a schema before anything is drawn."""

import inspect
import math
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from btk_generative.documents import MAX_BYTES, MAX_DEPTH, read_yaml
from btk_generative.errors import ConfigError, suggest

_MANY = 10  # mistakes that a message names
_LONG = 200  # characters of a value in it

Schema = TypeVar("Schema", bound=BaseModel)


def _not_nan(value: float) -> float:
    if math.isnan(value):
        raise ValueError("input should be a number")
    return value


class StrictModel(BaseModel):
    """A part of a configuration, in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


class CatalogConfig(StrictModel):
    """Where the galaxies come from: a file, or the mock catalogue."""

    path: Path | None = Field(None, description="catalogue file")
    format: Literal["catsim", "cosmodc2", "skycatalogs"] | None = Field(
        None, description="schema of the file, told from its columns when not given"
    )
    max_mag: float | None = Field(None, description="i-band limit of what is read from a file")
    region: tuple[float, float, float, float] | None = Field(
        None, description="ra_min, ra_max, dec_min, dec_max [degrees] of what is read from a file"
    )
    sed_library: Path | None = Field(None, description="folder of skyCatalogs' spectra")
    mock: PositiveInt | None = Field(None, description="number of mock galaxies, without a file")
    seed: NonNegativeInt = Field(0, description="seed of the mock catalogue")

    @model_validator(mode="after")
    def _one_source(self):
        if (self.path is None) == (self.mock is None):
            raise ValueError("give either 'path' (a file) or 'mock' (a number of galaxies)")
        return self

    def read(self):
        """Returns the catalogue as a `btk.catalog.CatsimCatalog`."""
        from btk_generative.catalogs import mock_catsim, read_catalog

        if self.path is None:
            return mock_catsim(self.mock, self.seed)
        return read_catalog(self.path, self.format, self.max_mag, self.region, self.sed_library)


Finite = Annotated[float, Field(allow_inf_nan=False)]
Magnitude = Annotated[float, AfterValidator(_not_nan)]

_SAMPLING_ARGUMENTS = {
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
        for name, value in self.model_extra.items():
            if name not in accepted:
                raise ValueError(
                    f"{self.function} has no argument '{name}'{suggest(name, accepted)}"
                )
            given[name] = self.model_extra[name] = _checked(name, value)
        _check_together(given)
        return self

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

    def build(self, seed: int):
        """Returns the sampling function.

        Args:
            seed: Its seed, where the configuration gives it none of its own.
        """
        try:
            return self._class()(**{"seed": seed, **self.model_extra})
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
        raise ValueError(f"{name}: {_phrase(error.errors()[0])}, not {value!r}") from error


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


def _as_mapping(value: Any) -> Any:
    return {"path": value} if isinstance(value, str) else value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class BlendsConfig(StrictModel):
    """What to draw: the options of `GenerativeGenerator` but for batches and jobs."""

    catalog: Annotated[CatalogConfig, BeforeValidator(_as_mapping)]
    survey: Annotated[list[str], BeforeValidator(_as_list)] = Field(["LSST"], min_length=1)
    sampling: SamplingConfig = SamplingConfig()
    seed: NonNegativeInt = 0
    add_noise: Literal["none", "background", "galaxy", "all"] = "all"
    apply_shear: bool = False
    augment_data: bool = False
    model: str = "default"
    out_of_domain: Literal["clip", "parametric", "raise"] = "clip"
    color: Literal["flat", "components"] = "flat"
    device: Literal["auto", "cpu", "gpu"] = "auto"

    @field_validator("survey")
    @classmethod
    def _known_surveys(cls, names: list[str]) -> list[str]:
        import surveycodex

        for name in names:
            if name not in surveycodex.available_surveys:
                known = surveycodex.available_surveys
                raise ValueError(f"there is no survey '{name}'{suggest(name, known)}")
        if len(set(names)) < len(names):
            raise ValueError("a survey is named twice")
        return names

    def surveys(self) -> list:
        """Returns the BTK surveys."""
        from btk.survey import get_surveys

        return [get_surveys(name) for name in self.survey]

    def generator_options(self) -> dict:
        """Returns the keyword arguments of `GenerativeGenerator` that are given here by name."""
        names = (
            "seed",
            "add_noise",
            "apply_shear",
            "augment_data",
            "model",
            "out_of_domain",
            "color",
            "device",
        )
        return {name: getattr(self, name) for name in names}


class DrawConfig(BlendsConfig):
    """The configuration of `btk-generative draw`."""

    batches: PositiveInt = 1
    batch_size: PositiveInt = 8
    njobs: PositiveInt = 1
    verbose: bool = False
    use_bar: bool = True


def load_config(path: str | Path, schema: type[Schema], overrides: list[str] | None = None):
    """Reads a YAML file into a schema.

    Args:
        path: The file.
        schema: The pydantic model to fill.
        overrides: Changes to the file of the form ``a.b=value``, the value being YAML.

    Returns:
        An instance of the schema.

    Raises:
        ConfigError: If the file cannot be read or a key is unknown, missing or has a wrong value;
            the message names the file and every such key.
    """
    values = read_mapping(path)
    for override in overrides or []:
        _override(values, override)
    try:
        return schema.model_validate(values)
    except ValidationError as error:
        found = error.errors()
        problems = [_explain(problem, schema) for problem in found[:_MANY]]
        more = [f"and {len(found) - _MANY} more"] if len(found) > _MANY else []
        raise ConfigError(f"{path}: {'; '.join(problems + more)}") from error


def read_mapping(path: str | Path) -> dict:
    """Returns the keys and values of a YAML file.

    Raises:
        ConfigError: If it cannot be read, or holds anything else.
    """
    try:
        with open(path, "rb") as file:
            values = read_yaml(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not YAML that can be used: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: must hold 'key: value' lines, not a {type(values).__name__}")
    return values


def _override(values: dict, override: str) -> None:
    """Applies ``a.b=value`` to nested dictionaries, in place."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise ConfigError(f"--set {override}: write it as key=value, such as seed=3")
    *parents, last = key.split(".")
    if len(parents) > MAX_DEPTH:
        raise ConfigError(f"--set: a key of {len(parents) + 1} parts is none of any file")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise ConfigError(
                f"--set {override}: '{parent}' is {shortened(inner)} in the file and has no keys of"
                " its own"
            )
        values = inner
    try:
        values[last] = read_yaml(text.encode(errors="surrogateescape"))
    except ValueError as error:
        raise ConfigError(f"--set {override[:_LONG]}: the value is not YAML: {error}") from error


def _explain(problem: dict, schema: type[BaseModel]) -> str:
    """Returns one validation error as a phrase that names the key and what it may be."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        for part in problem["loc"][:-1]:
            schema = _field_schema(schema, part)
        return f"unknown key '{key}'{suggest(str(problem['loc'][-1]), schema.model_fields)}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = _phrase(problem)
    if problem["type"] == "value_error" or not key:
        return f"{key}: {message}" if key else message
    return f"key '{key}': {message}, not {shortened(problem['input'])}"


def shortened(value: Any) -> str:
    """Returns a value as a message shows it, with at most 200 characters."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def _phrase(problem: dict) -> str:
    """Returns what pydantic says of a value, as a part of a sentence."""
    message = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _field_schema(schema: type[BaseModel], name: str) -> type[BaseModel]:
    """Returns the schema of a nested part, or the one given where the part has none."""
    if name not in getattr(schema, "model_fields", {}):
        return schema
    annotation = schema.model_fields[name].annotation
    for option in (annotation, *get_args(annotation)):
        if inspect.isclass(option) and issubclass(option, BaseModel):
            return option
    return schema

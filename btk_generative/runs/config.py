"""Configuration files: YAML, checked against a schema before anything is done."""

import inspect
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from btk_generative.errors import ConfigError, suggest
from btk_generative.runs.documents import MAX_BYTES, MAX_DEPTH, read_yaml

_MANY = 10  # mistakes that a message names
_LONG = 200  # characters of a value in it

Schema = TypeVar("Schema", bound=BaseModel)


class StrictModel(BaseModel):
    """A part of a configuration, in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid")


def load_config(
    path: str | Path, schema: type[Schema], overrides: list[str] | None = None
) -> Schema:
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


def _explain(problem: ErrorDetails, schema: type[BaseModel]) -> str:
    """Returns one validation error as a phrase that names the key and what it may be."""
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        for part in problem["loc"][:-1]:
            schema = _field_schema(schema, part)
        return f"unknown key '{key}'{suggest(str(problem['loc'][-1]), schema.model_fields)}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    message = phrase(problem)
    if problem["type"] == "value_error" or not key:
        return f"{key}: {message}" if key else message
    return f"key '{key}': {message}, not {shortened(problem['input'])}"


def shortened(value: Any) -> str:
    """Returns a value as a message shows it, with at most 200 characters."""
    text = repr(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]}…"


def phrase(problem: ErrorDetails) -> str:
    """Returns what pydantic says of a value, as a part of a sentence."""
    message = problem["msg"].removeprefix("Value error, ")
    return message[0].lower() + message[1:]


def _field_schema(schema: type[BaseModel], name: int | str) -> type[BaseModel]:
    """Returns the schema of a nested part, or the one given where the part has none."""
    if not isinstance(name, str) or name not in getattr(schema, "model_fields", {}):
        return schema
    annotation = schema.model_fields[name].annotation
    for option in (annotation, *get_args(annotation)):
        if inspect.isclass(option) and issubclass(option, BaseModel):
            return option
    return schema

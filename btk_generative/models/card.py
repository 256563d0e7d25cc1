"""The card of a model, `model.json`: what it takes, what it gives, where it comes from."""

import json
import math
from typing import Annotated, Any, Literal

import astropy.units as u
import pydantic
from pydantic import Field, PositiveFloat, StringConstraints, WrapValidator
from pydantic.dataclasses import dataclass

from btk_generative.errors import ModelError
from btk_generative.runs.documents import read_json

SCHEMA = 1
"""Version of the artifact format."""

MAX_STAMP = 1024
"""Largest side of a profile's frame, in pixels."""

MAX_RANDOM = 65_536
"""Most random numbers of a galaxy."""

MAX_INPUTS = 256
"""Most inputs."""

_PROBLEMS = 5  # that a message names

Text = Annotated[str, StringConstraints(min_length=1)]
_CONFIG = pydantic.ConfigDict(extra="forbid", allow_inf_nan=False)


def _unless_given(bound: float) -> WrapValidator:
    """Returns what puts an infinite bound, which a card cannot write, in the place of null."""
    return WrapValidator(lambda value, validate: bound if value is None else validate(value))


@dataclass(frozen=True, config=_CONFIG)
class ModelInput:
    """A condition that a model takes: a column of its name in the table of conditions."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_]*$", max_length=100)]
    """Name of the column and of the tensor."""

    unit: Annotated[str, StringConstraints(max_length=50)] = ""
    """Unit as astropy writes it; empty for a pure number."""

    minimum: Annotated[float, _unless_given(-math.inf)] = -math.inf
    """Smallest value that the model was trained on; minus infinity where it is not known."""

    maximum: Annotated[float, _unless_given(math.inf)] = math.inf
    """Largest value that the model was trained on; infinity where it is not known."""

    missing: Annotated[float, Field(ge=-1e38, le=1e38)] | None = None
    """What stands for the value of a component that a galaxy lacks; None if it cannot lack it."""

    description: str = ""
    """What it is, in a line."""

    def __post_init__(self) -> None:
        try:
            u.Unit(self.unit)
        except Exception as error:  # astropy computes what it reads, and may fail in any way
            raise ValueError(f"unit '{self.unit}' of input '{self.name}' is unknown") from error
        if self.minimum > self.maximum:
            raise ValueError(
                f"input '{self.name}' has minimum {self.minimum} above maximum {self.maximum}"
            )


class Card(pydantic.BaseModel):
    """What `model.json` holds."""

    model_config = _CONFIG

    schema_version: Literal[1] = Field(1, alias="schema")
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    description: Text
    inputs: list[ModelInput] = Field(max_length=MAX_INPUTS)
    random_size: int = Field(ge=0, le=MAX_RANDOM)
    stamp_size: int = Field(gt=0, le=MAX_STAMP)
    pixel_scale: PositiveFloat | Literal["output"]
    oriented: bool
    licence: Text
    citation: str
    provenance: dict[str, Any]
    metrics: dict[str, Any] = {}
    files: dict[str, str] = {}


def parse(card: dict, path: object) -> Card:
    """Returns the card that a dictionary holds.

    Raises:
        ModelError: If it has another schema version, or a key is missing, unknown or has a value
            that it may not have; the message names them.
    """
    version = card.get("schema") if isinstance(card, dict) else None
    if version != SCHEMA:
        raise ModelError(
            f"{path}: model.json has schema {version!r}, and this version of btk_generative reads "
            f"schema {SCHEMA}; update the package or get the model in that format"
        )
    try:
        parsed = Card.model_validate(card)
    except pydantic.ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'card'}: {e['msg']}"
            for e in error.errors()[:_PROBLEMS]
        )
        raise ModelError(f"{path}: model.json is not valid: {problems}") from error
    names = [given.name for given in parsed.inputs]
    if len(set(names)) < len(names) or {"random_normal", "image", "pixel_scale"} & set(names):
        raise ModelError(f"{path}: model.json: names of inputs are repeated or reserved: {names}")
    return parsed


def read(content: bytes, path: object) -> dict:
    """Returns the dictionary in the bytes of a `model.json`.

    Raises:
        ModelError: If they are not JSON, or hold a key twice or a number that is not finite.
    """
    try:
        card = read_json(content)
        json.dumps(card, allow_nan=False)
        return card
    except ValueError as error:
        raise ModelError(f"{path}: model.json is not JSON: {error}") from error

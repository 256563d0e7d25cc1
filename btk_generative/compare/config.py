"""Configuration of `btk-generative compare`."""

import hashlib
import inspect
import json
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt, model_validator

from btk_generative.draw.config import BlendsConfig

if TYPE_CHECKING:
    from btk.deblend import Deblender

Arm = Literal["parametric", "generative", "fitted"]


def deblender_class(name: str) -> "type[Deblender]":
    """Returns the BTK deblender that a configuration calls by this name."""
    import btk.deblend

    from btk_generative.compare.scarlet import ScarletDeblender
    from btk_generative.compare.scarlet2 import Scarlet2Deblender

    return {
        "scarlet2": Scarlet2Deblender,
        "scarlet": ScarletDeblender,
        "sep": btk.deblend.SepSingleBand,
        "sep_multiband": btk.deblend.SepMultiBand,
    }[name]


class DeblenderConfig(BaseModel):
    """A deblender, the positions that it gets, and the arguments of its class."""

    model_config = ConfigDict(extra="allow")

    name: Literal["scarlet2", "scarlet", "sep", "sep_multiband"]
    positions: Literal["truth", "detected"] = Field(
        "truth", description="whether scarlet gets the true positions or those that SEP detects"
    )

    @model_validator(mode="after")
    def _arguments_exist(self):
        cls = deblender_class(self.name)
        accepted = set(inspect.signature(cls).parameters)
        if self.name == "scarlet":
            accepted |= set(inspect.signature(cls.__mro__[1]).parameters)
        accepted -= {"self", "max_n_sources", "options"}
        for name in self.options():
            if name not in accepted:
                raise ValueError(
                    f"{self.name} has no argument '{name}'; "
                    f"it may be one of {', '.join(sorted(accepted))}"
                )
        return self

    def options(self) -> dict[str, Any]:
        """The arguments of the deblender's class."""
        return dict(self.model_extra or {})

    @property
    def label(self) -> str:
        """Name in tables and figures."""
        given: dict[str, Any] = {}
        if self.positions != "truth":
            given["positions"] = self.positions
        given |= self.options()
        inside = ", ".join(f"{key}={value}" for key, value in given.items())
        return f"{self.name} ({inside})" if inside else self.name


def _as_deblenders(value: Any) -> Any:
    values = value if isinstance(value, list) else [value]
    return [{"name": item} if isinstance(item, str) else item for item in values]


class CompareConfig(BlendsConfig):
    """Which blends, which arms, which deblenders."""

    blends: PositiveInt = 200
    add_noise: Literal["none", "background", "galaxy", "all"] = Field(
        "background", description="with 'background' the noise is the same in every arm"
    )
    arms: list[Arm] = Field(["parametric", "generative", "fitted"], min_length=2)
    deblenders: Annotated[list[DeblenderConfig], BeforeValidator(_as_deblenders)] = Field(
        [DeblenderConfig(name="scarlet2")], min_length=1
    )
    control: bool = Field(True, description="whether to deblend the first galaxy alone as well")
    gallery: PositiveInt = Field(2, description="best, median and worst blends shown, of each")

    @model_validator(mode="after")
    def _sensible(self):
        if len(self.survey) > 1:
            raise ValueError("survey: one survey can be compared at a time")
        if len(set(self.arms)) < len(self.arms):
            raise ValueError("arms: an arm is named twice")
        labels = [deblender.label for deblender in self.deblenders]
        if len(set(labels)) < len(labels):
            raise ValueError("deblenders: the same deblender is named twice")
        return self

    def fingerprint(self) -> str:
        """Checksum of all on which the measurements depend."""
        values = self.model_dump(mode="json", exclude={"blends", "gallery"})
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

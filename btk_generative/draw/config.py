"""Configuration of what to draw."""

from pathlib import Path
from typing import Annotated, Any, Literal

from btk.catalog import CatsimCatalog
from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    field_validator,
    model_validator,
)

from btk_generative.draw.sampling_config import SamplingConfig
from btk_generative.errors import suggest
from btk_generative.runs.config import StrictModel


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

    def read(self) -> CatsimCatalog:
        """Returns the catalogue as a `btk.catalog.CatsimCatalog`."""
        from btk_generative.catalogs import mock_catsim, read_catalog

        if self.mock is not None:
            return mock_catsim(self.mock, self.seed)
        return read_catalog(self.path, self.format, self.max_mag, self.region, self.sed_library)


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

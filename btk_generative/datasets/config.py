"""Configuration of `btk-generative generate`."""

from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveInt, model_validator

from btk_generative.draw.config import BlendsConfig

MAX_SHARDS = 1_000_000
"""Most shards of a data set."""

MAX_BLENDS = 1_000_000
"""Most blends in a shard."""


class GenerateConfig(BlendsConfig):
    """What to draw, in how many shards, and who draws it."""

    shards: PositiveInt = Field(
        1, le=MAX_SHARDS, description="number of shards, which are drawn independently"
    )
    blends_per_shard: PositiveInt = Field(100, le=MAX_BLENDS, description="blends in each shard")
    isolated: bool = Field(False, description="whether to keep every galaxy's own image")
    device: Literal["auto", "cpu", "gpu"] = Field(
        "cpu", description="what draws the images; those of a GPU do not repeat to the bit"
    )
    batch_size: PositiveInt = Field(20, description="blends that are in memory together")
    scheduler: str = Field(
        "local",
        description="local, threads, slurm, pbs, htcondor, or the address of a Dask scheduler",
    )
    workers: PositiveInt = Field(1, description="processes (or threads, or jobs) that draw")

    @model_validator(mode="after")
    def _absolute_paths(self):
        # workers may run elsewhere
        if self.catalog.path is not None and self.catalog.path.exists():
            self.catalog.path = self.catalog.path.absolute()
        if Path(self.model).is_file():
            self.model = str(Path(self.model).absolute())
        return self

    def identity(self) -> dict:
        """The keys on which the data depend: all but those that say who draws, and how."""
        return self.model_dump(mode="json", exclude={"batch_size", "scheduler", "workers"})

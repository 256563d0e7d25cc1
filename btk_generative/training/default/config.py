"""The configuration of `btk-generative train`."""

import os
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from btk_generative.config import StrictModel


class FlowConfig(StrictModel):
    """A coupling flow and how to fit it."""

    layers: PositiveInt = 4
    width: PositiveInt = 64
    bins: PositiveInt = 8
    epochs: PositiveInt = 12
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 2e-3


class TrainConfig(StrictModel):
    """What to train on, and how."""

    name: str = "default"
    data: Path = Field(description="folder of the data")
    catalog: Path = Field(description="parametric fits of a COSMOS sample, in that folder")
    first_row: NonNegativeInt = Field(0, description="rows before it are kept for tests")
    seed: NonNegativeInt = 0
    shape: FlowConfig = FlowConfig()

    def path(self, name: Path) -> Path:
        """Returns where a file of the data is.

        The environment variable ``BTK_GENERATIVE_DATA``, where set, takes the place of ``data``.
        """
        return Path(os.environ.get("BTK_GENERATIVE_DATA", self.data)) / name

"""The configuration of the default model."""

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from btk_generative.runs.config import StrictModel


class FlowConfig(StrictModel):
    """A coupling flow and how to fit it."""

    layers: PositiveInt = 4
    width: PositiveInt = 64
    bins: PositiveInt = 8
    epochs: PositiveInt = 8
    batch_size: PositiveInt = 1024
    learning_rate: PositiveFloat = 2e-3

    def network(self) -> dict:
        """Returns the options of a `CouplingFlow`."""
        return {"layers": self.layers, "width": self.width, "bins": self.bins}


class StructureConfig(StrictModel):
    """Structure, learnt from stamps."""

    stamps: Path = Field(description="size-normalised stamps, in the folder of the data")
    number: PositiveInt | None = Field(None, description="take the first so many stamps")
    factors: PositiveInt = Field(40, multiple_of=4)
    steps: PositiveInt = Field(8, description="steps of the factor analysis")
    gain: PositiveFloat = Field(1.0, description="factor of the logarithm of structure")
    flow: FlowConfig = FlowConfig()


class TrainConfig(StrictModel):
    """What to train on, and how."""

    kind: Literal["default"]
    name: str = "default"
    data: Path = Field(description="folder of the data")
    catalog: Path = Field(description="parametric fits of a COSMOS sample, in that folder")
    first_row: NonNegativeInt = Field(0, description="rows before it are kept for tests")
    last_row: PositiveInt | None = Field(None, description="rows from it on are left out")
    seed: NonNegativeInt = 0
    shape: FlowConfig = FlowConfig()
    structure: StructureConfig

    def path(self, name: Path) -> Path:
        """Returns where a file of the data is.

        The environment variable ``BTK_GENERATIVE_DATA``, where set, takes the place of ``data``.
        """
        return Path(os.environ.get("BTK_GENERATIVE_DATA", self.data)) / name

    def smoke(self) -> "TrainConfig":
        """Returns a configuration that takes the whole path in a minute, for a useless model."""
        short = {"epochs": 1, "layers": 2, "width": 16}
        structure = {
            "number": 300,
            "factors": 8,
            "steps": 1,
            "flow": self.structure.flow.model_copy(update=short),
        }
        return self.model_copy(
            update={
                "last_row": self.first_row + 3000,
                "shape": self.shape.model_copy(update=short),
                "structure": self.structure.model_copy(update=structure),
            }
        )

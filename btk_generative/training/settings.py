"""The configuration of a training."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from btk_generative.runs.config import StrictModel


class DataSettings(StrictModel):
    """Galaxies to learn from, and the grid on which the model sees them."""

    catalog: Path | None = Field(
        None, description="catalogue of galsim_download_cosmos, or any galsim.RealGalaxyCatalog"
    )
    """Without it, parametric galaxies of the mock catalogue."""

    images: bool = Field(True, description="HST images; or else drawings of the parametric fits")
    exclusion_level: Literal["none", "bad_stamp", "bad_fits", "marginal"] = "marginal"
    """As in `galsim.COSMOSCatalog`."""

    psfs: Path | None = Field(None, description="FITS file, an ACS PSF of 0.03 arcsec px per HDU")
    """For drawings of the parametric fits. Without it, the diffraction of HST's aperture."""

    first_row: NonNegativeInt | None = Field(None, description="galaxies before it are left out")
    """Without it, those of Lanusse et al. 2021 are left out where the catalogue holds them."""

    rows: PositiveInt | None = Field(None, description="take so many galaxies, from first_row on")
    copies: PositiveInt = Field(1, description="stamps per galaxy; all but the first are rotated")
    frame: Literal["fixed", "galaxy"] = "fixed"
    """``fixed``: pixels of `pixel_scale`, as on the sky. ``galaxy``: the major axis along +x, and
    a frame `width` times the galaxy's radius wide (`btk_generative.training.inputs.radius`)."""

    stamp_size: int = Field(64, ge=16, le=512, multiple_of=16)
    pixel_scale: PositiveFloat = 0.03
    width: PositiveFloat = 12.0
    folder: Path | None = Field(None, description="shared data set; made where it is not there yet")
    """Without it, the folder ``dataset`` of the training's output."""

    jobs: PositiveInt = Field(1, description="processes that make the data set")


class NetworkSettings(StrictModel):
    """Sizes of the convolutional networks."""

    latent: PositiveInt = 16
    width: PositiveInt = Field(32, description="channels at a quarter of the resolution")


class VaeSettings(NetworkSettings):
    """The variational autoencoder."""

    posterior: Literal["normal", "autoregressive"] = "normal"
    kl_weight: PositiveFloat = 1.0
    warmup: NonNegativeInt = Field(0, description="steps until the KL divergence counts in full")


class FlowSettings(StrictModel):
    """The normalising flow on the latent space."""

    kind: Literal["maf", "coupling"] = "maf"
    layers: PositiveInt = 5
    width: PositiveInt = 64


class FitSettings(StrictModel):
    """How a network is fitted."""

    epochs: PositiveInt
    batch_size: PositiveInt = 64
    learning_rate: PositiveFloat = 1e-3
    patience: PositiveInt | None = Field(
        20, description="stop after so many epochs without a better validation loss"
    )
    ema: float = Field(0.99, ge=0, lt=1, description="momentum of the averaged weights")
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """Mixed precision pays on a GPU; likelihood and latent space stay in float32."""


class TrainSettings(StrictModel):
    """What every kind of training has."""

    name: str = Field(min_length=1)
    description: str = Field(min_length=1)
    licence: str = Field(min_length=1)
    citation: str = ""
    conditions: list[str] = Field(min_length=1)
    data: DataSettings
    seed: NonNegativeInt = 0

    @field_validator("conditions")
    @classmethod
    def _known_conditions(cls, names: list[str]) -> list[str]:
        from btk_generative.training.inputs import CONDITIONS

        for name in names:
            if name not in CONDITIONS:
                raise ValueError(
                    f"there is no condition '{name}'; known are {', '.join(CONDITIONS)}"
                )
        if len(set(names)) < len(names):
            raise ValueError("a condition is named twice")
        return names

    def smoke(self) -> Self:
        """Returns settings that take the whole path in minutes, for a model of no use.

        Where the catalogue is not there, mock galaxies stand in for it.
        """
        data = self.data.model_copy(update={"rows": 256, "copies": 1, "folder": None})
        if data.catalog is not None and not data.catalog.exists():
            kept = data.model_dump(include={"frame", "stamp_size", "pixel_scale", "width"})
            data = DataSettings(rows=256, **kept)
        short = {
            name: getattr(self, name).model_copy(update={"epochs": 3, "batch_size": 32})
            for name in type(self).model_fields
            if name.startswith("fit_")
        }
        return self.model_copy(update={"data": data, **short})


class VaeTraining(TrainSettings):
    """The configuration of ``kind: vae``."""

    kind: Literal["vae"]
    vae: VaeSettings = VaeSettings()
    flow: FlowSettings = FlowSettings()
    fit_vae: FitSettings = FitSettings(epochs=100)
    fit_flow: FitSettings = FitSettings(epochs=100, batch_size=256, learning_rate=2e-3)


class GanTraining(TrainSettings):
    """The configuration of ``kind: gan``."""

    kind: Literal["gan"]
    gan: NetworkSettings = NetworkSettings()
    fit_gan: FitSettings = FitSettings(epochs=200, learning_rate=2e-4, patience=None)

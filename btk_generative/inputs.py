"""The inputs that a model of galaxy morphology can take: the one list of their names and units.

A table of conditions has a column per input (see `btk_generative.conditions`). What a model's card
says of an input is the domain of its training; what is said here holds for every galaxy.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

COMPONENTS = ("bulge", "disk")
"""What a galaxy consists of, besides an AGN."""


@dataclass(frozen=True)
class Input:
    """A quantity that a model may be conditioned on."""

    name: str
    """Name of the column and of the tensor."""

    description: str
    """What it is, in a line."""

    unit: str = ""
    """Unit as astropy writes it; empty for a pure number."""

    component: str | None = None
    """The component that it belongs to, and which a galaxy may lack; None for all of its light."""

    quantity: str = ""
    """Which quantity of the component: ``hlr``, ``q``, ``flux`` or ``present``."""

    logarithmic: bool = False
    """Whether a network is given its logarithm."""

    limits: tuple[float, float] = (-np.inf, np.inf)
    """Between which values it lies in every galaxy."""

    open: bool = False
    """Whether the lower limit itself is none of them."""

    fault: str = ""
    """What is said of a value beyond the limits."""

    otherwise: float | None = None
    """Value where a table of conditions has no such column; None if it has to be there."""

    def beyond(self, values: np.ndarray) -> np.ndarray:
        """Returns which values no galaxy can have, booleans of shape ``[n]``."""
        low, high = self.limits
        return ((values <= low) if self.open else (values < low)) | (values > high)


_POSITIVE = (0.0, np.inf)
_Size = partial(Input, logarithmic=True, limits=_POSITIVE, open=True, fault="is not a size")
_Flux = partial(Input, logarithmic=True, limits=_POSITIVE, open=True, fault="is negative")
_Ratio = partial(
    Input,
    limits=(0.0, 1.0),
    open=True,
    fault="is not an axis ratio, which must be above 0 and <= 1",
)


def _component(part: str) -> tuple[Input, ...]:
    size = f"half-light radius of the {part}, circularised"
    flux = f"flux of the {part}, 25.94 - 2.5 log10 flux = F814W magnitude"
    return (
        _Size(f"{part}_hlr", size, "arcsec", part, "hlr"),
        _Ratio(f"{part}_q", f"axis ratio of the {part}", "", part, "q"),
        _Flux(f"{part}_flux", flux, "count", part, "flux"),
        Input(f"{part}_present", f"1 if the galaxy has a {part}, else 0", "", part, "present"),
    )


INPUTS = {
    given.name: given
    for given in (
        Input("zphot", "redshift", limits=(0.0, np.inf), fault="is negative"),
        *_component("bulge"),
        *_component("disk"),
        Input(
            "bulge_angle",
            "angle from the disk's major axis to the bulge's; 0 where either is missing",
            "deg",
            otherwise=0.0,
        ),
        Input("mag_auto", "F814W magnitude of SExtractor", "mag"),
        _Size("flux_radius", "half-light radius of SExtractor, pixels of 0.03 arcsec", "pix"),
    )
}
"""Every input that is known, by name."""


def component_of(name: str) -> str | None:
    """Returns the component that an input belongs to, None if it is none's or is not known."""
    return INPUTS[name].component if name in INPUTS else None


def is_presence(name: str) -> bool:
    """Returns whether an input tells if a galaxy has a component."""
    return name in INPUTS and INPUTS[name].quantity == "present"

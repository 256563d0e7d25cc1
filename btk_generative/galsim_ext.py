"""Old name of `btk_generative.simulators.galsim`, for one release."""

import warnings

from btk_generative.simulators.galsim import GenerativeGalaxy, GenerativeGalaxyModel

warnings.warn(
    "btk_generative.galsim_ext is now btk_generative.simulators.galsim",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["GenerativeGalaxy", "GenerativeGalaxyModel"]

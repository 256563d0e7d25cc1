"""Old name of `btk_generative.simulators.descwl`, for one release."""

import warnings

from btk_generative.simulators.descwl import GenerativeGalaxyBuilder

warnings.warn(
    "btk_generative.descwl_ext is now btk_generative.simulators.descwl",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["GenerativeGalaxyBuilder"]

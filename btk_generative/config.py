"""Old name of `btk_generative.draw.config` and `btk_generative.runs.config`, for one release."""

import warnings

from btk_generative.draw.config import BlendsConfig, CatalogConfig, DrawConfig
from btk_generative.draw.sampling_config import SamplingConfig
from btk_generative.runs.config import StrictModel, load_config

warnings.warn(
    "btk_generative.config is now btk_generative.draw.config (what to draw) and"
    " btk_generative.runs.config (load_config)",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = [
    "BlendsConfig",
    "CatalogConfig",
    "DrawConfig",
    "SamplingConfig",
    "StrictModel",
    "load_config",
]

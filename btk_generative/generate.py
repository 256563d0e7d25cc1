"""Old name of `btk_generative.datasets`, for one release."""

import warnings

from btk_generative.datasets import BlendDataset, GenerateConfig, generate, open_dataset, verify

warnings.warn(
    "btk_generative.generate is now btk_generative.datasets",
    DeprecationWarning,
    stacklevel=2,
)

__all__ = ["BlendDataset", "GenerateConfig", "generate", "open_dataset", "verify"]

"""Realistic galaxy blends from deep generative models of morphology, for the Blending ToolKit."""

import sys
from importlib import import_module
from importlib.metadata import version

__version__ = version("btk-generative")

_HOMES = {
    "GenerativeGenerator": "draw",
    "ParametricGenerator": "draw",
    "load_model": "models",
    "LightProfiles": "models",
    "open_dataset": "generate",
    "GenerativeGalaxy": "galsim_ext",
    "GenerativeGalaxyModel": "galsim_ext",
}
_PARTS = ("catalogs", "compare", "conditions", "draw", "generate", "models", "render")

__all__ = ["__version__", *_HOMES, *_PARTS]


def __getattr__(name: str):
    """Imports a part of the package when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name in _PARTS:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


if "galsim.config" in sys.modules:
    # GalSim's driver imports the modules of a configuration for the types that they register
    import_module(f"{__name__}.galsim_ext")

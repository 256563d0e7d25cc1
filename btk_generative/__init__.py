"""Realistic galaxy blends from deep generative models of morphology, for the Blending ToolKit."""

import sys
from importlib import import_module
from importlib.metadata import version

import lazy_loader

__version__ = version("btk-generative")

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submodules=["catalogs", "compare", "conditions", "draw", "generate", "models", "render"],
    submod_attrs={
        "draw": ["GenerativeGenerator", "ParametricGenerator"],
        "galsim_ext": ["GenerativeGalaxy", "GenerativeGalaxyModel"],
        "generate": ["open_dataset"],
        "models": ["LightProfiles", "load_model"],
    },
)
__all__ += ["__version__"]

if "galsim.config" in sys.modules:
    # GalSim's driver imports the modules of a configuration for the types that they register
    import_module(f"{__name__}.galsim_ext")

"""Realistic galaxy blends from deep generative models of morphology, for the Blending ToolKit."""

import sys
from importlib import import_module
from importlib.metadata import version

import lazy_loader

__version__ = version("btk-generative")

# the names of the stub are imported when they are first asked for
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

if "galsim.config" in sys.modules:
    # GalSim's driver imports the modules of a configuration for the types that they register
    import_module(f"{__name__}.simulators.galsim")

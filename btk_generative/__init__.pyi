from . import catalogs, compare, conditions, datasets, draw, generate, models, render, simulators
from .datasets import open_dataset
from .draw import GenerativeGenerator, ParametricGenerator
from .galaxies import GalaxySampler
from .models import LightProfiles, load_model
from .simulators.galsim import GenerativeGalaxy, GenerativeGalaxyModel

__version__: str
__all__ = [
    "GalaxySampler",
    "GenerativeGalaxy",
    "GenerativeGalaxyModel",
    "GenerativeGenerator",
    "LightProfiles",
    "ParametricGenerator",
    "__version__",
    "catalogs",
    "compare",
    "conditions",
    "datasets",
    "draw",
    "generate",
    "load_model",
    "models",
    "open_dataset",
    "render",
    "simulators",
]

"""Generative galaxies for GalSim: objects, and types for its configuration driver."""

import btk_generative.simulators.galsim.config  # noqa: F401  registers the types
from btk_generative.simulators.galsim.galaxy import GenerativeGalaxy
from btk_generative.simulators.galsim.model import GenerativeGalaxyModel

__all__ = ["GenerativeGalaxy", "GenerativeGalaxyModel"]

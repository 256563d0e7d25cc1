"""Generative galaxies for GalSim: objects, and types for its configuration driver."""

import btk_generative.galsim_ext.config  # noqa: F401  registers the types
from btk_generative.galsim_ext.galaxy import GenerativeGalaxy
from btk_generative.galsim_ext.model import GenerativeGalaxyModel

__all__ = ["GenerativeGalaxy", "GenerativeGalaxyModel"]

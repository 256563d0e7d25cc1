"""Generative galaxies for WeakLensingDeblending (descwl)."""

from btk_generative.descwl_ext.builder import GenerativeGalaxyBuilder

__all__ = ["GenerativeGalaxyBuilder"]

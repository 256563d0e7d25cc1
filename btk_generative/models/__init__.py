"""Generative models of galaxy morphology: artifacts, the hub and sampling."""

from btk_generative.models.profiles import LightProfiles

__all__ = ["LightProfiles"]

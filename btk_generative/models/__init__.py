"""Generative models of galaxy morphology: artifacts, the hub and sampling."""

from btk_generative.models.artifact import write_artifact
from btk_generative.models.card import ModelInput
from btk_generative.models.load import load_model
from btk_generative.models.model import GenerativeModel
from btk_generative.models.profiles import LightProfiles

__all__ = ["GenerativeModel", "LightProfiles", "ModelInput", "load_model", "write_artifact"]

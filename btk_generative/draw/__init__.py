"""Blend generators for the Blending ToolKit."""

from btk_generative.draw.batch import SurveyBatch, SurveyBatches
from btk_generative.draw.generative import GenerativeGenerator
from btk_generative.draw.parametric import ParametricGenerator

__all__ = ["GenerativeGenerator", "ParametricGenerator", "SurveyBatch", "SurveyBatches"]

"""Blend generators for the Blending ToolKit."""

from btk_generative.draw.batch import SurveyBatch, SurveyBatches
from btk_generative.draw.generative import GenerativeGenerator
from btk_generative.draw.parametric import ParametricGenerator
from btk_generative.draw.sampling import IndexedSampling

__all__ = [
    "GenerativeGenerator",
    "IndexedSampling",
    "ParametricGenerator",
    "SurveyBatch",
    "SurveyBatches",
]

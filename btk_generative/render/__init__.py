"""Light profiles to survey-pixel images, in batches and in Fourier space."""

from btk_generative.render.renderer import SurveyRenderer

__all__ = ["SurveyRenderer"]

"""Batches of blends: BTK's own, with what its multi-survey and PSF code needs."""

import os

import galsim
import numpy as np
from btk.blend_batch import BlendBatch, MultiResolutionBlendBatch


class SurveyBatch(BlendBatch):
    """A `btk.blend_batch.BlendBatch` with correctly sampled PSFs.

    BTK draws the PSF at GalSim's own pixel scale, centred between pixels, and cannot draw it any
    more once the batch was loaded.
    """

    @property
    def survey_name(self) -> str:
        """Name of the survey, by which a batch of several surveys is indexed."""
        return self.survey.name

    def get_numpy_psf(self) -> np.ndarray:
        """Returns each band's PSF with the survey's pixels, centred on the middle pixel.

        Returns:
            Array of shape ``[bands, P, P]`` with P odd, the image size or one less.
        """
        size = self.image_size - 1 + self.image_size % 2
        scale = self.survey.pixel_scale.to_value("arcsec")
        return np.array(
            [
                psf.array
                if isinstance(psf, galsim.Image)
                else psf.drawImage(nx=size, ny=size, scale=scale).array
                for psf in self.psf
            ]
        )


class SurveyBatches(MultiResolutionBlendBatch):
    """The same blends as several surveys see them, indexed by the survey's name or number."""

    @classmethod
    def load(cls, path: str, batch_number: int = 0) -> "SurveyBatches":
        """Loads what `save` wrote.

        Args:
            path: Folder given to `save`.
            batch_number: Number given to `save`.
        """
        folder = os.path.join(path, str(batch_number))
        names = sorted(os.listdir(folder))
        return cls([SurveyBatch.load(os.path.join(folder, name), batch_number) for name in names])

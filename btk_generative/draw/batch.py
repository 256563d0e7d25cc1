"""Batches of blends: BTK's own, with what its multi-survey and PSF code needs."""

import os
import warnings

import galsim
import h5py
import numpy as np
from astropy.io.misc.hdf5 import write_table_hdf5
from astropy.table import Column, MaskedColumn
from astropy.utils.exceptions import AstropyUserWarning
from btk.blend_batch import BlendBatch, MultiResolutionBlendBatch

from btk_generative.surveys import pixel_scale


class SurveyBatch(BlendBatch):
    """A `btk.blend_batch.BlendBatch` with correctly sampled PSFs.

    BTK draws the PSF at GalSim's own pixel scale, centred between pixels, and cannot draw it any
    more once the batch was loaded.
    """

    @property
    def survey_name(self) -> str:
        """Name of the survey, by which a batch of several surveys is indexed."""
        return self.survey.name

    def save(self, path: str, batch_number: int = 0) -> None:
        """Writes the batch as BTK does, and keeps masks, units and descriptions of the truth.

        Args:
            path: Folder for ``blend_{batch_number}.hdf5``.
            batch_number: Number of the batch.
        """
        with warnings.catch_warnings():  # of what BTK drops
            warnings.simplefilter("ignore", AstropyUserWarning)
            super().save(path, batch_number)
        with h5py.File(os.path.join(path, f"blend_{batch_number}.hdf5"), "a") as file:
            for blend, table in enumerate(self.catalog_list):
                if any(map(_says_more, table.columns.values())):
                    name = f"catalog_list/{blend}"
                    del file[name]
                    write_table_hdf5(table, file, name, serialize_meta=True)

    def get_numpy_psf(self) -> np.ndarray:
        """Returns each band's PSF with the survey's pixels, centred on the middle pixel.

        Returns:
            Array of shape ``[bands, P, P]`` with P odd, the image size or one less.
        """
        size = self.image_size - 1 + self.image_size % 2
        scale = pixel_scale(self.survey)
        return np.array(
            [
                psf.array
                if isinstance(psf, galsim.Image)
                else psf.drawImage(nx=size, ny=size, scale=scale).array
                for psf in self.psf
            ]
        )


def _says_more(column: Column) -> bool:
    """Returns whether there is more to a column than its values."""
    return isinstance(column, MaskedColumn) or bool(column.unit or column.description)


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

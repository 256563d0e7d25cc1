"""Blends of the catalogue's own bulges and disks, with the streams of the generative ones."""

import numpy as np
from btk.draw_blends import render_single_catsim_galaxy
from btk.survey import Survey

from btk_generative.draw.base import Galaxies, StreamGenerator


def draw_parametric(
    galaxies: Galaxies, rows, survey: Survey, psf: list, out: np.ndarray, bands, apply_shear: bool
) -> None:
    """Draws galaxies as BTK's CatsimGenerator does, into ``out[galaxies.slot]``.

    Args:
        galaxies: Galaxies.
        rows: Those to draw.
        survey: BTK survey.
        psf: PSF of every band.
        out: Array of shape ``[..., bands, N, N]``.
        bands: Names of the bands.
        apply_shear: Whether to apply columns ``g1`` and ``g2``.
    """
    for entry, slot in zip(galaxies.table[rows], galaxies.slot[rows], strict=True):
        for image, band, kernel in zip(out[slot], bands, psf, strict=True):
            filt = survey.get_filter(band)
            image[:] = render_single_catsim_galaxy(
                entry, filt, survey, kernel, image.shape[0], apply_shear
            ).array


class ParametricGenerator(StreamGenerator):
    """Draws what `btk.draw_blends.CatsimGenerator` draws, on `GenerativeGenerator`'s streams.

    With the same seed, catalogue and sampling function as a `GenerativeGenerator` it gives the
    same blends with the same rotations and the same background noise; only morphology differs.
    """

    def _prepare(self, galaxies: Galaxies) -> None:
        return None

    def _morphology(self, galaxies: Galaxies, given, rows) -> None:
        return None

    def _draw(self, galaxies, looks, rows, flux, survey, psf, out, bands=None) -> None:
        bands = bands or survey.available_filters
        draw_parametric(galaxies, rows, survey, psf, out, bands, self.apply_shear)

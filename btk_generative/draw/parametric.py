"""Blends of the catalogue's own bulges and disks, with the streams of the generative ones."""

import numpy as np
from astropy.table import Table
from btk.draw_blends import render_single_catsim_galaxy
from btk.survey import Survey

from btk_generative.draw.base import Galaxies, StreamGenerator, band_flux

_BRIGHT = 20.0  # magnitude


def draw_parametric(
    galaxies: Galaxies,
    rows,
    flux: np.ndarray,
    survey: Survey,
    psf: list,
    out: np.ndarray,
    bands,
    apply_shear: bool,
) -> None:
    """Draws galaxies as BTK's CatsimGenerator does, into ``out[galaxies.slot]``.

    BTK draws whole electrons only, and nothing of a galaxy with less than one: its images are
    scaled to the flux, those of such galaxies from a brighter one.

    Args:
        galaxies: Galaxies.
        rows: Those to draw.
        flux: `band_flux` of the rows.
        survey: BTK survey.
        psf: PSF of every band.
        out: Array of shape ``[..., bands, N, N]``.
        bands: Names of the bands.
        apply_shear: Whether to apply columns ``g1`` and ``g2``.
    """
    table = Table(galaxies.table[rows])
    for index, band in enumerate(bands):
        table[f"{band}_ab"][flux[:, index] < 1] = _BRIGHT
    scale = flux / np.trunc(band_flux(table, survey, bands))
    for entry, slot, factors in zip(table, galaxies.slot[rows], scale, strict=True):
        for image, band, kernel, factor in zip(out[slot], bands, psf, factors, strict=True):
            filt = survey.get_filter(band)
            drawn = render_single_catsim_galaxy(
                entry, filt, survey, kernel, image.shape[0], apply_shear
            )
            np.multiply(drawn.array, factor, out=image)


class ParametricGenerator(StreamGenerator):
    """Draws what `btk.draw_blends.CatsimGenerator` draws, on `GenerativeGenerator`'s streams.

    With the same seed, catalogue and sampling function as a `GenerativeGenerator` it gives the
    same blends with the same rotations and the same background noise; only morphology differs.
    Fluxes are not cut to whole electrons, as BTK's are.
    """

    def _prepare(self, galaxies: Galaxies) -> None:
        return None

    def _morphology(self, galaxies: Galaxies, given, rows) -> None:
        return None

    def _draw(self, galaxies, looks, rows, flux, survey, psf, out, bands=None) -> None:
        bands = bands or survey.available_filters
        draw_parametric(galaxies, rows, flux, survey, psf, out, bands, self.apply_shear)

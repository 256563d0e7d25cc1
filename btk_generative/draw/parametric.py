"""Blends of the catalogue's own bulges and disks, with the streams of the generative ones."""

import numpy as np
from astropy.table import Table
from btk.catalog import CatsimCatalog
from btk.draw_blends import render_single_catsim_galaxy
from btk.sampling_functions import SamplingFunction
from btk.survey import Survey
from btk.utils import DEFAULT_SEED

from btk_generative.draw.generator import StreamGenerator
from btk_generative.draw.painter import Canvas
from btk_generative.surveys import band_flux

_BRIGHT = 20.0  # magnitude


class ParametricPainter:
    """Draws galaxies as BTK's CatsimGenerator does.

    BTK draws whole electrons only, and nothing of a galaxy with less than one: its images are
    scaled to the flux, those of such galaxies from a brighter one.
    """

    def __init__(self, apply_shear: bool):
        """Initialises the painter.

        Args:
            apply_shear: Whether to apply columns ``g1`` and ``g2``.
        """
        self.apply_shear = apply_shear

    def prepare(self, table: Table) -> Table:
        """See `Painter`."""
        return table

    def profiles(self, prepared: Table, rows: slice) -> Table:
        """See `Painter`; a galaxy's row of the catalogue is its profile."""
        return prepared[rows]

    def paint(self, profiles: Table, canvas: Canvas) -> None:
        """See `Painter`."""
        table, survey = Table(profiles), canvas.survey
        for index, band in enumerate(canvas.bands):
            table[f"{band}_ab"][canvas.flux[:, index] < 1] = _BRIGHT
        scale = canvas.flux / np.trunc(band_flux(table, survey, canvas.bands))
        for entry, slot, factors in zip(table, canvas.slot, scale, strict=True):
            images = canvas.images[slot]
            for image, band, psf, factor in zip(
                images, canvas.bands, canvas.psfs, factors, strict=True
            ):
                filt = survey.get_filter(band)
                drawn = render_single_catsim_galaxy(
                    entry, filt, survey, psf, image.shape[0], self.apply_shear
                )
                np.multiply(drawn.array, factor, out=image)


class ParametricGenerator(StreamGenerator):
    """Draws what `btk.draw_blends.CatsimGenerator` draws, on `GenerativeGenerator`'s streams.

    With the same seed, catalogue and sampling function as a `GenerativeGenerator` it gives the
    same blends with the same rotations and the same background noise; only morphology differs.
    Fluxes are not cut to whole electrons, as BTK's are.
    """

    def __init__(
        self,
        catalog: CatsimCatalog,
        sampling_function: SamplingFunction,
        surveys: Survey | list[Survey],
        batch_size: int = 8,
        njobs: int = 1,
        verbose: bool = False,
        use_bar: bool = False,
        add_noise: str = "all",
        seed: int = DEFAULT_SEED,
        apply_shear: bool = False,
        augment_data: bool = False,
    ):
        """Initialises the generator; the arguments are those of `StreamGenerator`."""
        super().__init__(
            catalog,
            sampling_function,
            surveys,
            batch_size,
            njobs,
            verbose,
            use_bar,
            add_noise,
            seed,
            apply_shear,
            augment_data,
            painter=ParametricPainter(apply_shear),
        )

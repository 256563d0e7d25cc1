"""What BTK's surveys say of their bands: pixels, sky and fluxes."""

import astropy.units as u
import numpy as np
from astropy.table import Table
from btk.survey import Survey
from numpy.typing import NDArray
from surveycodex.utilities import mean_sky_level


def pixel_scale(survey: Survey) -> float:
    """Returns the size of a pixel, arcsec."""
    return survey.pixel_scale.to_value("arcsec")


def sky_levels(survey: Survey) -> NDArray[np.float64]:
    """Returns the mean sky level of every band, electrons per pixel, shape ``[bands]``."""
    filters = [survey.get_filter(band) for band in survey.available_filters]
    return np.array([mean_sky_level(survey, filt).to_value("electron") for filt in filters])


def band_flux(table: Table, survey: Survey, bands: list[str] | None = None) -> NDArray[np.float64]:
    """Returns the catalogue's flux in every band, in detected electrons.

    It is surveycodex's, which BTK takes, before surveycodex cuts it to whole electrons: a galaxy of
    0.9 electrons is drawn with them, not left out.

    Args:
        table: Galaxies with a magnitude column ``{band}_ab`` for every band.
        survey: BTK survey.
        bands: Names of the bands, all of the survey's where not given.

    Returns:
        Fluxes, shape ``[n, bands]``.
    """
    rate, counts = u.electron / u.s, []
    for band in bands or survey.available_filters:
        filt = survey.get_filter(band)
        magnitude = np.array(table[f"{band}_ab"], dtype=np.float64) * u.mag(rate)
        flux = (magnitude - filt.zeropoint).to(rate) * filt.full_exposure_time
        counts.append(flux.to_value(u.electron))
    return np.stack(counts, axis=1)

"""Conditions and random numbers as GalSim's users give them."""

import galsim
import numpy as np
from astropy.table import Table

from btk_generative.conditions import ZERO_POINT_F814W


def normals(rng: galsim.BaseDeviate, shape: tuple[int, ...]) -> np.ndarray:
    """Returns standard normal numbers from a GalSim generator, float32."""
    numbers = np.empty(int(np.prod(shape)))
    galsim.GaussianDeviate(rng, sigma=1.0).generate(numbers)
    return numbers.reshape(shape).astype(np.float32)


def table(conditions: list[dict]) -> Table:
    """Returns conditions as a table, None as masked values."""
    columns = {}
    for name in conditions[0]:
        values = [given[name] for given in conditions]
        mask = [value is None for value in values]
        columns[name] = np.ma.MaskedArray([0.0 if v is None else v for v in values], mask=mask)
    return Table(columns)


def flux(conditions: Table) -> np.ndarray:
    """Returns the flux that conditions tell, in F814W counts (zero point 25.94).

    It is that of ``mag_auto``, or of ``bulge_flux`` and ``disk_flux`` together, and 1 where there
    is none of them.

    Args:
        conditions: Table of length n.

    Returns:
        Fluxes, shape ``[n]``.
    """
    if "mag_auto" in conditions.colnames:
        return 10 ** (-0.4 * (np.asarray(conditions["mag_auto"], float) - ZERO_POINT_F814W))
    parts = [name for name in ("bulge_flux", "disk_flux") if name in conditions.colnames]
    if not parts:
        return np.ones(len(conditions))
    total = np.zeros(len(conditions))
    for name in parts:
        total += np.ma.filled(np.ma.asarray(conditions[name]).astype(float), 0.0)
    return total

"""What went into a model against what came out, galaxy by galaxy, and how draws differ."""

import numpy as np
from astropy.table import Table

from btk_generative.conditions import from_cosmos, half_light_radius
from btk_generative.validation.cosmos import CosmosSample
from btk_generative.validation.distances import STATISTICS

PANELS = (
    ("asked_hlr", "hlr_ratio", "half-light radius: drawn / asked"),
    ("asked_q", "q_difference", "axis ratio: drawn − asked"),
    ("asked_q", "angle_difference", "major axis: drawn − asked [deg]"),
    ("mag_auto", "seen_flux_ratio", "HSM flux: model / parametric fit"),
    ("seen_size", "seen_size_ratio", "HSM size: model / parametric fit"),
    ("seen_g", "seen_g_difference", "HSM g along the fit's axis: model − fit"),
)
"""Columns of `fidelity` that are shown against each other: x, y, and what y is."""

LABELS = {
    "asked_hlr": "half-light radius asked [arcsec]",
    "asked_q": "axis ratio asked",
    "mag_auto": "F814W magnitude",
    "seen_size": "HSM size of the fit [arcsec]",
    "seen_g": "HSM g of the fit",
}
"""What the columns on the x axes are."""


def fidelity(sample: CosmosSample, model: Table, parametric: Table) -> Table:
    """Returns what came out of a model against what went in, per galaxy.

    The first three quantities are of the profiles without PSF and noise. The others compare the
    stamps of the model with those of the full parametric fits, which have the same PSF and noise.

    Args:
        sample: The catalogue.
        model: Measurements of a `ProfileBatch`.
        parametric: Measurements of the same rows as parametric fits.

    Returns:
        Table with ``row`` and the columns of `PANELS`; NaN where a moment could not be measured.
    """
    given = from_cosmos(sample.records(np.asarray(model["row"])))
    disk = np.asarray(given["disk_present"])
    table = Table({"row": model["row"], "mag_auto": given["mag_auto"]})
    table["asked_hlr"] = half_light_radius(given)
    table["asked_q"] = np.where(disk, given["disk_q"].filled(1), given["bulge_q"].filled(1))
    table["hlr_ratio"] = model["profile_hlr"] / table["asked_hlr"]
    table["q_difference"] = model["profile_q"] - table["asked_q"]
    angle = np.where(table["asked_q"] < 0.9, np.rad2deg(model["profile_angle"]), np.nan)
    table["angle_difference"] = (angle + 90) % 180 - 90
    table["seen_size"], table["seen_g"] = parametric["size"], parametric["g"]
    table["seen_flux_ratio"] = model["flux"] / parametric["flux"]
    table["seen_size_ratio"] = model["size"] / parametric["size"]
    along = (model["g1"] * parametric["g1"] + model["g2"] * parametric["g2"]) / parametric["g"]
    table["seen_g_difference"] = along - parametric["g"]
    return table


def summary(table: Table) -> dict[str, dict[str, float]]:
    """Returns median, 16th and 84th percentile of each quantity of `fidelity`."""
    return {
        y: dict(
            zip(("p16", "median", "p84"), np.nanpercentile(table[y], (16, 50, 84)), strict=True)
        )
        for _, y, _ in PANELS
    }


def binned(x: np.ndarray, y: np.ndarray, bins: int = 12) -> Table:
    """Returns the median of y and the band that holds 68 %, in bins of x of equal numbers.

    Args:
        x: Values, shape ``[n]``.
        y: Values, shape ``[n]``; pairs that are not finite are left out.
        bins: Number of bins.

    Returns:
        Table with ``x`` (median in the bin), ``median``, ``low``, ``high``, ``number``.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[finite], y[finite]
    names = ("x", "median", "low", "high", "number")
    rows = []
    for members in np.array_split(np.argsort(x, kind="stable"), bins):
        if len(members):
            low, median, high = np.percentile(y[members], (16, 50, 84))
            rows.append((np.median(x[members]), median, low, high, len(members)))
    return Table(rows=rows or None, names=names)


def diversity(first: Table, second: Table) -> dict[str, float]:
    """Returns how much of each statistic's variance the inputs, PSF and noise leave open.

    Args:
        first: Measurements of a model.
        second: Measurements of another draw of the same rows, with the same PSF and noise.

    Returns:
        Statistic -> half the mean squared difference over the variance: 0 if the two draws are the
        same, 1 if they have no more in common than two galaxies of different rows.
    """
    result = {}
    for name in STATISTICS:
        a, b = np.asarray(first[name], dtype=float), np.asarray(second[name], dtype=float)
        both = np.isfinite(a) & np.isfinite(b)
        variance = 0.5 * (np.var(a[both]) + np.var(b[both]))
        result[name] = float(0.5 * np.mean((a[both] - b[both]) ** 2) / variance)
    return result

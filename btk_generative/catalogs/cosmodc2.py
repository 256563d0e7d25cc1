"""cosmoDC2 tables with the names of GCRCatalogs, to the CatSim schema.

Position angles of cosmoDC2 (and ``ellipticity_1``, ``ellipticity_2``, the same angle doubled) run
from north to east; its shears are those of GalSim and TreeCorr, in a frame whose x axis points
west. BTK draws with +x along +RA, that is east. Seen from there an angle is 90 degrees less the
position angle, and the second component of a shear changes its sign (GCRCatalogs' SCHEMA.md;
imSim draws at 90 degrees plus the position angle because its x axis points west).

Sizes, shapes and magnitudes are those before lensing (``_true``). ``g1`` and ``g2`` are the
reduced shear, gamma / (1 - convergence), which `apply_shear` of the generators applies; the
magnification is not applied.
"""

import os

import numpy as np

from btk_generative.catalogs.files import Source, require

TELLTALES = ("bulge_to_total_ratio_i", "mag_true_i_lsst", "mag_i_lsst")

BANDS = "ugrizy"
FAINTEST = 40.0
"""Magnitude in a band in which a galaxy has no light."""

SIZES = ("size_bulge_true", "size_minor_bulge_true", "size_disk_true", "size_minor_disk_true")
ANGLES = (
    ("position_angle_true",),
    ("position_angle_unlensed",),
    ("ellipticity_1_disk_true", "ellipticity_2_disk_true"),
)
LENSING = ("shear_1", "shear_2", "convergence")


def columns(source: Source) -> list[str]:
    """Columns to read from a source: what CatSim needs, and optional ones that are there."""
    wanted = [require(source, name) for name in ("ra", "dec", "redshift", *SIZES, TELLTALES[0])]
    wanted += [*angle_columns(source), i_magnitude(source)]
    found = [_magnitude_column(source.names, band) for band in BANDS]
    found += [_share_column(source.names, band) for band in BANDS]
    found += [name for name in ("galaxy_id", *LENSING) if name in source.names]
    return list(dict.fromkeys(wanted + [name for name in found if name]))


def i_magnitude(source: Source) -> str:
    """Column by which faint galaxies are left out."""
    return _magnitude_column(source.names, "i") or require(source, "mag_true_i_lsst")


def convert(
    rows: dict, path: str | os.PathLike, sed_library: str | os.PathLike | None = None
) -> dict:
    """Columns of CatSim from some rows of a source."""
    flux, share = {}, {}
    for band in BANDS:
        magnitude = _magnitude_column(rows, band)
        if magnitude:
            flux[band] = 10 ** (-0.4 * (rows[magnitude].astype(float) - 22.5))
            if _share_column(rows, band):
                share[band] = rows[_share_column(rows, band)].astype(float)
    return catsim_columns(rows, flux, share)


def catsim_columns(rows: dict, flux: dict, share: dict) -> dict:
    """Columns of CatSim from sizes, angles and lensing with the names of GCRCatalogs.

    Args:
        rows: Columns of the source.
        flux: Flux by band, in units of magnitude 22.5, "i" among them.
        share: Share of the bulge by band, "i" among them.
    """
    has_bulge, has_disk = share["i"] > 0, share["i"] < 1
    angle = (90 - _north_to_east(rows)) % 180
    sizes = {
        name: np.where(has, rows[column].astype(float), 0.0)
        for name, column, has in zip(
            ("a_b", "b_b", "a_d", "b_d"),
            SIZES,
            (has_bulge, has_bulge, has_disk, has_disk),
            strict=True,
        )
    }
    identity = {"galaxy_id": rows["galaxy_id"]} if "galaxy_id" in rows else {}
    # beyond the Lyman limit a galaxy may have no light at all
    faintest = 10 ** (-0.4 * (FAINTEST - 22.5))
    magnitudes = {
        f"{band}_ab": 22.5 - 2.5 * np.log10(np.maximum(f, faintest)) for band, f in flux.items()
    }
    return {
        **identity,
        **{name: rows[name].astype(float) for name in ("ra", "dec", "redshift")},
        "fluxnorm_bulge": flux["i"] * share["i"],
        "fluxnorm_disk": flux["i"] * (1 - share["i"]),
        "fluxnorm_agn": np.zeros(len(angle)),
        **sizes,
        "pa_bulge": np.where(has_bulge, angle, 0.0),
        "pa_disk": np.where(has_disk, angle, 0.0),
        **magnitudes,
        **{f"bulge_share_{band}": values for band, values in share.items()},
        **_lensing(rows),
    }


def angle_columns(source: Source) -> tuple[str, ...]:
    """Columns that hold the position angle before lensing, of which there are several names."""
    for names in ANGLES:
        if set(names) <= set(source.names):
            return names
    return (require(source, ANGLES[0][0]),)


def _north_to_east(rows):
    """Position angle of the galaxies from north to east [degrees]."""
    for names in ANGLES[:-1]:
        if names[0] in rows:
            return rows[names[0]].astype(float)
    first, second = (rows[name].astype(float) for name in ANGLES[-1])
    return np.degrees(np.arctan2(second, first) / 2)


def _lensing(rows):
    if not set(LENSING) <= set(rows):
        return {}
    reduced = 1 / (1 - rows["convergence"].astype(float))
    return {
        "g1": rows["shear_1"] * reduced,
        "g2": -rows["shear_2"] * reduced,
        "convergence": rows["convergence"].astype(float),
    }


def _magnitude_column(names, band):
    """The magnitude before lensing where there is one, else the lensed one; y is also Y."""
    for kind in ("mag_true", "mag"):
        for letter in (band, band.upper()):
            if f"{kind}_{letter}_lsst" in names:
                return f"{kind}_{letter}_lsst"
    return None


def _share_column(names, band):
    for letter in (band, band.upper()):
        if f"bulge_to_total_ratio_{letter}" in names:
            return f"bulge_to_total_ratio_{letter}"
    return None

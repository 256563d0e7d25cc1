"""CatSim tables, the schema of BTK and WeakLensingDeblending: taken as they are."""

import os

from btk_generative.catalogs.files import Source, require

TELLTALES = ("fluxnorm_disk", "a_d", "i_ab")


def columns(source: Source) -> list[str]:
    """Columns to read from a source: all of them."""
    require(source, "ra")
    require(source, "dec")
    return list(source.names)


def i_magnitude(source: Source) -> str:
    """Column by which faint galaxies are left out."""
    return require(source, "i_ab")


def convert(
    rows: dict, path: str | os.PathLike, sed_library: str | os.PathLike | None = None
) -> dict:
    """Columns of CatSim from some rows of a source."""
    return rows

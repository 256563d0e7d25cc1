"""CatSim tables, the schema of BTK and WeakLensingDeblending: taken as they are."""

from btk_generative.catalogs.files import require

TELLTALES = ("fluxnorm_disk", "a_d", "i_ab")


def columns(source) -> list[str]:
    """Columns to read from a source: all of them."""
    require(source, "ra")
    require(source, "dec")
    return list(source.names)


def i_magnitude(source) -> str:
    """Column by which faint galaxies are left out."""
    return require(source, "i_ab")


def convert(rows: dict, path, sed_library=None) -> dict:
    """Columns of CatSim from some rows of a source."""
    return rows

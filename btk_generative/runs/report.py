"""Reports: one HTML page that needs nothing else, from Jinja2 templates."""

import base64
import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from btk_generative.runs.files import write_text

if TYPE_CHECKING:
    import jinja2
    from astropy.table import Table
    from matplotlib.figure import Figure

_STYLE = Path(__file__).with_name("report.css")
_DPI = 110


@cache
def _environment() -> "jinja2.Environment":
    import jinja2  # of the extras of those that write reports
    from markupsafe import Markup

    found = jinja2.Environment(
        loader=jinja2.PackageLoader("btk_generative", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.globals |= {"style": Markup(_STYLE.read_text()), "png": png, "cells": cells}
    return found


def write_report(path: Path, template: str, **values: Any) -> None:
    """Writes a page.

    Args:
        path: The file.
        template: A template of the package, such as ``compare/report.html``, which extends
            ``runs/page.html``.
        values: What it shows; everything is escaped.

    Raises:
        OutputError: If the file cannot be written.
    """
    write_text(path, _environment().get_template(template).render(values))


def png(figure: "Figure | bytes | Path") -> str:
    """Returns an image as an address that holds all of it.

    Args:
        figure: A figure, or a PNG or its path.
    """
    if isinstance(figure, Path):
        figure = figure.read_bytes()
    if not isinstance(figure, bytes):
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=_DPI)
        figure = content.getvalue()
    return f"data:image/png;base64,{base64.b64encode(figure).decode()}"


def cells(table: "Table", digits: str = ".3f") -> tuple[list[str], list[list[str]]]:
    """Returns the heading and the rows of a table as text.

    Args:
        table: An astropy table; numbers that are not whole are rounded, the rest is as it is.
        digits: How to round.
    """
    rows = [
        [
            f"{value:{digits}}" if isinstance(value, float | np.floating) else str(value)
            for value in row
        ]
        for row in table.iterrows()
    ]
    return list(table.colnames), rows

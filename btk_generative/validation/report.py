"""The report: one self-contained HTML page, tables as CSV, a summary as JSON."""

import base64
import html
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from astropy.table import Table

from btk_generative.validation.distances import PUBLISHED_NOISE, SANITY_LIMIT, Sanity
from btk_generative.validation.held_out import HeldOut

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1150px; margin: 2em auto; padding: 0 1em;
  color: #222; background: #fff }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em; border-top: 1px solid #ddd }
table { border-collapse: collapse; margin: 1em 0; font-size: 0.9em }
th, td { padding: 0.2em 0.7em; text-align: right; border-bottom: 1px solid #eee }
th:first-child, td:first-child { text-align: left }
img { max-width: 100%; display: block; margin: 1em 0 }
.good, .bad { padding: 0.6em 1em; border-left: 5px solid #2a7; background: #f2faf6 }
.bad { border-color: #c33; background: #fdf3f3 }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page."""

    name: str
    """Name of its CSV file, without the ending, and its key in the summary."""

    title: str
    """Heading."""

    text: str
    """What is shown, plain text."""

    shown: Table | None = None
    """Table on the page; text columns are shown as they are, numbers with three decimals."""

    figure: bytes | None = None
    """PNG image."""

    saved: Table | None = None
    """Table that is written as CSV."""

    numbers: dict = field(default_factory=dict)
    """What goes into ``summary.json``, plain Python values."""


def write_report(
    folder: Path,
    title: str,
    seen: HeldOut,
    check: Sanity,
    sections: list[Section],
    summary: dict,
) -> None:
    """Writes ``index.html``, ``summary.json`` and a CSV file per section that has a table.

    Args:
        folder: An existing folder.
        title: Heading of the page.
        seen: Whether the model was trained on these galaxies, with which the page begins.
        check: The sanity check, which is next.
        sections: Parts of the page, in their order.
        summary: Numbers for ``summary.json``; they must be plain Python values.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts.append(
        f'<p class="{"good" if seen.trained_on == 0 else "bad"}">{html.escape(seen.statement)}</p>'
    )
    parts.append(
        f'<p class="{"good" if check.passed else "bad"}">Sanity check: the parametric arm of '
        f"{summary['galaxies']} galaxies must lie within W1/sd = {SANITY_LIMIT} of the published "
        f"parametric curves (meant for the paper's 10,240). Worst: {check.statistic}, "
        f"{check.w1:.3f} ± {check.error:.3f}. "
        + (
            "Passed."
            if check.passed
            else "It failed: the rest of this page cannot be trusted. Compare the first two lines "
            "of the table, though: the published sample itself is that uncertain."
            if check.w1 < 2 * PUBLISHED_NOISE[check.statistic]
            else "It failed: the rest of this page cannot be trusted."
        )
        + f"</p><p>Model {html.escape(summary['model']['name'])}, sha256 "
        f"{summary['model']['sha256'][:16]}; {100 * summary['in_domain']:.1f} % of the galaxies "
        f"lie in its domain; seed {summary['seed']}.</p>"
    )
    for section in sections:
        parts.append(f"<h2>{html.escape(section.title)}</h2><p>{html.escape(section.text)}</p>")
        if section.shown is not None:
            parts.append(_table(section.shown))
        if section.figure is not None:
            image = base64.b64encode(section.figure).decode()
            alt = html.escape(section.title)
            parts.append(f'<img alt="{alt}" src="data:image/png;base64,{image}">')
        if section.saved is not None:
            section.saved.write(folder / f"{section.name}.csv", format="ascii.csv")
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"
    )
    (folder / "index.html").write_text(page, encoding="utf-8")
    text = json.dumps(summary, indent=2, allow_nan=False)
    (folder / "summary.json").write_text(text + "\n", encoding="utf-8")


def _table(table: Table) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in table.colnames)
    lines = [
        "<tr>" + "".join(f"<td>{html.escape(_cell(value))}</td>" for value in row) + "</tr>"
        for row in table.iterrows()
    ]
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _cell(value) -> str:
    return f"{value:.3f}" if isinstance(value, float | np.floating) else str(value)

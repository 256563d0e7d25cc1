"""The report: one self-contained HTML page, tables as CSV, a summary as JSON."""

from dataclasses import dataclass, field
from pathlib import Path

from astropy.table import Table

from btk_generative.runs import report
from btk_generative.runs.files import write_json
from btk_generative.validation.distances import PUBLISHED_NOISE, SANITY_LIMIT, Sanity
from btk_generative.validation.held_out import HeldOut


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
    verdict = "Passed."
    if not check.passed:
        verdict = "It failed: the rest of this page cannot be trusted."
        if check.w1 < 2 * PUBLISHED_NOISE[check.statistic]:
            verdict += (
                " Compare the first two lines of the table, though: the published sample itself is"
                " that uncertain."
            )
    for section in sections:
        if section.saved is not None:
            section.saved.write(folder / f"{section.name}.csv", format="ascii.csv")
    report.write_report(
        folder / "index.html",
        "validation/report.html",
        title=title,
        seen=seen,
        check=check,
        limit=SANITY_LIMIT,
        verdict=verdict,
        sections=sections,
        summary=summary,
    )
    write_json(folder / "summary.json", summary)

"""Whether a model was trained on the galaxies that it is measured on."""

import re
from dataclasses import dataclass

from btk_generative.errors import ConfigError
from btk_generative.hst.paper import paper_rows
from btk_generative.validation.cosmos import CosmosSample

_ROWS = re.compile(r"(.+), (\d+) rows from (\d+)")  # as trainings write it into the card


@dataclass(frozen=True)
class HeldOut:
    """What a model's card says of the measured galaxies."""

    trained_on: int | None
    """How many of them the model was trained on; None if that is not known."""

    statement: str
    """The same in words, the first line of a report."""


def held_out(card: dict, sample: CosmosSample, number: int) -> HeldOut:
    """Compares the rows that a card says were trained on with those that are measured.

    Args:
        card: The model's card.
        sample: The catalogue that is measured.
        number: How many of its rows are, the first.
    """
    unknown = "It is not known whether the model was trained on the galaxies measured here"
    data = card.get("provenance", {}).get("data", [])
    data = [data] if isinstance(data, str) else data
    entries = [entry for entry in data if isinstance(entry, str)]
    spans = [span for entry in entries if (span := _ROWS.fullmatch(entry))]
    if not spans:
        return HeldOut(None, f"{unknown}: its card does not say which rows it was trained on.")
    said, trained_on = "; ".join(span[0] for span in spans), 0
    for span in spans:
        name, rows, first = span[1], int(span[2]), int(span[3])
        if name != sample.path.name and not ("25.2" in name and _is_cosmos(sample)):
            return HeldOut(
                None,
                f"{unknown}: it was trained on another catalogue ({said}) than {sample.path.name}.",
            )
        trained_on += max(0, min(first + rows, number) - first)
    if trained_on:
        return HeldOut(
            trained_on,
            f"The model was trained on {trained_on} of the {number} galaxies measured here "
            f"({said}): this is no test on galaxies that it has not seen.",
        )
    return HeldOut(0, f"The model was trained on none of the {number} galaxies measured ({said}).")


def _is_cosmos(sample: CosmosSample) -> bool:
    """Whether a catalogue is that of the paper, by the names of its galaxies."""
    records = sample.catalog.param_cat
    if "IDENT" not in records.dtype.names:
        return False
    try:
        return paper_rows(records["IDENT"][sample.catalog.orig_index]) > 0
    except ConfigError:
        return False

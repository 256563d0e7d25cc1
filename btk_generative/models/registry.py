"""The models that others have published, as `registry.json` tells."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """A published model, as `registry.json` tells."""

    name: str
    """Name after ``hub:``."""

    url: str
    """Address of the archive."""

    size: int
    """Size of the archive in bytes."""

    sha256: str
    """SHA-256 of the archive."""

    description: str
    """What it is, in a line."""

    inputs: list[dict]
    """Its inputs with unit and domain, as in a card; empty where only the file tells."""

    licence: str
    """Licence of the weights."""

    citation: str
    """What to cite."""


@cache
def registry() -> dict[str, Entry]:
    """Returns the published models by name."""
    entries = json.loads(Path(__file__).with_name("registry.json").read_text())
    return {name: Entry(name, **entry) for name, entry in entries.items()}

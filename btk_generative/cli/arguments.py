"""Arguments that several verbs take."""

from pathlib import Path
from typing import Annotated

import typer

Config = Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)]
Output = Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the file, such as a.b=3."),
]
Jobs = Annotated[int, typer.Option(min=1, help="Number of processes.")]


def printable(text: str) -> str:
    """Returns a stranger's text without what could steer a terminal."""
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )

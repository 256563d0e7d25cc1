"""The command `btk-generative compare`."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    config: Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)],
    output: Annotated[
        Path, typer.Option(help="Folder to write: new, empty, or of the same run, to go on.")
    ],
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the file, such as a.b=3."),
    ] = None,
    jobs: Annotated[int, typer.Option(help="Number of processes.")] = 1,
) -> None:
    """Deblend generative and parametric blends, and report how deblenders fare on them."""
    from btk_generative.compare.config import CompareConfig
    from btk_generative.compare.run import run
    from btk_generative.config import load_config

    run(load_config(config, CompareConfig, changes), output, jobs)

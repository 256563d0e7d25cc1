"""The verb `compare`."""

from pathlib import Path
from typing import Annotated

import typer

from btk_generative.cli.arguments import Config, Jobs, Set


def compare(
    config: Config,
    output: Annotated[
        Path, typer.Option(help="Folder to write: new, empty, or of the same run, to go on.")
    ],
    changes: Set = None,
    jobs: Jobs = 1,
) -> None:
    """Deblend generative and parametric blends, and report how deblenders fare on them."""
    from btk_generative.compare.config import CompareConfig
    from btk_generative.compare.job import run
    from btk_generative.runs.config import load_config

    run(load_config(config, CompareConfig, changes), output, jobs)

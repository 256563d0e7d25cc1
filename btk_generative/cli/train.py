"""The verbs `train` and `export`."""

from pathlib import Path
from typing import Annotated

import typer

from btk_generative.cli.arguments import Config, Set


def train(
    config: Config,
    output: Annotated[Path, typer.Option(help="Folder to write; model.tar.gz ends up in it.")],
    smoke: Annotated[
        bool, typer.Option(help="The whole path in minutes; a useless model.")
    ] = False,
    resume: Annotated[bool, typer.Option(help="Go on with a training that was stopped.")] = False,
    changes: Set = None,
) -> None:
    """Train a model of galaxy morphology on your own galaxies."""
    from btk_generative.training.job import train

    train(config, output, smoke, resume, changes)


def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a training.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Artifact to write, NAME.tar.gz.")],
) -> None:
    """Write the model artifact of a training, whatever backend of Keras it ran on."""
    from btk_generative.training.export import export

    export(folder, output)

"""The command line, `btk-generative`."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from btk_generative import cli_models
from btk_generative.cli_models import printable
from btk_generative.compare.commands import compare
from btk_generative.errors import GenerativeError
from btk_generative.generate.commands import dataset, generate
from btk_generative.validation.cli import validate

app = typer.Typer(
    name="btk-generative",
    help="Realistic galaxy blends from deep generative models of morphology.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Config = Annotated[Path, typer.Argument(help="Configuration file (YAML).", show_default=False)]
Output = Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a key of the file, such as a.b=3."),
]


@app.callback()
def _main() -> None:
    """Realistic galaxy blends from deep generative models of morphology."""


@app.command()
def draw(config: Config, output: Output, changes: Set = None) -> None:
    """Draw blends: BTK batches, truth catalogue, figure and summary."""
    from btk_generative.config import DrawConfig, load_config
    from btk_generative.draw.job import run

    run(load_config(config, DrawConfig, changes), output)


@app.command()
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
    from btk_generative.training.command import train

    train(config, output, smoke, resume, changes)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of a training.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Artifact to write, NAME.tar.gz.")],
) -> None:
    """Write the model artifact of a training, whatever backend of Keras it ran on."""
    from btk_generative.training.export import export

    export(folder, output)


app.command()(generate)
app.command()(compare)
app.command()(validate)
app.add_typer(dataset, name="dataset")
app.add_typer(cli_models.app, name="models")


@contextmanager
def _ended_by_signals() -> Iterator[list[int]]:
    """Lets what asks the process to end (Ctrl-C, SIGTERM, SIGHUP) clean up what is half-written.

    Yields:
        The signals that came.
    """
    came, process = [], os.getpid()

    def stop(number, _):
        if os.getpid() != process:  # a fork of it has nothing to clean up
            os._exit(128 + number)
        came.append(number)
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():  # only it may ask for signals
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):  # as nohup has it
                before[number] = signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main() -> None:
    """Runs the command line.

    A user's mistake ends in one line and exit code 2, a signal in one line and exit code 128 + its
    number, as in a shell.
    """
    with _ended_by_signals() as came:
        try:
            app()
        except (GenerativeError, OSError) as error:
            if not came:
                print(f"error: {printable(' '.join(str(error).split()))}", file=sys.stderr)
                sys.exit(2)
        except MemoryError as error:
            print(
                f"error: not enough memory ({error}); make the stamps, the number of galaxies in a"
                " blend, the batches or the catalogue smaller",
                file=sys.stderr,
            )
            sys.exit(2)
        finally:
            if came:
                print(f"stopped by {signal.Signals(came[0]).name}", file=sys.stderr)
                sys.exit(128 + came[0])

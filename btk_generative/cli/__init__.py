"""The command line, `btk-generative`: a verb a file."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from btk_generative.cli import models
from btk_generative.cli.arguments import printable
from btk_generative.cli.compare import compare
from btk_generative.cli.draw import draw
from btk_generative.cli.generate import dataset, generate
from btk_generative.cli.train import export, train
from btk_generative.cli.validate import validate
from btk_generative.errors import GenerativeError

app = typer.Typer(
    name="btk-generative",
    help="Realistic galaxy blends from deep generative models of morphology.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _main() -> None:
    """Realistic galaxy blends from deep generative models of morphology."""


for verb in (draw, train, export, generate, compare, validate):
    app.command()(verb)
app.add_typer(dataset, name="dataset")
app.add_typer(models.app, name="models")


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

"""The verbs `generate` and `dataset verify`."""

import re
from typing import Annotated

import typer

from btk_generative.cli.arguments import Config, Set
from btk_generative.errors import ConfigError, OutputError

dataset = typer.Typer(
    help="Look after a data set of blends.", no_args_is_help=True, rich_markup_mode=None
)

Folder = Annotated[str, typer.Argument(help="Data set: a folder or s3://…", show_default=False)]


def generate(
    config: Config,
    output: Annotated[
        str, typer.Option(help="Data set to write or go on with: a folder or s3://…")
    ],
    changes: Set = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="K/N", help="Draw only shard K (from 0) of N, as a task of a job array."
        ),
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="local, threads, slurm, pbs, htcondor, or tcp://host:port."),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, threads or jobs.")] = None,
) -> None:
    """Draw a data set in shards, or what is missing of it."""
    from btk_generative.datasets import GenerateConfig
    from btk_generative.datasets import generate as run
    from btk_generative.runs.config import load_config

    changes = list(changes or [])
    changes += [f"scheduler={scheduler}"] if scheduler else []
    changes += [f"workers={workers}"] if workers else []
    number = None
    if shard is not None:
        match = re.fullmatch(r"(\d+)/(\d+)", shard)
        if not match:
            raise ConfigError(f"--shard {shard}: write it as K/N, such as 17/1000")
        number = int(match[1])
        changes.append(f"shards={match[2]}")
    result = run(load_config(config, GenerateConfig, changes), output, shard=number)
    print(f"{output}: {result['complete']} of {result['shards']} shards are complete")


@dataset.command()
def verify(
    folder: Folder,
    repair: Annotated[bool, typer.Option("--repair", help="Draw bad shards again.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that draw, with --repair.")] = 1,
) -> None:
    """Compare every file of a data set with its checksum; exit code 2 if any is bad."""
    from btk_generative.datasets import verify as check

    problems = check(folder, repair=repair, **({"workers": workers} if repair else {}))
    for shard, problem in problems.items():
        print(f"shard {shard}: {problem}")
    if not problems:
        print(f"{folder}: every shard is complete and unaltered")
    elif repair:
        print(f"{folder}: {len(problems)} shards were drawn again")
    else:
        raise OutputError(f"{folder}: {len(problems)} shards are bad; --repair draws them again")

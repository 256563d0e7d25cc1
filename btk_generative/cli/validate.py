"""The command ``btk-generative validate``."""

import os
from pathlib import Path
from typing import Annotated

import typer


def validate(
    model: Annotated[str, typer.Argument(help="Name or archive of a model.", show_default=False)],
    output: Annotated[Path, typer.Option(help="Folder to write; it must be new or empty.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="1,500 galaxies instead of 10,240.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            envvar="BTK_GENERATIVE_DATA",
            help="Folder with lanusse2021, cosmos_catalog, cosmos_hst and ceers_f200w.",
        ),
    ] = None,
    catalog: Annotated[
        Path | None,
        typer.Option(help="Another GalSim COSMOS catalogue, with images or parametric fits alone."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    jobs: Annotated[
        int, typer.Option(min=1, help="Worker processes.", show_default="CPUs")
    ] = os.cpu_count() or 1,
) -> None:
    """Compare a model's galaxies with HST COSMOS and write a report."""
    from btk_generative.errors import ConfigError
    from btk_generative.models import load_model
    from btk_generative.validation.job import FULL, QUICK, find_inputs, run

    if data is None:
        raise ConfigError(
            "the published curves and the COSMOS catalogue are not part of the package: "
            "say where they are with --data or in BTK_GENERATIVE_DATA"
        )
    inputs = find_inputs(data, catalog)
    number = QUICK if quick else FULL
    summary = run(load_model(model), output, inputs, number, seed, jobs)
    check = summary["sanity"]
    print(summary["held_out"]["statement"])
    print(
        f"{output / 'index.html'}: sanity check "
        f"{'passed' if check['passed'] else 'FAILED'} ({check['statistic']}: W1/sd "
        f"{check['w1']:.3f} ± {check['error']:.3f})"
    )

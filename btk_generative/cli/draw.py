"""The verb `draw`."""

from btk_generative.cli.arguments import Config, Output, Set


def draw(config: Config, output: Output, changes: Set = None) -> None:
    """Draw blends: BTK batches, truth catalogue, figure and summary."""
    from btk_generative.draw.config import DrawConfig
    from btk_generative.draw.job import run
    from btk_generative.runs.config import load_config

    run(load_config(config, DrawConfig, changes), output)

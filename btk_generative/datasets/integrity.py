"""Finds shards of a data set that are missing, truncated or altered."""

import os
from typing import Any

from tqdm.auto import tqdm

from btk_generative.datasets import layout, manifest
from btk_generative.datasets.config import GenerateConfig
from btk_generative.datasets.job import generate
from btk_generative.datasets.store import Store


def verify(
    folder: str | os.PathLike, repair: bool = False, progress: bool = True, **options: Any
) -> dict[int, str]:
    """Reads every file of a data set and compares it with its checksum.

    Args:
        folder: The data set, a folder or address.
        repair: Whether to draw the bad shards again.
        progress: Whether to show a progress bar.
        **options: With `repair`, keys of the configuration that say who draws: ``scheduler``,
            ``workers``, ``batch_size``.

    Returns:
        What is wrong, by number of the shard; with `repair` what was wrong.

    Raises:
        OutputError: If the folder is no data set.
    """
    store = Store(folder)
    config = manifest.read_as(GenerateConfig, store)
    numbers = tqdm(range(config.shards), unit="shard", disable=not progress)
    problems = {k: problem for k in numbers if (problem := _problem(store, k, config))}
    if repair:
        with store.lock():
            for number in problems:
                store.remove(layout.row(number))
        generate(config.model_copy(update=options), folder, progress=progress)
    return problems


def _problem(store, shard, config):
    """What is wrong with a shard, None if nothing is."""
    if not store.exists(layout.row(shard)):
        return "not drawn yet"
    try:
        row = store.read_json(layout.row(shard))
        files = {name: (facts["bytes"], facts["sha256"]) for name, facts in row["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"{layout.row(shard)} cannot be read"
    expected = {layout.truth(shard), *(layout.images(survey, shard) for survey in config.survey)}
    if set(files) != expected:
        return f"{layout.row(shard)} does not name the shard's files"
    for name, (size, sha256) in files.items():
        if not store.exists(name):
            return f"{name} is missing"
        found = store.checksum(name)
        if found != (size, sha256):
            kind = "altered" if found[0] == size else f"{found[0]} bytes long instead of {size}"
            return f"{name} is {kind}"
    return None

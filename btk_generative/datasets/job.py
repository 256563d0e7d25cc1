"""Draws the shards of a data set that are still missing."""

import os
import threading
import time
import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from tqdm.auto import tqdm

from btk_generative.datasets import manifest
from btk_generative.datasets.config import GenerateConfig
from btk_generative.datasets.schedulers import check_installed, run_tasks
from btk_generative.datasets.store import Store
from btk_generative.errors import ConfigError, GenerativeError, OutputError
from btk_generative.runs.processes import Lock

_thread = threading.local()
_loading = Lock()


def generate(
    config: GenerateConfig,
    output: str | os.PathLike,
    shard: int | None = None,
    progress: bool = True,
) -> dict:
    """Draws a data set, or what is still missing of it.

    A shard is the same, bit for bit, whoever draws it and when. A run that was stopped in any way
    goes on where it was when it is started again.

    Args:
        config: What to draw.
        output: Folder, or address in an object store (``s3://bucket/name``), of the data set.
        shard: Draws only this shard, in this process, as a task of a job array does.
        progress: Whether to show a progress bar.

    Returns:
        ``{"drawn": shards drawn now, "complete": shards complete, "shards": all of them}``.

    Raises:
        PackageMissing: If Dask is needed and not installed.
        OutputError: If the folder is in use, holds something else or cannot be written.
        GenerativeError: If the configuration, catalogue or model is not usable, or if shards
            failed for another reason; those that are complete stay.
    """
    store = Store(output)
    if shard is not None and not 0 <= shard < config.shards:
        raise ConfigError(f"shard must be from 0 to {config.shards - 1}, not {shard}")
    alone = shard is not None or (config.scheduler == "local" and config.workers == 1)
    if not alone:
        check_installed(config.scheduler, config.workers)
    with store.lock(shared=shard is not None):
        manifest.check(store, config)
        if shard is None:
            store.remove_partial()
        done = manifest.finished(store, config.shards)
        wanted = range(config.shards) if shard is None else [shard]
        missing = [number for number in wanted if number not in done]
        bar = tqdm(
            total=len(wanted),
            initial=len(wanted) - len(missing),
            unit="shard",
            disable=not progress or not missing,
        )
        with bar:
            try:
                failures = _draw(config, store, missing, alone, bar)
            except OutputError as error:
                complete = len(manifest.finished(store, config.shards))
                raise OutputError(
                    f"{error}. {complete} of {config.shards} shards are complete and safe; the"
                    " same command draws the others"
                ) from error
        done = manifest.finished(store, config.shards)
    if failures:
        first = min(failures)
        raise GenerativeError(
            f"{len(failures)} shards failed, the first of them {first}:"
            f" {type(failures[first]).__name__}: {failures[first]}. The same command tries them"
            " again"
        )
    return {"drawn": len(missing), "complete": len(done), "shards": config.shards}


def _draw(
    config: GenerateConfig, store: Store, shards: list[int], alone: bool, bar: tqdm
) -> dict[int, Exception]:
    """Draws shards and returns the errors of those that failed, but raises a user's mistake."""
    common = (uuid.uuid4().hex, config.model_dump_json(), store.url)
    results: Iterator[tuple[int, Any]]
    if alone:
        results = ((number, draw_shard(*common, number)) for number in shards)
    else:
        tasks = ((number, (*common, number)) for number in shards)
        results = run_tasks(config.scheduler, config.workers, draw_shard, tasks, bar.write)
    failures: dict[int, Exception] = {}
    drawn, started = 0, time.monotonic()
    for number, result in results:
        if isinstance(result, GenerativeError):
            raise result
        if isinstance(result, Exception):
            failures[number] = result
        else:
            drawn += result["blends"]
            bar.update()
        rate = drawn / (time.monotonic() - started)
        bar.set_postfix_str(f"{rate:.4g} blends/s, {len(failures)} failed")
    return failures


def draw_shard(run: str, config_json: str, url: str, shard: int) -> dict:
    """Draws one shard, in whatever process or thread.

    Args:
        run: Names the run: catalogue and model are loaded once for each.
        config_json: A `GenerateConfig`, as JSON.
        url: Where the data set is.
        shard: Number of the shard.

    Returns:
        The shard's row of the manifest.
    """
    from btk_generative.datasets.shard import ShardMaker

    store = Store(url)
    if getattr(_thread, "run", None) != run:
        with _loading:
            config, catalog, model = _load(run, config_json, store)
            _thread.maker = ShardMaker(config, catalog, model)
            _thread.run = run
    return _thread.maker.make(store, shard)


@lru_cache(maxsize=1)
def _load(run, config_json, store):
    """Reads catalogue and model, and makes sure that the data set is made from the same."""
    from btk_generative.models import load_model

    config = GenerateConfig.model_validate_json(config_json)
    catalog, model = config.catalog.read(), load_model(config.model)
    manifest.claim(store, manifest.describe(config, catalog, model))
    return config, catalog, model

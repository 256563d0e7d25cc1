"""Runs tasks on Dask: on this machine, on a batch system's nodes, or on a running cluster.

Workers are processes that Dask spawns (never forks: a process that has used TensorFlow must not be
forked). They send back what a task returns, which is a few hundred bytes for a shard.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from btk_generative.errors import ConfigError, need

JOB_QUEUES = {"slurm": "SLURMCluster", "pbs": "PBSCluster", "htcondor": "HTCondorCluster"}
"""Batch systems, and the classes of dask-jobqueue that submit to them."""

_RETRIES = 2  # times that a task is tried again
_PATIENCE = "20s"  # with a scheduler that does not answer
_AHEAD = 10  # tasks given to the scheduler for each worker, so that it is neither idle nor full

ONE_THREAD = {
    # a worker has a core
    name: "1"
    for name in (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    )
}


def check_installed(scheduler: str, workers: int) -> None:
    """Checks that what a scheduler needs is installed.

    Args:
        scheduler: See `run_tasks`.
        workers: Number of processes, threads or jobs.

    Raises:
        PackageMissing: If not.
    """
    what = f"scheduler '{scheduler}' with {workers} workers"
    if scheduler in JOB_QUEUES:
        need("distributed", "dask_jobqueue", extra="cluster", what=what)
    else:
        need("distributed", extra="datasets", what=what)


def run_tasks(
    scheduler: str,
    workers: int,
    function: Callable,
    tasks: Iterable[tuple[int, tuple]],
    log: Callable[[str], None] = print,
) -> Iterator[tuple[int, Any]]:
    """Calls a function for every task, in any order.

    Args:
        scheduler: "local" (processes on this machine), "threads", a batch system ("slurm", "pbs",
            "htcondor"), or the address of a Dask scheduler ("tcp://host:8786").
        workers: Number of processes, threads or jobs; of no meaning for an address.
        function: What to call; workers import it by its name.
        tasks: Pairs of a number and the arguments.
        log: Is told where the dashboard is.

    Yields:
        The number of a task, and what it returned or the exception that it raised in the end. A
        task whose worker died is given to another.

    Raises:
        ConfigError: If the scheduler is unknown, or does not answer.
    """
    with _client(scheduler, workers) as client:
        from distributed import as_completed

        log(f"Dask dashboard: {client.dashboard_link}")
        number_of = {}
        tasks = iter(tasks)

        def submit(count):
            for number, arguments in islice(tasks, count):
                future = client.submit(function, *arguments, pure=False, retries=_RETRIES)
                number_of[future.key] = number
                yield future

        workers = max(workers, len(client.scheduler_info()["workers"]))
        waiting = as_completed(submit(_AHEAD * workers))
        for future in waiting:
            error = future.exception()
            yield number_of.pop(future.key), (future.result() if error is None else error)
            for another in submit(1):
                waiting.add(another)


@contextmanager
def _client(scheduler, workers):
    from distributed import Client, LocalCluster

    if scheduler == "local":
        cluster = LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            memory_limit=None,
            env=ONE_THREAD,
            silence_logs=logging.ERROR,  # such as that a worker takes long to end
        )
    elif scheduler == "threads":
        cluster = LocalCluster(
            n_workers=1, threads_per_worker=workers, processes=False, memory_limit=None
        )
    elif scheduler in JOB_QUEUES:
        cluster = _job_queue(scheduler)
        cluster.scale(jobs=workers)
    elif "://" in scheduler:
        try:
            client = Client(scheduler, timeout=_PATIENCE)
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler answers at {scheduler}: {error}") from error
        with client:
            yield client
        return
    else:
        raise ConfigError(
            f"scheduler may be local, threads, {', '.join(JOB_QUEUES)} or an address such as"
            f" tcp://host:8786, not '{scheduler}'"
        )
    with cluster, Client(cluster) as client:
        yield client


def _job_queue(name):
    import dask_jobqueue

    try:
        # queue, memory and time are in Dask's own configuration (jobqueue.yaml)
        return getattr(dask_jobqueue, JOB_QUEUES[name])()
    except ValueError as error:
        raise ConfigError(
            f"scheduler '{name}': {' '.join(str(error).split())}; set it under jobqueue.{name} in"
            " ~/.config/dask/jobqueue.yaml"
        ) from error

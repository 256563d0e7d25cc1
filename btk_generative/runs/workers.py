"""Worker processes that are started afresh, never forked, so that a parent may use TensorFlow."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from multiprocessing.process import BaseProcess
from typing import Any, NoReturn


class Workers:
    """Calls functions in several processes; a context manager.

    With one job everything happens in this process. An error of a task is raised here.
    """

    def __init__(self, jobs: int = 1, start: Callable[..., None] | None = None, *arguments: Any):
        """Initialises the pool; processes are started by the first task.

        Args:
            jobs: Number of processes.
            start: What every process calls first, this one too if there is only one job.
            arguments: Its arguments.
        """
        self.jobs = jobs
        self._start, self._arguments = start, arguments
        self._pool: ProcessPoolExecutor | None = None
        self._started = False

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def map(
        self, function: Callable[[Any], Any], tasks: Iterable[Any]
    ) -> Iterator[tuple[int, Any]]:
        """Yields the number of each task with ``function(task)``, as they are done.

        Args:
            function: Of a module, so that it can be sent to a process.
            tasks: Taken one by one, a few ahead of what is being done.
        """
        running: dict[Future, int] = {}
        for number, task in enumerate(tasks):
            self._prepare()
            if self._pool is None:
                yield number, function(task)
                continue
            running[self._pool.submit(function, task)] = number
            if len(running) > 2 * self.jobs:
                yield from _finished(running)
        while running:
            yield from _finished(running)

    def _prepare(self) -> None:
        if self._started:
            return
        self._started = True
        if self.jobs > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(
                self.jobs, spawn, _begin, (self._start, self._arguments)
            )
        elif self._start is not None:
            self._start(*self._arguments)


def _finished(running: dict[Future, int]) -> Iterator[tuple[int, Any]]:
    """Waits until something is done, yields it, and takes it off the list."""
    for future in wait(running, return_when=FIRST_COMPLETED).done:
        yield running.pop(future), future.result()


def _begin(start: Callable[..., None] | None, arguments: tuple) -> None:
    """Starts a worker, which ends with its parent, even with one that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    if start is not None:
        start(*arguments)


def _end_with(parent: BaseProcess) -> NoReturn:
    parent.join()
    os._exit(1)

"""Worker processes that are started afresh, never forked, so that a parent may use TensorFlow."""

import multiprocessing
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

from tqdm import tqdm


class Workers:
    """Runs the ``measure`` method of tasks in several processes; a context manager.

    Args:
        jobs: Number of processes; with 1 the tasks run in this one.
    """

    def __init__(self, jobs: int = 1):
        self.jobs = jobs
        self._pool = None

    def __enter__(self) -> "Workers":
        if self.jobs > 1:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.jobs, mp_context=spawn)
        return self

    def __exit__(self, *error) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def measure(self, tasks: Iterable, total: int, label: str) -> list[Any]:
        """Returns ``task.measure()`` of every task, in their order.

        Args:
            tasks: What to do; taken one by one, a few ahead of what is being measured.
            total: Number of galaxies, for the progress bar; a task has ``len(task)`` of them.
            label: What the progress bar says.
        """
        results = []
        with tqdm(total=total, desc=label, unit="galaxy") as bar:
            waiting = deque()

            def finish():
                task, future = waiting.popleft()
                results.append(future.result() if self._pool else task.measure())
                bar.update(len(task))

            for task in tasks:
                future = self._pool.submit(task.measure) if self._pool else None
                waiting.append((task, future))
                if len(waiting) > self.jobs + 1 or not self._pool:
                    finish()
            while waiting:
                finish()
        return results

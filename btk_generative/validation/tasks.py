"""Tasks that measure some galaxies each, in worker processes."""

from collections.abc import Iterable, Sized
from typing import Any, Protocol

from tqdm import tqdm

from btk_generative.runs.workers import Workers


class Task(Sized, Protocol):
    """Some galaxies to measure; ``len`` tells how many."""

    def measure(self) -> Any:
        """Returns what is found."""


def measured_by(workers: Workers, tasks: Iterable[Task], total: int, label: str) -> list[Any]:
    """Returns what every task measures, in their order.

    Args:
        workers: Who measures.
        tasks: Taken one by one, a few ahead of what is being measured.
        total: Number of galaxies, for the progress bar.
        label: What the progress bar says.
    """
    found = {}
    with tqdm(total=total, desc=label, unit="galaxy") as bar:
        for number, (size, result) in workers.map(_measure, tasks):
            found[number] = result
            bar.update(size)
    return [found[number] for number in sorted(found)]


def _measure(task: Task) -> tuple[int, Any]:
    return len(task), task.measure()

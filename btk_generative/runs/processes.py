"""What a process inherits from the one that it was forked from."""

import os
import sys
import threading
import weakref

from btk_generative.errors import ConfigError

_locks: "weakref.WeakSet[Lock]" = weakref.WeakSet()
_forked_with_jax = False


class Lock:
    """A lock for the threads of one process.

    `threading.Lock` stays locked for good in a process that was forked while another thread held
    it, and cannot be pickled. This one is free in a forked process, and is pickled as a new one.
    """

    def __init__(self) -> None:
        self._free()
        _locks.add(self)

    def _free(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[type["Lock"], tuple[()]]:
        return Lock, ()


def refuse_inherited_jax() -> None:
    """Raises a `ConfigError` in a process forked from one that had JAX: it would hang."""
    if _forked_with_jax:
        raise ConfigError(
            "JAX cannot run in a process forked from one that has used it: fit in the parent"
            " process, or start its processes by 'spawn'"
        )


def _note_fork() -> None:
    global _forked_with_jax
    _forked_with_jax = "jax" in sys.modules
    for lock in _locks:
        lock._free()


os.register_at_fork(after_in_child=_note_fork)

"""Compilation of loops, kept on disk where that can be written."""

import functools
import logging
from collections.abc import Callable
from typing import Any

import numba

_log = logging.getLogger(__name__)


def compiled(function: Callable | None = None, **options: Any) -> Callable:
    """Compiles a function when it is first called; takes the options of `numba.njit`.

    What was compiled is kept beside the package or in the user's cache. Where neither can be
    written, as in a container, every process compiles anew.
    """
    if function is None:
        return functools.partial(compiled, **options)
    try:
        return numba.njit(function, cache=True, nogil=True, **options)
    except RuntimeError as error:
        if "no locator available" not in str(error):
            raise
        _say_that_nothing_is_kept()
        return numba.njit(function, nogil=True, **options)


@functools.cache
def _say_that_nothing_is_kept() -> None:
    _log.warning(
        "compiled loops cannot be kept, since neither the installed package nor the user's cache"
        " can be written: every process compiles them anew (some 30 s); set NUMBA_CACHE_DIR to a"
        " folder that can"
    )

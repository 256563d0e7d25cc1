"""Files that are complete as soon as they have their name."""

import errno
import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from btk_generative.errors import OutputError

PARTIAL = ".partial"
"""Ending of a file that is being written; its name begins with a dot."""


@contextmanager
def new_file(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a place to write to; the file gets its name when the block has ended well.

    It is on the disk by then, so that a machine that stops leaves the old file or the new one.

    Args:
        path: The file. Its folder is made where it is not there.

    Yields:
        A path beside it, whose file is removed if the block raises.

    Raises:
        OutputError: If the file cannot be written, because the disk is full, say.
    """
    path = Path(path)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        _sync(partial)
        os.replace(partial, path)
        _sync(path.parent)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        full = "; free some space and run the command again" if error.errno == errno.ENOSPC else ""
        raise OutputError(f"cannot write {path}: {error.strerror or error}{full}") from error
    finally:
        with suppress(OSError):  # where the folder is none, there is nothing to remove
            partial.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file, in UTF-8; see `new_file`."""
    with new_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_bytes(path: str | os.PathLike, content: bytes) -> None:
    """Writes a file; see `new_file`."""
    with new_file(path) as partial:
        partial.write_bytes(content)


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a JSON file; see `new_file`. Numbers have to be finite."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

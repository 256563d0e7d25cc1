"""Folders that are either complete or not there."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from btk_generative.errors import OutputError
from btk_generative.runs.files import PARTIAL


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Gives a folder to write into, which gets its final name only when the block has ended well.

    Args:
        path: Final name; it must not exist yet, or be an empty folder.

    Yields:
        A temporary folder beside it, removed if the block raises.

    Raises:
        OutputError: If the final folder holds something, or cannot be made.
    """
    path = Path(path).absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise OutputError(
            f"{path} already exists and is not an empty folder; remove it or choose another name"
        )
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}{PARTIAL}")
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.mkdir(mode=0o700)
        except OSError as error:
            raise OutputError(f"cannot write to {path.parent}: {error.strerror}") from error
        if path.exists() and not os.access(path, os.W_OK):
            raise OutputError(f"cannot write to {path}: permission denied")
        yield partial
        partial.chmod(0o755)
        os.replace(partial, path)
    except BaseException:
        try:
            shutil.rmtree(partial, ignore_errors=True)
        finally:  # again, if a second signal came in between
            shutil.rmtree(partial, ignore_errors=True)
        raise

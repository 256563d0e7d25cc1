"""A folder, local or in an object store, in which a file is either complete or not there."""

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

from btk_generative.errors import OutputError
from btk_generative.runs.documents import MAX_BYTES, read_json
from btk_generative.runs.files import PARTIAL, new_file


class Store:
    """Files under one root, named by paths relative to it.

    Attributes:
        url: The root as given, with which a worker opens the store again.
        local: Whether it is a folder of this machine's file systems.
        filesystem: The fsspec file system that the root is on.
    """

    def __init__(self, url):
        """Opens the root, which need not exist.

        Args:
            url: A local path or an fsspec address, such as ``s3://bucket/name``.

        Raises:
            OutputError: If the protocol is unknown or its package is not installed.
        """
        self.url = str(url)
        try:
            self.filesystem, self._root = fsspec.core.url_to_fs(self.url)
        except (ValueError, ImportError) as error:
            raise OutputError(f"{url}: {error}") from error
        self.local = "file" in self.filesystem.protocol
        if self.local:
            self.url = self._root = os.path.abspath(self._root)

    def __hash__(self) -> int:
        return hash(self.url)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Store) and self.url == other.url

    def path(self, name: str) -> str:
        """Path of a file for this store's file system."""
        return f"{self._root}/{name}"

    def open(self, name: str) -> IO[bytes]:
        """Opens a file to read bytes from."""
        return (
            open(self.path(name), "rb")
            if self.local
            else self.filesystem.open(self.path(name), "rb")
        )

    def exists(self, name: str = "") -> bool:
        """Whether a file or folder is there."""
        return self.filesystem.exists(self.path(name))

    def list(self, folder: str) -> list[str]:
        """Names of the files in a folder, sorted; none where there is no such folder."""
        if not self.local:
            self.filesystem.invalidate_cache()
        if not self.exists(folder):
            return []
        return sorted(
            PurePosixPath(p).name for p in self.filesystem.ls(self.path(folder), detail=False)
        )

    def remove(self, name: str) -> None:
        """Removes a file if it is there."""
        if self.exists(name):
            self.filesystem.rm_file(self.path(name))

    def read_json(self, name: str) -> Any:
        """Reads a JSON file.

        Raises:
            ValueError: If it holds no JSON, or more than a data set's files do.
            OSError: If it cannot be read.
        """
        with self.open(name) as file:
            return read_json(file.read(MAX_BYTES + 1))

    def write_json(self, name: str, value: Any) -> None:
        """Writes a JSON file."""
        with self.new_file(name) as file:
            Path(file.path).write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")

    @contextmanager
    def new_file(self, name: str) -> Iterator["NewFile"]:
        """Gives a local path to write to; the file gets its name when the block has ended well.

        Args:
            name: The file.

        Yields:
            A `NewFile`, whose ``size`` and ``sha256`` are there after the block.

        Raises:
            OutputError: If it cannot be written, because the disk is full, say. Nothing is left.
        """
        target = self.path(name)
        if self.local:
            with new_file(target) as path:
                file = NewFile(str(path))
                yield file
                file.measure()
            return
        with tempfile.TemporaryDirectory() as scratch:
            file = NewFile(os.path.join(scratch, "file"))
            yield file
            file.measure()
            try:
                self.filesystem.makedirs(os.path.dirname(target), exist_ok=True)
                self.filesystem.put_file(file.path, target)
            except OSError as error:
                raise OutputError(f"cannot write {target}: {error.strerror or error}") from error

    def checksum(self, name: str) -> tuple[int, str]:
        """Size and SHA-256 of a file."""
        with self.open(name) as file:
            return _checksum(file)

    def remove_partial(self) -> None:
        """Removes what a killed run left half-written. Only while nobody else writes."""
        if self.local:
            for path in Path(self._root).rglob(f".*{PARTIAL}"):
                path.unlink(missing_ok=True)

    @contextmanager
    def lock(self, shared: bool = False) -> Iterator[None]:
        """Keeps other runs out of a local folder.

        The lock is the operating system's: it ends with the process, however that ends.

        Args:
            shared: Whether others that also say so may come in, as the tasks of a job array.

        Raises:
            OutputError: If another run is in the folder, or it cannot be made.
        """
        if not self.local:
            yield
            return
        try:
            os.makedirs(self._root, exist_ok=True)
            descriptor = os.open(self.path(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise OutputError(f"cannot write to {self._root}: {error.strerror}") from error
        try:
            kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise OutputError(
                f"another run is writing to {self._root}; wait for it or choose another folder"
            ) from error
        try:
            yield
        finally:
            os.close(descriptor)


@dataclass
class NewFile:
    """A file that is being written."""

    path: str
    """Where to write it."""
    size: int = 0
    """Bytes, once it is written."""
    sha256: str = ""
    """Checksum, once it is written."""

    def measure(self) -> None:
        """Takes size and checksum of what is written."""
        with open(self.path, "rb") as written:
            self.size, self.sha256 = _checksum(written)


def _checksum(file):
    digest = hashlib.file_digest(file, "sha256")
    return file.seek(0, os.SEEK_END), digest.hexdigest()

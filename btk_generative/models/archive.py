"""Archives of models, none of which is trusted.

An archive is read into memory and never unpacked by the names that it holds. Only regular files of
the names that a model needs are accepted, up to a limit on their number and size, so a link, a
device, a path that leads elsewhere, a pickle or a decompression bomb ends in a `ModelError`.
"""

import gzip
import hashlib
import io
import os
import posixpath
import re
import tarfile
import zlib

from btk_generative.errors import ModelError

MAX_BYTES = 512 * 2**20
"""Largest size of an archive when decompressed."""

MAX_MEMBERS = 64
"""Largest number of files and folders in an archive."""

_ALLOWED = re.compile(
    r"model\.json|saved_model/saved_model\.pb"  # artifacts of this package
    r"|tfhub_module\.pb|saved_model\.pb|variables/variables\.(index|data-\d{5}-of-\d{5})"
)
_POINTER = b"version https://git-lfs.github.com/spec/"


def read_file(path: str | os.PathLike) -> bytes:
    """Returns the bytes of a model's file.

    Raises:
        ModelError: If it cannot be read, is no regular file or is larger than `MAX_BYTES`.
    """
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ModelError(f"cannot read the model {path}: it is no regular file")
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(
            f"cannot read the model {path}: {getattr(error, 'strerror', None) or error}; give the"
            " path of a model's .tar.gz, 'default' for the model that comes with the package, or a"
            " name that `btk-generative models list` shows"
        ) from error
    if len(content) > MAX_BYTES:
        raise ModelError(f"{path} is larger than {MAX_BYTES // 2**20} MiB; not opened")
    return content


def sha256(content: bytes) -> str:
    """Returns the SHA-256 of some bytes as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def unpack(content: bytes, path: str | os.PathLike) -> dict[str, bytes]:
    """Returns the files in a model's archive.

    Args:
        content: The bytes of a ``.tar.gz``.
        path: Where they come from, for the messages.

    Returns:
        Contents by name.

    Raises:
        ModelError: If it is not a complete ``.tar.gz``, is larger than `MAX_BYTES`, or holds
            anything but regular files of the names that models consist of.
    """
    reject_pointer(content, path)
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            content = stream.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ModelError(
            f"{path} is not a model archive, or is truncated or damaged ({error});"
            " a model is a .tar.gz file: fetch or copy it again"
        ) from error
    if len(content) > MAX_BYTES:
        raise ModelError(f"{path} decompresses to more than {MAX_BYTES // 2**20} MiB; not opened")
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            return _read(archive, path)
    except ModelError:
        raise
    except Exception as error:  # tarfile raises whatever a damaged header makes of it
        raise ModelError(
            f"{path} is not a model archive, or is truncated or damaged ({error})"
        ) from error


def reject_pointer(content: bytes, path: str | os.PathLike) -> None:
    """Raises a `ModelError` if some bytes are a Git LFS pointer in place of a model."""
    if content.startswith(_POINTER):
        raise ModelError(
            f"{path} is not a model but a Git LFS pointer, a note of three lines left in its place:"
            " fetch the file itself with `git lfs pull`, or copy it from somebody who has it, and"
            " add that file with `btk-generative models add FILE`"
        )


def _read(archive: tarfile.TarFile, path: str | os.PathLike) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for count, member in enumerate(archive, start=1):
        name = posixpath.normpath(member.name)
        total += member.size
        if count > MAX_MEMBERS or total > MAX_BYTES:
            raise ModelError(
                f"{path} holds more than {MAX_MEMBERS} files or {MAX_BYTES // 2**20} MiB; "
                "not opened"
            )
        if member.isdir():
            continue
        if member.name.startswith("/") or name.startswith("../"):
            raise ModelError(
                f"{path} holds a path outside the archive, {member.name!r}; not opened"
            )
        if not member.isreg() or member.issparse():
            raise ModelError(f"{path} holds a link or device, {member.name!r}; not opened")
        if not _ALLOWED.fullmatch(name):
            raise ModelError(
                f"{path} holds {member.name!r}, which is no part of a model; not opened"
            )
        if name in files:
            raise ModelError(f"{path} holds {member.name!r} twice; not opened")
        content = archive.extractfile(member)
        assert content is not None  # of a regular file
        files[name] = content.read()
    return files


def pack(files: dict[str, bytes]) -> bytes:
    """Returns a ``.tar.gz`` of some files; the same files give the same bytes.

    Args:
        files: Contents by name, in the order in which they are to be stored.
    """
    plain, packed = io.BytesIO(), io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as stream:
        stream.write(plain.getvalue())
    return packed.getvalue()

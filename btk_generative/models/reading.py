"""Reading the archive of a model, of either format."""

import os

from btk_generative.models import archive
from btk_generative.models.artifact import read_artifact
from btk_generative.models.model import GenerativeModel
from btk_generative.models.registry import registry
from btk_generative.models.tf1 import is_module, read_module


def read_model(content: bytes, path: str | os.PathLike) -> GenerativeModel:
    """Returns the model in the bytes of an archive.

    Args:
        content: The archive, ``.tar.gz``.
        path: Where it comes from, for messages.

    Raises:
        ModelError: If it is truncated, altered, unsafe or of another format.
    """
    files, digest = archive.unpack(content, path), archive.sha256(content)
    if is_module(files):
        entries = {entry.sha256: entry for entry in registry().values()}
        return read_module(files, digest, path, entries.get(digest))
    return read_artifact(files, digest, path)

"""Finding a model by its name or path."""

import os
from pathlib import Path
from weakref import WeakValueDictionary

from btk_generative.models import archive, hub
from btk_generative.models.model import GenerativeModel
from btk_generative.models.reading import read_model

_DEFAULT = Path(__file__).with_name("default.tar.gz")
_loaded: WeakValueDictionary[str, GenerativeModel] = WeakValueDictionary()


def load_model(name: str | os.PathLike = "default") -> GenerativeModel:
    """Loads a generative model.

    Args:
        name: "default", the model that comes with the package; the path of an artifact or of a
            TensorFlow-1 hub module; "hub:NAME", a published or added model (`btk-generative
            models list`); or an address "https://...", to which "#sha256=..." may be appended.
            What is downloaded is kept in a cache.

    Returns:
        The model; the same object as long as the same file is in use somewhere.

    Raises:
        ModelError: If the file is missing, truncated, altered, unsafe or of another format, or
            cannot be downloaded.
    """
    path = locate(name)
    content = archive.read_file(path)
    digest = archive.sha256(content)
    if digest not in _loaded:
        return _loaded.setdefault(digest, read_model(content, path))
    return _loaded[digest]


def locate(name: str | os.PathLike) -> Path:
    """Returns the file of a model, downloaded if need be.

    Args:
        name: See `load_model`.
    """
    if name == "default":
        return _DEFAULT
    if isinstance(name, str) and (name.startswith("hub:") or "://" in name):
        return hub.find(name)
    return Path(name)

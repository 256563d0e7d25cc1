"""Finding a model by its name or path."""

import os
from pathlib import Path
from weakref import WeakValueDictionary

from btk_generative.errors import ModelError
from btk_generative.models import archive
from btk_generative.models.artifact import read_artifact
from btk_generative.models.model import GenerativeModel

_DEFAULT = Path(__file__).with_name("default.tar.gz")
_loaded: WeakValueDictionary[str, GenerativeModel] = WeakValueDictionary()


def load_model(name: str | os.PathLike = "default") -> GenerativeModel:
    """Loads a generative model.

    Args:
        name: "default", the model that comes with the package, or the path of an artifact.

    Returns:
        The model; the same object as long as the same file is in use somewhere.

    Raises:
        ModelError: If the file is missing, truncated, altered, unsafe or of another format.
    """
    path = _DEFAULT if name == "default" else Path(name)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"cannot read the model {path}: {error.strerror}; give the path of a model's .tar.gz,"
            " or 'default' for the model that comes with the package"
        ) from error
    digest = archive.sha256(content)
    if digest not in _loaded:
        model = read_artifact(archive.unpack(content, path), digest, path)
        return _loaded.setdefault(digest, model)
    return _loaded[digest]

"""Which versions, which model: what a result was made with."""

import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from btk_generative.models import GenerativeModel

CORE = ("btk-generative", "blending-toolkit", "galsim", "numpy", "astropy", "keras", "tensorflow")
"""Packages that every drawing depends on."""


def versions(packages: Iterable[str] = CORE) -> dict[str, str]:
    """Returns the versions of Python and of those of the packages that are installed."""
    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def model_facts(model: "GenerativeModel") -> dict[str, str]:
    """Returns what tells a model from any other."""
    return {"name": model.name, "sha256": model.sha256}

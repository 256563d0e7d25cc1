"""The exceptions that a user's mistake raises.

Every message says what was wrong, where (file, column, row, value) and what to do about it. The
command line turns each of them into one line and exit code 2.
"""

import difflib
import warnings
from collections.abc import Iterable
from importlib.util import find_spec


class GenerativeError(Exception):
    """Base class of everything that this package raises for a user's mistake."""


class CatalogError(GenerativeError, ValueError):
    """A catalogue lacks a column or holds a value from which no galaxy can be drawn."""


class ModelError(GenerativeError, ValueError):
    """A model is missing, damaged, unsafe, of another format, or asked outside its domain."""


class ConfigError(GenerativeError, ValueError):
    """A configuration or an argument is misspelt, missing or out of range."""


class OutputError(GenerativeError, OSError):
    """An output folder or file cannot be written, or already holds something else."""


class PackageMissing(GenerativeError, ImportError):
    """An optional package is not installed, is another one of its name, or cannot work."""


def __getattr__(name: str) -> type[Exception]:
    if name == "DeblenderMissing":  # for one release
        warnings.warn(
            "btk_generative.errors.DeblenderMissing is now PackageMissing",
            DeprecationWarning,
            stacklevel=2,
        )
        return PackageMissing
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def need(*packages: str, extra: str, what: str, otherwise: str = "") -> None:
    """Checks that optional packages are installed, without importing them.

    Whoever needs one asks before anything is drawn or written.

    Args:
        packages: Their names, as they are imported.
        extra: Extra of this package that installs them.
        what: What needs them, as the start of a sentence.
        otherwise: How to do without them, as the end of one.

    Raises:
        PackageMissing: If one of them is not installed.
    """
    missing = [package for package in packages if find_spec(package) is None]
    if missing:
        install = f"pip install 'btk-generative[{extra}]'"
        raise PackageMissing(f"{what} needs {' and '.join(missing)}: {install}{otherwise}")


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns what a misspelt name may have meant, as the end of a sentence."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; it may be one of {', '.join(known)}"

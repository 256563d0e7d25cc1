"""The exceptions that a user's mistake raises.

Every message says what was wrong, where (file, column, row, value) and what to do about it. The
command line turns each of them into one line and exit code 2.
"""

import difflib
from collections.abc import Iterable


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


class DeblenderMissing(GenerativeError, ImportError):
    """A package to deblend or fit with is not installed, is another of its name, or cannot work."""


def suggest(name: str, known: Iterable[str]) -> str:
    """Returns what a misspelt name may have meant, as the end of a sentence."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else f"; it may be one of {', '.join(known)}"

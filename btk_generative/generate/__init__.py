"""Data sets of blends: drawn in shards, on one machine or many, and read again."""

from importlib import import_module

_HOMES = {
    "BlendDataset": "reader",
    "GenerateConfig": "config",
    "generate": "run",
    "open_dataset": "reader",
    "verify": "integrity",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Imports a part when it is first asked for: the command line starts without them."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

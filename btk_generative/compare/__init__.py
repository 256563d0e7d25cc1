"""How deblenders fare on generative against parametric blends."""

from importlib import import_module

_HOMES = {
    "CompareConfig": "config",
    "Comparison": "run",
    "ScarletDeblender": "scarlet",
    "Scarlet2Deblender": "scarlet2",
    "fitted_twin": "twin",
    "measure": "metrics",
    "paired_difference": "statistics",
    "run": "run",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    """Imports a part when it is first asked for."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

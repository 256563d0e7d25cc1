"""How deblenders fare on generative against parametric blends."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "config": ["CompareConfig"],
        "metrics": ["measure"],
        "comparison": ["Comparison"],
        "job": ["run"],
        "scarlet": ["ScarletDeblender"],
        "scarlet2": ["Scarlet2Deblender"],
        "statistics": ["paired_difference"],
        "twin": ["fitted_twin"],
    },
)

"""How deblenders fare on generative against parametric blends."""

import lazy_loader

from btk_generative.errors import need

need("jinja2", "pandas", extra="compare", what="btk_generative.compare")

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

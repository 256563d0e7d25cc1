"""The original scarlet through BTK's class, with its PSFs and its failures put right."""

import importlib.util
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from astropy.table import Table
from btk.blend_batch import BlendBatch, DeblendExample
from btk.deblend import Scarlet

from btk_generative.draw import SurveyBatch
from btk_generative.errors import PackageMissing

_AUTOGRAD_TOO_NEW = (1, 9)
_INSTALL = "pip install 'scarlet @ git+https://github.com/pmelchior/scarlet' 'autograd<1.9'"


class ScarletDeblender(Scarlet):
    """`btk.deblend.Scarlet` with PSFs on the survey's pixels, which raises where scarlet fails.

    scarlet is not on PyPI: the package of that name there is a Django application.

    Args:
        See `btk.deblend.Scarlet`.

    Raises:
        PackageMissing: If scarlet is not installed, is another package, or cannot work with the
            installed autograd.
    """

    def __init__(self, max_n_sources: int, **options: Any) -> None:
        check_scarlet()
        super().__init__(max_n_sources, **options)

    def deblend(
        self, ii: int, blend_batch: BlendBatch, reference_catalogs: list[Table] | None = None
    ) -> DeblendExample:
        """Deblends one blend of a batch; see `btk.deblend.Scarlet.deblend`.

        Raises:
            RuntimeError: If scarlet fails, for which BTK's class returns images of zeros.
        """
        if not isinstance(blend_batch, SurveyBatch):
            parts = {f.name: getattr(blend_batch, f.name) for f in fields(BlendBatch)}
            blend_batch = SurveyBatch(**parts)
        given = (reference_catalogs or blend_batch.catalog_list)[ii]
        example = super().deblend(ii, blend_batch, reference_catalogs)
        if len(example.catalog) < len(given):
            raise RuntimeError("scarlet could not solve for the spectra (a singular matrix)")
        return example


def check_scarlet() -> None:
    """Checks that the scarlet that BTK would import is the deblender and can work.

    Raises:
        PackageMissing: If not; the message says why and what to install.
    """
    if importlib.util.find_spec("scarlet") is None:
        raise PackageMissing(f"scarlet is not installed; it is on GitHub only: {_INSTALL}")
    try:
        autograd = version("autograd")
    except PackageNotFoundError:
        autograd = ""
    try:
        import scarlet
    except Exception as error:
        raise PackageMissing(
            f"the installed package 'scarlet' cannot be imported ({error}); "
            f"the deblender is on GitHub only: {_INSTALL}"
        ) from error
    if not hasattr(scarlet, "Blend"):
        raise PackageMissing(
            "the installed package 'scarlet' is not the deblender (PyPI's is a Django "
            f"application): pip uninstall scarlet, then {_INSTALL}"
        )
    if tuple(int(part) for part in autograd.split(".")[:2] if part.isdigit()) >= _AUTOGRAD_TOO_NEW:
        raise PackageMissing(
            f"scarlet fails at its first fit with autograd {autograd}: pip install 'autograd<1.9'"
        )

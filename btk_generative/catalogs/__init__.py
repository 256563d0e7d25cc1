"""Catalogues of galaxies: files of several surveys, and a mock."""

from btk_generative.catalogs.mock import mock_catsim
from btk_generative.catalogs.reader import read_catalog

__all__ = ["mock_catsim", "read_catalog"]

"""Sphinx configuration: `make docs` builds docs/_build/html."""

from btk_generative import __version__

project = "btk_generative"
release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
html_theme = "sphinx_rtd_theme"
exclude_patterns = ["_build"]
default_role = "any"
autodoc_typehints = "description"
suppress_warnings = ["ref.any", "myst.xref_missing"]

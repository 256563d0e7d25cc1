"""Runs the command line with ``python -m btk_generative``."""

from btk_generative.cli import main

main()

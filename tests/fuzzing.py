"""Runs the command line in this process on what nobody should give it."""

import contextlib
import functools
import io
import shutil
import sys
import warnings

import h5py
import numpy as np

from btk_generative import cli, galaxies
from btk_generative.draw import job
from btk_generative.models import load_model

_load_model = functools.cache(load_model)


def run(monkeypatch, *arguments) -> tuple[int, str]:
    """Returns exit code and the line that begins with ``error:``, of which there must be one.

    Anything that the command raises but its exit goes through to the test.
    """
    monkeypatch.setattr(sys, "argv", ["btk-generative", *map(str, arguments)])
    said = io.StringIO()
    with (
        contextlib.redirect_stderr(said),
        contextlib.redirect_stdout(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # of astropy, on broken files
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = end.code or 0
    errors = [line for line in said.getvalue().splitlines() if line.startswith("error:")]
    assert code in (0, 2), (arguments, said.getvalue())
    assert "Traceback" not in said.getvalue(), said.getvalue()
    assert len(errors) == (code == 2), (arguments, said.getvalue())
    return code, errors[0] if errors else ""


def draw(monkeypatch, tmp_path, config, *changes):
    """Draws; returns the images, float64, one after another, or the error's line."""
    monkeypatch.setattr(job, "save_figure", lambda *_: None)  # which takes long
    monkeypatch.setattr(galaxies, "load_model", _load_model)
    output = tmp_path / "out"
    sets = [part for change in changes for part in ("--set", change)]
    code, error = run(monkeypatch, "draw", config, "--output", output, *sets)
    if code:
        assert not output.exists(), error
        return error
    images = []
    for path in sorted(output.rglob("blend_*.hdf5")):
        with h5py.File(path) as file:
            images.append(file["blend_images"][()].ravel())
    shutil.rmtree(output)
    return np.concatenate(images)

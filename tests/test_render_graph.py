"""The TensorFlow renderer against the compiled one."""

import logging

import galsim
import numpy as np
import pytest
from test_render import LOPSIDED, galaxies

from btk_generative.render import SurveyRenderer
from btk_generative.render.graph import GraphRenderer, make_renderer


@pytest.mark.parametrize(("stamp", "narrow"), [(33, 0.6), (40, 0.25)])
def test_draws_what_the_compiled_loops_draw(stamp, narrow):
    psfs = [LOPSIDED, galsim.Gaussian(fwhm=narrow)]
    arguments = galaxies(11)
    point = np.linspace(0, 3, 22).reshape(11, 2)
    expected = SurveyRenderer(psfs, 0.2, stamp).draw(*arguments, point_flux=point)
    drawn = GraphRenderer(psfs, 0.2, stamp).draw(*arguments, point_flux=point)
    error = np.abs(drawn - expected).max((2, 3)) / expected.max((2, 3))
    assert error.max() < 1e-5


def test_without_a_gpu_the_cpu_draws(caplog):
    with caplog.at_level(logging.WARNING):
        assert type(make_renderer([LOPSIDED], 0.2, 20, "cpu")) is SurveyRenderer
        assert not caplog.messages
        import tensorflow as tf

        if not tf.config.list_physical_devices("GPU"):
            assert type(make_renderer([LOPSIDED], 0.2, 20, "gpu")) is SurveyRenderer
            assert "no GPU" in caplog.text


def test_refuses_other_devices():
    with pytest.raises(ValueError, match="device must be 'auto', 'cpu' or 'gpu', not 'tpu'"):
        make_renderer([LOPSIDED], 0.2, 20, "tpu")

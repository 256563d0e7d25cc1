"""The spline of the coupling flow; test_training_maf.py has the properties of every flow."""

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from keras import ops  # noqa: E402

from btk_generative.training.flow import CouplingFlow, rational_quadratic_spline  # noqa: E402


def spread(size, context_size, scale=0.15, **options):
    """Returns a flow whose splines are far from the identity."""
    flow = CouplingFlow(size, context_size, seed=3, width=16, **options)
    flow.build([(None, size), (None, context_size)])
    rng = np.random.default_rng(0)
    for weight in flow.trainable_variables:
        weight.assign(weight + scale * rng.standard_normal(weight.shape).astype(np.float32))
    return flow


def numbers(n, size, seed=1):
    return np.random.default_rng(seed).standard_normal((n, size)).astype(np.float32)


def test_one_variable_alone_goes_there_and_back():
    flow, x, c = spread(1, 2), 2 * numbers(200, 1), numbers(200, 2, 2)
    normal, _ = flow.forward(x, c)
    assert np.abs(ops.convert_to_numpy(normal) - x).max() > 0.1
    np.testing.assert_allclose(flow.inverse(normal, c), x, atol=2e-3)


def test_density_of_one_variable_integrates_to_one():
    flow = spread(1, 1)
    x = np.linspace(-7, 7, 100_001, dtype=np.float32)[:, None]
    log_prob = flow.log_prob(x, np.full_like(x, 0.7))
    density = np.exp(ops.convert_to_numpy(log_prob).astype(float))
    assert np.trapezoid(density, x[:, 0]) == pytest.approx(1, abs=2e-3)


def test_spline_of_zeros_is_the_identity_and_does_not_move_what_is_outside():
    values = np.array([-6.0, -3.9, 0.0, 1.2, 3.99, 5.0], np.float32)
    moved, log_slope = rational_quadratic_spline(values, np.zeros((6, 23), np.float32), 4.0)
    np.testing.assert_allclose(moved, values, atol=1e-5)
    np.testing.assert_allclose(log_slope, 0, atol=1e-5)
    parameters = 2 * numbers(6, 23)
    moved, log_slope = rational_quadratic_spline(values, parameters, 4.0)
    np.testing.assert_array_equal(ops.convert_to_numpy(moved)[[0, 5]], values[[0, 5]])
    np.testing.assert_array_equal(ops.convert_to_numpy(log_slope)[[0, 5]], 0)

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp
from scipy.stats import norm

from btk_generative.training.batches import Stream
from btk_generative.training.flow import CouplingFlow
from btk_generative.training.latent import LatentFlow
from btk_generative.training.maf import MaskedAutoregressiveFlow
from btk_generative.training.run import load_weights, save_weights
from btk_generative.training.settings import FitSettings, FlowSettings
from btk_generative.training.trainer import fit

FLOWS = [MaskedAutoregressiveFlow, CouplingFlow]


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def shaken(flow, x, context, seed=1):
    """Returns the flow with weights that are not the identity's."""
    flow((x, context))
    rng = np.random.default_rng(seed)
    for variable in flow.trainable_variables:
        variable.assign(np.asarray(variable) + 0.1 * rng.standard_normal(variable.shape))
    return flow


@pytest.fixture(params=FLOWS, ids=lambda flow: flow.__name__)
def case(request):
    x, context = numbers(6, 5), numbers(6, 2, seed=2)
    return shaken(request.param(5, 2, layers=3, width=16, seed=3), x, context), x, context


def test_log_prob_is_one_finite_number_per_row(case):
    flow, x, context = case
    log_prob = np.asarray(flow.log_prob(x, context))
    assert log_prob.shape == (6,)
    assert np.isfinite(log_prob).all()


def test_gradients_reach_every_parameter(case):
    flow, x, context = case
    with tf.GradientTape() as tape:
        loss = -tf.reduce_mean(flow.log_prob(x, context))
    for variable, gradient in zip(
        flow.trainable_variables,
        tape.gradient(loss, flow.trainable_variables),
        strict=True,
    ):
        assert gradient is not None, variable.path
        assert np.any(np.asarray(gradient) != 0), variable.path


def test_inverse_undoes_forward(case):
    flow, x, context = case
    normal, _ = flow.forward(x, context)
    np.testing.assert_allclose(flow.inverse(normal, context), x, atol=2e-4)


def test_log_slope_is_that_of_the_jacobian(case):
    flow, x, context = case
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        normal, log_slope = flow.forward(x, context)
    jacobian = tape.batch_jacobian(normal, x)
    np.testing.assert_allclose(
        log_slope, np.linalg.slogdet(np.asarray(jacobian, np.float64))[1], atol=1e-3
    )


def test_a_variable_depends_on_those_before_it_and_on_the_context():
    flow = shaken(MaskedAutoregressiveFlow(4, 2, layers=1, width=16), numbers(3, 4), numbers(3, 2))
    x, context = tf.constant(numbers(3, 4)), tf.constant(numbers(3, 2, seed=1))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, context])
        normal = tf.reverse(flow.forward(x, context)[0], axis=[1])
    jacobian = np.asarray(tape.batch_jacobian(normal, x))
    rows, columns = np.indices((4, 4))
    np.testing.assert_array_equal(jacobian[:, rows < columns], 0)
    assert (jacobian[:, rows >= columns] != 0).all()
    assert (np.asarray(tape.batch_jacobian(normal, context)) != 0).all()


def test_weights_survive_a_file(tmp_path):
    x, context = numbers(6, 5), numbers(6, 2)
    settings = FlowSettings(kind="maf", layers=2, width=16)
    flow, other = (LatentFlow(5, 2, settings, seed) for seed in (1, 2))
    for each in (flow, other):
        each({"vector": x, "context": context})
    shaken(flow.flow, x, context)
    flow.standardise(3 * x + 1)
    save_weights(flow, tmp_path / "flow.npz")
    load_weights(other, tmp_path / "flow.npz")
    np.testing.assert_array_equal(other.sample(x, context), flow.sample(x, context))


def test_log_prob_equals_tensorflow_probability():
    # The expected numbers are those of TensorFlow Probability 0.25: TransformedDistribution of
    # MaskedAutoregressiveFlow and Permute bijectors, with AutoregressiveNetworks of these weights.
    size, context_size, width, layers = 3, 2, 8, 2
    rng = np.random.default_rng(7)
    x = rng.standard_normal((4, size)).astype(np.float32)
    context = rng.standard_normal((4, context_size)).astype(np.float32)
    flow = MaskedAutoregressiveFlow(size, context_size, layers=layers, width=width)
    flow((x, context))
    for variable in flow.trainable_variables:
        variable.assign(0.5 * rng.standard_normal(variable.shape))
    expected = [-3.2546117305755615, -5.607892990112305, -112.82403564453125, -8.559122085571289]
    np.testing.assert_allclose(flow.log_prob(x, context), expected, rtol=1e-6)


def two_moons(n, rng):
    """Returns points of two half circles with Gaussian scatter, and which half each is of."""
    which = rng.integers(2, size=n)
    return arc(which, np.pi * rng.random(n)) + 0.15 * rng.standard_normal((n, 2)), which


def arc(which, angle):
    x = np.where(which, 1 - np.cos(angle), np.cos(angle)) - 0.5
    y = np.where(which, 0.5 - np.sin(angle), np.sin(angle)) - 0.25
    return np.stack([x, y], axis=-1)


def moon_log_density(points, which):
    angle = np.pi * (np.arange(400) + 0.5) / 400
    offset = points[:, None] - arc(which[:, None], angle[None])
    return logsumexp(norm.logpdf(offset, scale=0.15).sum(-1), axis=1) - np.log(400)


def conditional_gaussian(n, rng):
    """Returns points whose mean, widths and correlation follow a context, and the context."""
    context = rng.uniform(-1, 1, (n, 1))
    mean, lower = gaussian(context)
    return mean + np.einsum("nij,nj->ni", lower, rng.standard_normal((n, 2))), context


def gaussian(context):
    c = context[:, 0]
    mean = np.stack([np.sin(2 * c), c**2], axis=-1)
    zero = np.zeros_like(c)
    lower = np.stack([np.stack([np.exp(0.5 * c), zero], -1), np.stack([c, 0.5 + 0 * c], -1)], 1)
    return mean, lower


def gaussian_log_density(points, context):
    mean, lower = gaussian(context)
    normal = np.linalg.solve(lower, (points - mean)[..., None])[..., 0]
    return norm.logpdf(normal).sum(-1) - np.log(np.linalg.det(lower))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "log_density"),
    [
        (two_moons, moon_log_density),
        (conditional_gaussian, gaussian_log_density),
    ],
    ids=["two moons", "conditional Gaussian"],
)
def test_fit_recovers_a_known_density(draw, log_density, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"train": draw(10000, rng), "validation": draw(4000, rng)}

    def read(split, rows, rng):
        points, context = (np.asarray(array[rows], np.float32) for array in arrays[split])
        return {"vector": points, "context": context.reshape(len(rows), -1)}

    flow = LatentFlow(2, 1, FlowSettings(kind="maf", layers=5, width=32), seed=0)
    flow(read("train", np.arange(2), None))
    flow.standardise(arrays["train"][0].astype(np.float32))
    settings = FitSettings(epochs=9, batch_size=256, learning_rate=1e-2)
    fit(flow, Stream(read, 10000, 4000, 256, seed=0), settings, tmp_path)
    points, context = draw(4000, np.random.default_rng(1))
    inputs = {
        "vector": points.astype(np.float32),
        "context": context.astype(np.float32).reshape(-1, 1),
    }
    fitted = -keras.ops.convert_to_numpy(flow(inputs)["loss"])
    divergence = np.mean(log_density(points, context) - fitted)
    assert -0.01 < divergence < 0.05
    drawn = np.asarray(flow.sample(numbers(4000, 2, seed=5), inputs["context"]))
    np.testing.assert_allclose(drawn.mean(0), points.mean(0), atol=0.06)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(points.T), atol=0.08)

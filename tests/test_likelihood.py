"""The model is a probability distribution, and its likelihood is counted right."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.likelihood import evaluate, evaluate_marginal, evaluate_pixels
from pixelcnn_jax.posterior import evaluate_classes
from tests.conftest import random_images, some_conditions, tiny_model
from tests.family import each_model, member, small_member


def all_images(model) -> np.ndarray:
    """Every image there is, for models of very few pixels and levels."""
    c = model.config
    shape = (c.height, c.width, c.channels)
    levels = itertools.product(range(c.levels), repeat=math.prod(shape))
    return np.array(list(levels), np.int32).reshape(-1, *shape)


@each_model
def test_probabilities_of_all_images_sum_to_one(name: str):
    model = small_member(name)
    every = all_images(model)
    conditions = some_conditions(model, 2)
    for one in (0, 1) if conditions else (0,):
        given = {
            name: np.repeat(values[one : one + 1], len(every), 0)
            for name, values in conditions.items()
        }
        nats = np.asarray(pj.log_prob(model, every, **given), np.float64)
        assert abs(np.exp(nats).sum() - 1) < 1e-5
        assert nats.std() > 0.05  # not the uniform distribution


def test_the_marginal_sums_over_the_classes():
    model = tiny_model(num_classes=3)
    images, weights = random_images(model, 5), np.array([0.2, 0.0, 0.8])
    given = [pj.log_prob(model, images, np.full(5, k)) for k in (0, 2)]
    expected = np.log(0.2 * np.exp(given[0]) + 0.8 * np.exp(given[1]))
    found = evaluate_marginal(model, images, weights, batch_size=2)
    np.testing.assert_allclose(-found.nats, expected, rtol=1e-5)
    both = tiny_model(num_classes=3, condition_features=2)
    vectors = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    every = evaluate_classes(both, images, condition=vectors)[:, ::2]
    expected = -np.logaddexp.reduce(every + np.log([0.2, 0.8]), axis=1)
    found = evaluate_marginal(both, images, weights, condition=vectors)
    np.testing.assert_allclose(found.nats, expected, rtol=1e-6)
    # Images weighed by their marginal probability are a distribution too.
    small = tiny_model(height=2, width=2, levels=2, num_classes=2)
    total = np.exp(-evaluate_marginal(small, all_images(small), weights[::2]).nats)
    assert abs(total.sum() - 1) < 1e-5


def test_log_prob_is_the_sum_of_the_conditionals():
    model = tiny_model()
    images = random_images(model, 4)
    probs = jax.nn.softmax(model(images))
    picked = np.take_along_axis(np.asarray(probs), images[..., None], -1)
    expected = np.log(picked).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(pj.log_prob(model, images), expected, rtol=1e-5)


@each_model
def test_pixels_sum_to_their_image(name: str):
    model = member(name)
    images, given = random_images(model, 4), some_conditions(model, 4)
    nats = np.asarray(pj.pixel_log_prob(model, images, **given))
    assert nats.shape == images.shape[:3] and nats.dtype == np.float32
    expected = pj.log_prob(model, images, **given)
    np.testing.assert_allclose(nats.sum((1, 2)), expected, rtol=1e-5)
    first = {name: values[:3] for name, values in given.items()}
    found = evaluate_pixels(model, images[:3], batch_size=2, **first)
    np.testing.assert_allclose(-found, nats[:3], rtol=1e-4, atol=1e-5)


def test_a_pixels_score_depends_on_earlier_pixels_only():
    model = tiny_model()
    images = random_images(model, 1)
    changed = images.copy()
    changed[0, 3, 2] = (images[0, 3, 2] + 1) % 4
    a, b = (np.ravel(pj.pixel_log_prob(model, x)) for x in (images, changed))
    assert (a[: 3 * 5 + 2] == b[: 3 * 5 + 2]).all() and (a[17:] != b[17:]).any()


def test_the_posterior_is_bayes_rule():
    model = tiny_model(num_classes=3)
    images, prior = random_images(model, 5), np.array([0.2, 0.0, 0.8])
    nats = [np.float64(pj.log_prob(model, images, np.full(5, k))) for k in range(3)]
    joint = np.exp(np.transpose(nats)) * prior
    expected = joint / joint.sum(1, keepdims=True)
    found = pj.class_log_posterior(model, images, prior)
    np.testing.assert_allclose(np.exp(found), expected, atol=1e-5)
    uniform = pj.class_log_posterior(model, images)
    thirds = jnp.full(3, 1 / 3)
    inside = jax.jit(lambda x, p: pj.class_log_posterior(model, x, p))(images, thirds)
    np.testing.assert_allclose(uniform, inside, rtol=1e-4)


@pytest.mark.parametrize(
    ("prior", "message"),
    [
        (np.ones(2) / 2, r"3 classes, which sum to 1, got \(2,\)"),
        ([0.5, 0.5], r"got \[0.5, 0.5\]"),
        (np.array([1, 2, 3]), r"got \[1.0, 2.0, 3.0\]; divide counts"),
        (np.array([1.5, -0.5, 0]), r"got \[1.5, -0.5, 0.0\]"),
        (np.array([1, np.nan, 0]), "got .*nan"),
    ],
)
def test_wrong_priors_are_refused(prior, message: str):
    model = tiny_model(num_classes=3)
    with pytest.raises(pj.UserError, match=message):
        pj.class_log_posterior(model, random_images(model, 2), prior)


def test_a_posterior_of_a_model_without_classes_is_refused():
    model = tiny_model()
    with pytest.raises(pj.UserError, match="needs a model with classes, got one"):
        pj.class_log_posterior(model, random_images(model, 2))


def uniform(levels: int):
    graph, state = nnx.split(tiny_model(levels=levels))
    return nnx.merge(graph, jax.tree.map(jnp.zeros_like, state))


@pytest.mark.parametrize("levels", [2, 4, 5])
def test_a_uniform_model_has_log2_levels_bits(levels: int):
    model = uniform(levels)
    images = random_images(model, 7)
    bits = pj.bits_per_dim(model, images)
    np.testing.assert_allclose(bits, np.log2(levels), rtol=1e-6)
    found = evaluate(model, images, batch_size=3)  # the last batch is ragged
    assert abs(found.bits_per_dim - np.log2(levels)) < 1e-6
    assert len(found.nats) == 7


@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_every_image_counts_once_whatever_the_batch_size(batch_size: int):
    model = tiny_model()
    images = random_images(model, 7)
    expected = -np.asarray(pj.log_prob(model, images), np.float64)
    found = evaluate(model, images, None, batch_size)
    np.testing.assert_allclose(found.nats, expected, rtol=1e-5)
    assert found.nats_per_image == pytest.approx(expected.mean(), rel=1e-5)
    error = expected.std(ddof=1) / math.sqrt(7)
    assert found.nats_standard_error == pytest.approx(error, rel=1e-4)
    dims = 6 * 5 * math.log(2)
    assert found.bits_per_dim == pytest.approx(expected.mean() / dims, rel=1e-5)
    assert found.bits_per_dim_standard_error == pytest.approx(error / dims, rel=1e-4)


def test_log_prob_has_gradients_and_works_inside_jit():
    model = tiny_model()
    images = random_images(model, 2)
    graph, params = nnx.split(model)

    def mean(params):
        return pj.log_prob(nnx.merge(graph, params), images).mean()

    gradients = jax.jit(jax.grad(mean))(params)
    leaves = jax.tree.leaves(gradients)
    assert all(np.isfinite(leaf).all() for leaf in leaves)
    assert all(np.abs(leaf).max() > 0 for leaf in leaves)
    # Against a difference quotient, in the direction of the gradient itself.
    norm = sum(float((leaf**2).sum()) for leaf in leaves) ** 0.5
    ahead, behind = (
        jax.tree.map(lambda p, g, h=h: p + h / norm * g, params, gradients)
        for h in (1e-3, -1e-3)
    )
    slope = (mean(ahead) - mean(behind)) / 2e-3
    assert float(slope) == pytest.approx(norm, rel=0.02)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 6, 5), int), r"images must be \[B, H, W, 1\]"),
        (np.zeros((2, 6, 5, 3), int), r"got shape \[2, 6, 5, 3\]"),
        (np.zeros((2, 6, 5, 1)), "integer levels, got float64"),
        (np.full((2, 6, 5, 1), 4), "0 to 3, got 4 to 4"),
        (np.full((2, 6, 5, 1), -1), "0 to 3, got -1 to -1"),
        (jnp.full((2, 6, 5, 1), 7), "0 to 3, got 7 to 7"),
        ([[1]], "must be an array, got list"),
    ],
)
def test_wrong_images_are_refused(images: np.ndarray, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.log_prob(tiny_model(), images)


def test_an_empty_set_is_refused():
    with pytest.raises(pj.UserError, match="at least 1 image, got 0"):
        evaluate(tiny_model(), np.zeros((0, 6, 5, 1), int))

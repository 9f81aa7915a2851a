"""Every output distribution: one law told in three ways, and draws of that law."""

import functools
import itertools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from scipy import stats

import pixelcnn_jax as pj
from pixelcnn_jax.distributions import (
    Categorical,
    DiscretizedLogisticMixture,
    Distribution,
    build_distribution,
)
from tests.distributions import (
    KEY,
    REGISTRY,
    all_colours,
    draw,
    log_prob,
    random_levels,
    random_outputs,
)
from tests.hlo import computations

over_registry = pytest.mark.parametrize("distribution", REGISTRY, ids=str)
regular_and_extreme = pytest.mark.parametrize("extreme", [False, True])


@pytest.mark.parametrize(
    "distribution", [Categorical(1, 4), DiscretizedLogisticMixture(1, 6, 3)], ids=str
)
@pytest.mark.parametrize("offset", [2.0**23, -(2.0**23)])
def test_a_constant_added_to_all_logits_changes_no_draw(distribution, offset: float):
    # At 2**23, float32 has whole numbers only.
    outputs = np.round(random_outputs(distribution, 200) * 3)
    shifted = outputs.copy()
    # Logits are all that a categorical has, and the first of what a mixture has.
    number = getattr(distribution, "num_mixtures", distribution.levels)
    shifted.reshape(200, -1)[:, :number] += offset
    keys = jax.random.split(KEY, 200)
    expected, found = (draw(distribution, keys, x) for x in (outputs, shifted))
    assert (found == expected).all() and len(np.unique(found)) > 1


@pytest.mark.slow
def test_many_unlikely_levels_are_drawn_as_often_as_they_should():
    """Noise of 23 bits would draw none of them."""
    levels, share, count = 2**16, 0.002, 250
    law = np.full(levels, np.log(share / (levels - 1)), np.float32)
    law[7] = np.log1p(-share)
    outputs = jnp.broadcast_to(law, (count, 1, levels))

    @jax.jit
    def strange(key: jax.Array) -> jax.Array:
        keys = jax.random.split(key, count)
        before = jnp.zeros((count, 1), jnp.int32)
        drawn = Categorical(1, levels).draw(keys, outputs, before, 0, 1.0)
        return (drawn != 7).sum()

    found = sum(int(strange(jax.random.fold_in(KEY, i))) for i in range(16))
    low, high = stats.binom.interval(0.999, 16 * count, share)
    assert low <= found <= high and low > 0


@functools.partial(jax.jit, static_argnums=(0, 3))
def conditional(distribution: Distribution, outputs, before, channel: int) -> jax.Array:
    return distribution.conditional(outputs, before, channel)


@functools.partial(jax.jit, static_argnums=(0, 3))
def step_log_prob(distribution: Distribution, outputs, pixels, step: int) -> jax.Array:
    return distribution.step_log_prob(outputs, pixels, step)


@over_registry
@regular_and_extreme
def test_masses_of_all_colours_sum_to_one(distribution: Distribution, extreme: bool):
    outputs = random_outputs(distribution, 200, extreme)
    colours = all_colours(distribution)
    nats = log_prob(distribution, outputs[:, None], colours[None])
    assert nats.shape == (200, len(colours)) and nats.dtype == jnp.float32
    masses = np.exp(np.float64(nats))
    np.testing.assert_allclose(masses.sum(axis=1), 1, atol=3e-6)
    assert masses.std() > 0.2 / len(colours)  # not the uniform distribution


@over_registry
@regular_and_extreme
def test_conditionals_sum_to_one(distribution: Distribution, extreme: bool):
    outputs = random_outputs(distribution, 300, extreme)
    before = random_levels(distribution, 300)
    for channel in range(distribution.channels):
        nats = conditional(distribution, outputs, before, channel)
        assert nats.shape == (300, distribution.levels) and nats.dtype == jnp.float32
        masses = np.exp(np.float64(nats))
        np.testing.assert_allclose(masses.sum(axis=-1), 1, atol=3e-6)
        assert masses.std() > 0.2 / distribution.levels  # not uniform


@over_registry
@regular_and_extreme
def test_conditionals_of_a_pixel_multiply_to_its_probability(
    distribution: Distribution, extreme: bool
):
    outputs = random_outputs(distribution, 300, extreme)
    pixels = random_levels(distribution, 300)
    terms = [
        np.take_along_axis(
            np.asarray(conditional(distribution, outputs, pixels, c)),
            pixels[:, c, None],
            axis=-1,
        )
        for c in range(distribution.channels)
    ]
    expected = log_prob(distribution, outputs, pixels)
    np.testing.assert_allclose(sum(terms)[:, 0], expected, rtol=1e-5, atol=1e-5)


@over_registry
def test_a_conditional_reads_the_earlier_channels_only(distribution: Distribution):
    outputs = random_outputs(distribution, 300)
    pixels = random_levels(distribution, 300)
    for channel in range(distribution.channels):
        later = pixels.copy()
        later[:, channel:] = distribution.levels - 1 - later[:, channel:]
        np.testing.assert_array_equal(
            conditional(distribution, outputs, later, channel),
            conditional(distribution, outputs, pixels, channel),
        )


@over_registry
@regular_and_extreme
def test_steps_add_up_to_the_log_prob_of_a_pixel(
    distribution: Distribution, extreme: bool
):
    outputs = random_outputs(distribution, 300, extreme)
    pixels = random_levels(distribution, 300)
    total = np.zeros(300, np.float32)
    for step in range(distribution.steps_per_pixel):
        nats = step_log_prob(distribution, outputs, pixels, step)
        assert nats.shape == (300,) and nats.dtype == jnp.float32
        total += nats
        if distribution.steps_per_pixel > 1:
            alone = conditional(distribution, outputs, pixels, step)
            alone = np.take_along_axis(np.asarray(alone), pixels[:, step, None], -1)
            np.testing.assert_allclose(nats, alone[:, 0], rtol=1e-5, atol=1e-6)
    expected = log_prob(distribution, outputs, pixels)
    np.testing.assert_allclose(total, expected, rtol=1e-6, atol=1e-6)


@over_registry
def test_a_level_off_the_grid_has_no_probability(distribution: Distribution):
    outputs = random_outputs(distribution, 1)
    for level in (-1, distribution.levels):
        pixels = np.zeros((1, distribution.channels), np.int32)
        pixels[:, -1] = level
        assert log_prob(distribution, outputs, pixels) == -np.inf


@over_registry
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_outputs_are_the_same_from_either_axis(distribution: Distribution, dtype):
    raw = np.random.default_rng(0).normal(size=(2, 3, 4, distribution.num_outputs))
    raw = jnp.asarray(raw, dtype)
    outputs = distribution.outputs(raw)
    found = distribution.outputs(jnp.moveaxis(raw, -1, 0), axis=0)
    assert found.dtype == jnp.float32 and found.shape[:3] == (2, 3, 4)
    np.testing.assert_array_equal(found, outputs)
    np.testing.assert_array_equal(found.reshape(raw.shape), raw.astype(jnp.float32))


@over_registry
def test_training_transposes_no_outputs(distribution: Distribution):
    """Features first in, positions last inside: the two transposes cancel."""
    shape = (distribution.num_outputs, 2, 12, 11)
    raw = jax.ShapeDtypeStruct(shape, jnp.float32)
    pixels = jax.ShapeDtypeStruct((*shape[1:], distribution.channels), jnp.int32)

    def total(raw, pixels):
        return distribution.log_prob(distribution.outputs(raw, axis=0), pixels).sum()

    compiled = jax.jit(jax.value_and_grad(total)).lower(raw, pixels).compile()
    found = computations(compiled.as_text()).values()
    lines = list(itertools.chain.from_iterable(found))
    assert any(" exponential(" in line for line in lines)
    moved = re.findall(r"= f32\[([\d,]+)\]\S* (?:transpose|copy)\(", "\n".join(lines))
    sizes = [math.prod(map(int, axes.split(","))) for axes in moved]
    assert max(sizes, default=0) < math.prod(shape)


@over_registry
def test_forward_and_second_derivatives_are_those_of_the_gradient(
    distribution: Distribution,
):
    outputs = random_outputs(distribution, 50)
    pixels = random_levels(distribution, 50)
    direction = np.float32(np.random.default_rng(1).normal(size=outputs.shape))

    def value(outputs):
        return distribution.log_prob(outputs, pixels).sum()

    def along(outputs):
        return jax.jvp(jax.value_and_grad(value), (outputs,), (direction,))

    (_, gradient), (slope, bend) = jax.jit(along)(outputs)
    np.testing.assert_allclose(slope, np.vdot(gradient, direction), rtol=1e-4)

    with jax.enable_x64(True):
        outputs, by = np.float64(outputs), 1e-6 * np.float64(direction)
        exact = jax.jit(jax.grad(value))
        expected = np.asarray(exact(outputs + by) - exact(outputs - by)) / 2e-6
    assert np.abs(expected).max() > 0.1
    np.testing.assert_allclose(bend, expected, rtol=1e-3, atol=1e-5 * bend.max())


DRAWN = [x for x in REGISTRY if x.levels**x.channels <= 27]


def broad_outputs(distribution: Distribution) -> np.ndarray:
    """Outputs ``[1, ...]`` under which no colour is rare, nor two alike."""
    raw = np.random.default_rng(5).normal(size=(1, distribution.num_outputs))
    return np.asarray(distribution.outputs(jnp.asarray(raw * 0.6)))


def assert_law(pixels: jax.Array, probabilities: np.ndarray, levels: int) -> None:
    """Pixels ``[N, C]`` follow the probabilities of all colours (chi-square)."""
    place_values = levels ** np.arange(pixels.shape[-1])[::-1]
    observed = np.bincount(
        np.asarray(pixels) @ place_values, minlength=len(probabilities)
    )
    expected = probabilities / probabilities.sum() * len(pixels)
    assert expected.min() > 5
    _, p = stats.chisquare(observed, expected)
    assert p > 0.001


@pytest.mark.parametrize("distribution", DRAWN, ids=str)
def test_draws_follow_the_probabilities(distribution: Distribution):
    outputs = broad_outputs(distribution)
    probabilities = np.exp(
        np.float64(log_prob(distribution, outputs, all_colours(distribution)))
    )
    keys = jax.random.split(KEY, 20_000)
    outputs = jnp.broadcast_to(outputs, (20_000, *outputs.shape[1:]))
    pixels = draw(distribution, keys, outputs)
    assert_law(pixels, probabilities, distribution.levels)


@pytest.mark.parametrize("distribution", DRAWN[1:], ids=str)
def test_equal_keys_draw_equal_pixels_whatever_the_batch(distribution: Distribution):
    keys = jax.random.split(KEY, 20_000)
    raw = np.random.default_rng(1).normal(size=(20_000, distribution.num_outputs))
    outputs = distribution.outputs(jnp.asarray(raw))
    one = functools.partial(draw, distribution)
    expected = np.asarray(one(keys, outputs))[:24]
    assert len(np.unique(expected, axis=0)) > 1

    keys, outputs = keys[:24], outputs[:24]
    shaped = outputs.reshape(4, 6, *outputs.shape[1:])
    pixels = one(keys.reshape(4, 6), shaped)
    np.testing.assert_array_equal(pixels.reshape(24, -1), expected)
    np.testing.assert_array_equal(jax.vmap(one)(keys, outputs), expected)

    @jax.jit
    def one_by_one(outputs, temperature):
        def visit(n, pixels):
            return pixels.at[n].set(one(keys[n], outputs[n], temperature))

        return lax.fori_loop(0, 24, visit, jnp.zeros(expected.shape, jnp.int32))

    np.testing.assert_array_equal(one_by_one(outputs, 1.0), expected)


def test_categorical_log_prob_is_the_gathered_log_softmax_of_a_pixel():
    categorical = Categorical(3, 5)
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(4, 2, 15)) * 3
    images = rng.integers(0, 5, (4, 2, 3))
    logits = raw.reshape(4, 2, 3, 5)
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = sum(
        np.take_along_axis(log_softmax[..., c, :], images[..., c, None], -1)[..., 0]
        for c in range(3)
    )
    found = log_prob(categorical, categorical.outputs(jnp.asarray(raw)), images)
    assert found.shape == (4, 2) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@pytest.mark.parametrize(
    "distribution", [x for x in REGISTRY if x.levels == 256], ids=str
)
def test_any_integer_type_of_the_images_counts_the_same(
    distribution: Distribution, dtype: type
):
    raw = np.random.default_rng(0).normal(size=(4, distribution.num_outputs))
    outputs = distribution.outputs(jnp.asarray(raw))
    levels = np.array([[0], [127], [128], [255]])
    expected = log_prob(distribution, outputs, levels.astype(np.int16))
    found = log_prob(distribution, outputs, levels.astype(dtype))
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("fields", "expected", "num_outputs", "steps"),
    [
        (dict(), Categorical(1, 4), 4, 1),
        (dict(channels=3, levels=5, features=12), Categorical(3, 5), 15, 3),
        (
            dict(distribution="logistic_mixture", levels=256, num_mixtures=7),
            DiscretizedLogisticMixture(1, 256, 7),
            21,
            1,
        ),
        (
            dict(distribution="logistic_mixture", channels=3),
            DiscretizedLogisticMixture(3, 4, 10),
            100,
            1,
        ),
        (
            dict(distribution="logistic_mixture", channels=4, num_mixtures=2),
            DiscretizedLogisticMixture(4, 4, 2),
            30,
            1,
        ),
    ],
)
def test_a_config_gets_its_distribution(
    fields: dict, expected: Distribution, num_outputs: int, steps: int
):
    config = pj.PixelCNNConfig.tiny(**fields)
    found = build_distribution(config)
    assert found == expected and hash(found) == hash(expected)
    assert found.num_outputs == num_outputs
    assert found.steps_per_pixel == steps
    assert found.channels == config.channels and found.levels == config.levels
    ordered = 1 if isinstance(found, DiscretizedLogisticMixture) else config.channels
    assert found.ordered_channels == ordered

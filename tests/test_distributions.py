"""Output distributions: exact probabilities, finite gradients, draws of that law."""

import decimal
import functools
import itertools
from decimal import Decimal

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
    build_distribution,
)
from pixelcnn_jax.distributions.logistic import log1mexp

Distribution = Categorical | DiscretizedLogisticMixture

KEY = jax.random.key(3)
COLOUR = DiscretizedLogisticMixture(3, 16, 4)
EXTREMES = {
    "logits": [-1e4, -20.0, 0.0, 20.0, 1e4],
    "means": [-1e4, -30.0, -1.0, -0.125, 0.0, 0.5, 1.0, 2.0, 1e4],
    "log_scales": [-1e4, -30.0, -7.0, -3.0, 0.0, 4.0, 30.0, 80.0],
    "coefficients": [-1e4, -3.0, 0.0, 0.25, 1e4],
}


def join(mixture: DiscretizedLogisticMixture, logits, means, log_scales, coefficients):
    """Outputs from logits [N, M], means and log-scales [N, C, M] and the rest."""
    parts = [logits[:, None], means, log_scales, coefficients]
    outputs = np.concatenate(parts, axis=1).reshape(len(logits), mixture.num_outputs)
    return np.float32(outputs)


def random_outputs(
    mixture: DiscretizedLogisticMixture, count: int, extreme: bool = False
) -> np.ndarray:
    rng = np.random.default_rng(mixture.num_outputs + mixture.levels)
    c, m = mixture.channels, mixture.num_mixtures
    shapes = {
        "logits": (count, m),
        "means": (count, c, m),
        "log_scales": (count, c, m),
        "coefficients": (count, c * (c - 1) // 2, m),
    }
    if extreme:
        parts = {name: rng.choice(EXTREMES[name], s) for name, s in shapes.items()}
    else:
        parts = {name: rng.normal(size=s) for name, s in shapes.items()}
        parts["means"] *= 0.7
        parts["log_scales"] -= np.log(mixture.levels - 1)
    return join(mixture, **parts)


def random_levels(distribution: Distribution, count: int) -> np.ndarray:
    """Levels of which a good part lies on the edges of the grid."""
    rng = np.random.default_rng(distribution.levels)
    last = distribution.levels - 1
    levels = rng.integers(
        -last // 2, last + last // 2 + 1, (count, distribution.channels)
    )
    return np.clip(levels, 0, last).astype(np.int32)


def all_colours(distribution: Distribution) -> np.ndarray:
    """Every value of a pixel, ``[V ** C, C]``."""
    levels = range(distribution.levels)
    return np.array(list(itertools.product(levels, repeat=distribution.channels)))


@functools.partial(jax.jit, static_argnums=0)
def log_prob(distribution: Distribution, outputs, images) -> jax.Array:
    return distribution.log_prob(outputs, images)


@functools.partial(jax.jit, static_argnums=0)
def draw(distribution: Distribution, keys, outputs, temperature=1.0) -> jax.Array:
    """All channels of the pixels."""
    pixels = jnp.zeros((*keys.shape, distribution.channels), jnp.int32)
    for step in range(distribution.steps_per_pixel):
        pixels = distribution.draw(keys, outputs, pixels, step, temperature)
    return pixels


in_60_digits = decimal.Context(
    prec=60,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation],
)


def exact_nats(
    mixture: DiscretizedLogisticMixture, outputs: list[Decimal], pixel: list[int]
) -> Decimal:
    """The definition, as differences of logistic CDFs, in 60 digits."""
    channels, last, m = mixture.channels, mixture.levels - 1, mixture.num_mixtures
    half_width = 1 / Decimal(last)
    least_log_scale = half_width.ln() - 2
    x = [2 * Decimal(level) / last - 1 for level in pixel]

    def cdf(z: Decimal) -> Decimal:
        return 1 / (1 + (-z).exp())

    def tanh(z: Decimal) -> Decimal:
        return 2 * cdf(2 * z) - 1

    def mass(level: int, center: Decimal, log_scale: Decimal) -> Decimal:
        scale = max(log_scale, least_log_scale).exp()
        low, high = (center - half_width) / scale, (center + half_width) / scale
        if level == 0:
            return cdf(high)
        if level == last:
            return cdf(-low)
        # By symmetry, in the tail where the CDF is small.
        return cdf(-low) - cdf(-high) if center > 0 else cdf(high) - cdf(low)

    logits, rest = outputs[:m], outputs[m:]
    total = Decimal(0)
    for i in range(m):
        column = rest[i::m]
        means, log_scales = column[:channels], column[channels : 2 * channels]
        coefficients = iter(column[2 * channels :])
        product = (logits[i] - max(logits)).exp()
        for c in range(channels):
            mean = means[c] + sum(tanh(next(coefficients)) * x[d] for d in range(c))
            product *= mass(pixel[c], x[c] - mean, log_scales[c])
        total += product
    return total.ln() - sum((a - max(logits)).exp() for a in logits).ln()


def to_decimals(row: np.ndarray) -> list[Decimal]:
    return [Decimal(float(value)) for value in row]


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(
    "mixture",
    [
        DiscretizedLogisticMixture(1, 2, 4),
        DiscretizedLogisticMixture(1, 4, 3),
        DiscretizedLogisticMixture(1, 256, 5),
        DiscretizedLogisticMixture(2, 7, 1),
        DiscretizedLogisticMixture(3, 2, 2),
        DiscretizedLogisticMixture(3, 5, 2),
        DiscretizedLogisticMixture(4, 3, 2),
    ],
    ids=str,
)
def test_masses_of_all_colours_sum_to_one(
    mixture: DiscretizedLogisticMixture, extreme: bool
):
    outputs = random_outputs(mixture, 200, extreme)
    colours = all_colours(mixture)
    nats = log_prob(mixture, outputs[:, None], colours[None])
    assert nats.shape == (200, len(colours)) and nats.dtype == jnp.float32
    masses = np.exp(np.float64(nats))
    np.testing.assert_allclose(masses.sum(axis=1), 1, atol=3e-6)
    assert masses.std() > 0.2 / len(colours)  # not the uniform distribution


ORACLE_MIXTURES = [
    DiscretizedLogisticMixture(1, 2, 3),
    DiscretizedLogisticMixture(1, 4, 3),
    DiscretizedLogisticMixture(1, 256, 3),
    DiscretizedLogisticMixture(3, 256, 2),
    DiscretizedLogisticMixture(4, 5, 2),
]


def rounding_nats(mixture: DiscretizedLogisticMixture) -> float:
    """What rounding a mean to float32 can change in a log-probability.

    It is rounded at up to V half-widths and divided by scales of at least exp(-2).
    """
    return mixture.levels * np.exp(2) * 2.0**-22


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("mixture", ORACLE_MIXTURES, ids=str)
def test_log_prob_is_the_difference_of_cdfs(
    mixture: DiscretizedLogisticMixture, extreme: bool
):
    outputs = random_outputs(mixture, 100, extreme)
    images = random_levels(mixture, 100)
    assert {0, mixture.levels - 1} < {*images.ravel()} or mixture.levels == 2
    with decimal.localcontext(in_60_digits):
        expected = [
            float(exact_nats(mixture, to_decimals(row), pixel.tolist()))
            for row, pixel in zip(outputs, images, strict=True)
        ]
    found = log_prob(mixture, outputs, images)
    np.testing.assert_allclose(found, expected, rtol=3e-6, atol=rounding_nats(mixture))


@pytest.mark.parametrize("mixture", ORACLE_MIXTURES, ids=str)
def test_gradients_are_those_of_the_exact_log_prob(
    mixture: DiscretizedLogisticMixture,
):
    outputs, images = random_outputs(mixture, 8), random_levels(mixture, 8)
    gradient = jax.jit(jax.grad(lambda o: mixture.log_prob(o, images).sum()))
    step = Decimal("1e-20")
    with decimal.localcontext(in_60_digits):
        for row, pixel, found in zip(outputs, images, gradient(outputs), strict=True):
            exact = to_decimals(row)
            expected = []
            for i, value in enumerate(exact):
                ahead = [*exact[:i], value + step, *exact[i + 1 :]]
                behind = [*exact[:i], value - step, *exact[i + 1 :]]
                nats = (exact_nats(mixture, o, pixel.tolist()) for o in (ahead, behind))
                expected.append(float((next(nats) - next(nats)) / (2 * step)))
            largest = np.abs(expected).max()
            np.testing.assert_allclose(
                found, expected, rtol=1e-4, atol=2 * rounding_nats(mixture) * largest
            )


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("levels", [2, 4, 256])
def test_values_and_gradients_are_finite_everywhere(channels: int, levels: int):
    mixture = DiscretizedLogisticMixture(channels, levels, 2)
    outputs = random_outputs(mixture, 3000, extreme=True)
    outputs[1000:2000] *= 1e25
    outputs[2000:] *= 1e-25
    images = random_levels(mixture, 3000)

    def total(outputs):
        nats = mixture.log_prob(outputs, images)
        return nats.sum(), nats

    gradients, nats = jax.jit(jax.grad(total, has_aux=True))(outputs)
    assert np.isfinite(nats).all() and (nats <= 1e-6).all()
    assert np.isfinite(gradients).all()
    used = np.abs(gradients).max(axis=0) > 0
    assert used.all()


@pytest.mark.parametrize("levels", [3, 4, 256])
def test_the_sharpest_component_holds_its_bin_and_no_sharper_one_exists(levels: int):
    mixture = DiscretizedLogisticMixture(1, levels, 1)
    center = 2 / (levels - 1) - 1
    bound = np.log(1 / (levels - 1)) - 2
    outputs = np.float32([[0, center, bound + by] for by in (0.5, 0, -0.1, -100)])
    nats = np.asarray(log_prob(mixture, outputs, np.ones((4, 1), int)))
    assert nats[0] < nats[1] - 1e-3
    np.testing.assert_allclose(nats[1:], np.log(0.99876), atol=1e-5)
    if levels == 256:
        assert -8 < bound < -7


LOG_X = np.float32(np.concatenate([np.linspace(-120, 12, 5000), [-1e30, 1e30]]))


def test_log1mexp_is_exact_over_all_magnitudes():
    x = np.exp(np.clip(np.float64(LOG_X), -700, 700))
    expected = np.where(LOG_X < -700, LOG_X, np.log(-np.expm1(-x)))
    np.testing.assert_allclose(log1mexp(LOG_X), expected, rtol=1e-6, atol=1e-9)
    small = x < 1
    np.testing.assert_allclose(log1mexp(LOG_X)[small], expected[small], rtol=3e-7)


def test_log1mexp_has_the_exact_derivative():
    x = np.exp(np.clip(np.float64(LOG_X), -700, 700))
    expected = x * np.exp(-x) / -np.expm1(-x)
    found = jax.vmap(jax.grad(log1mexp))(LOG_X)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-30)
    curvature = jax.vmap(jax.grad(jax.grad(log1mexp)))(LOG_X)
    assert np.isfinite(curvature).all()


DRAWN = [
    Categorical(1, 4),
    Categorical(2, 3),
    DiscretizedLogisticMixture(1, 6, 3),
    DiscretizedLogisticMixture(3, 3, 2),
]


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


@pytest.mark.parametrize("temperature", [0.4, 1.7])
def test_temperature_divides_logits_and_multiplies_scales(temperature: float):
    mixture = COLOUR
    rng = np.random.default_rng(0)
    logits, means = rng.normal(size=(2000, 4)), rng.normal(size=(2000, 3, 4)) / 2
    log_scales = rng.uniform(-2.5, 0, (2000, 3, 4))
    coefficients = rng.normal(size=(2000, 3, 4))
    outputs = join(mixture, logits, means, log_scales, coefficients)
    warmer_scales = log_scales + np.log(temperature)
    warmer = join(mixture, logits / temperature, means, warmer_scales, coefficients)
    keys = jax.random.split(KEY, 2000)
    pixels = draw(mixture, keys, outputs, temperature)
    same = (pixels == draw(mixture, keys, warmer)).all(axis=-1)
    assert same.mean() > 0.999  # but for ties within float rounding
    assert (pixels != draw(mixture, keys, outputs)).any(axis=-1).mean() > 0.3


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize(
    "mixture",
    [
        DiscretizedLogisticMixture(1, 2, 3),
        DiscretizedLogisticMixture(1, 256, 3),
        COLOUR,
    ],
    ids=str,
)
def test_temperature_zero_is_the_rounded_mean_of_the_likeliest_component(
    mixture: DiscretizedLogisticMixture, extreme: bool
):
    outputs = random_outputs(mixture, 2000, extreme)
    # No mean half-way between two levels.
    outputs += np.random.default_rng(0).uniform(-0.1, 0.1, outputs.shape)
    channels, last, m = mixture.channels, mixture.levels - 1, mixture.num_mixtures
    outputs[:, (1 + channels) * m : (1 + 2 * channels) * m] *= 1000  # any scales
    rows = np.float64(outputs).reshape(2000, -1, m)
    best = rows[:, 0].argmax(axis=-1)
    rows = rows[np.arange(2000), :, best]
    expected, x = [], []
    coefficients = iter(np.tanh(rows[:, 1 + 2 * channels :]).T)
    for c in range(channels):
        mean = rows[:, 1 + c] + sum(next(coefficients) * x[d] for d in range(c))
        expected.append(np.clip(np.round((mean + 1) / 2 * last), 0, last))
        x.append(2 * expected[-1] / last - 1)
    pixels = draw(mixture, jax.random.split(KEY, 2000), outputs, 0.0)
    np.testing.assert_array_equal(pixels, np.stack(expected, axis=-1))
    assert len(np.unique(pixels)) > 1


@pytest.mark.parametrize("temperature", [0.0, 1.0, 50.0])
def test_draws_lie_on_the_grid(temperature: float):
    outputs = random_outputs(COLOUR, 2000, extreme=True)
    outputs[1000:] *= 1e25
    pixels = draw(COLOUR, jax.random.split(KEY, 2000), outputs, temperature)
    assert pixels.dtype == jnp.int32 and pixels.shape == (2000, 3)
    assert set(np.unique(pixels)) == set(range(16))


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


def test_pixels_and_channels_have_noise_of_their_own():
    zeros = np.zeros((2000, 3, 4))
    outputs = join(COLOUR, zeros[:, 0], zeros, zeros - 2, zeros)
    pixels = np.asarray(draw(COLOUR, jax.random.split(KEY, 2000), outputs))
    correlations = np.corrcoef(pixels.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.1
    assert len(np.unique(pixels, axis=0)) > 400


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


@pytest.mark.parametrize("distribution", [Categorical(2, 3), COLOUR], ids=str)
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_outputs_are_float32_of_the_same_values(distribution: Distribution, dtype):
    values = np.random.default_rng(0).normal(size=(2, 3, distribution.num_outputs))
    raw = jnp.asarray(values, dtype)
    outputs = distribution.outputs(raw)
    assert outputs.dtype == jnp.float32 and outputs.shape[:2] == (2, 3)
    assert (outputs.ravel() == raw.ravel()).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
@pytest.mark.parametrize(
    "distribution",
    [Categorical(2, 256), DiscretizedLogisticMixture(2, 256, 2)],
    ids=str,
)
def test_any_integer_type_of_the_images_counts_the_same(
    distribution: Distribution, dtype: type
):
    raw = np.random.default_rng(0).normal(size=(4, distribution.num_outputs))
    outputs = distribution.outputs(jnp.asarray(raw))
    levels = np.array([[0, 255], [127, 128], [200, 3], [255, 0]])
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
    found = build_distribution(pj.PixelCNNConfig.tiny(**fields))
    assert found == expected and hash(found) == hash(expected)
    assert found.num_outputs == num_outputs
    assert found.steps_per_pixel == steps

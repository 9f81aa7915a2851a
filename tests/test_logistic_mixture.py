"""The mixture of logistics against its definition in 60 digits."""

import decimal
from decimal import Decimal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pixelcnn_jax.distributions import DiscretizedLogisticMixture
from pixelcnn_jax.distributions.logistic import log1mexp
from tests.distributions import (
    COLOUR,
    KEY,
    draw,
    join,
    log_prob,
    random_levels,
    random_outputs,
)

in_60_digits = decimal.Context(
    prec=60,
    Emax=decimal.MAX_EMAX,
    Emin=decimal.MIN_EMIN,
    traps=[decimal.InvalidOperation],
)


def test_no_draw_is_as_good_as_impossible(monkeypatch):
    # As JAX makes it of one of eight million keys, whose bits are all zero.
    monkeypatch.setattr(jax.random, "logistic", lambda key, dtype: dtype(-87))
    mixture = DiscretizedLogisticMixture(1, 256, 1)
    outputs = np.float32([[0.0, 0.5, np.log(2 / 255)]])  # logit, mean, log-scale
    before = jnp.zeros((1, 1), jnp.int32)
    drawn = mixture.draw(KEY[None], jnp.asarray(outputs), before, 0, 1.0)
    assert mixture.log_prob(outputs, drawn)[0] > -17


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


def test_pixels_and_channels_have_noise_of_their_own():
    zeros = np.zeros((2000, 3, 4))
    outputs = join(COLOUR, zeros[:, 0], zeros, zeros - 2, zeros)
    pixels = np.asarray(draw(COLOUR, jax.random.split(KEY, 2000), outputs))
    correlations = np.corrcoef(pixels.T)[np.triu_indices(3, 1)]
    assert np.abs(correlations).max() < 0.1
    assert len(np.unique(pixels, axis=0)) > 400

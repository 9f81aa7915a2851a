"""Samples have the model's law, and every way to draw them draws the same images."""

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import pixelcnn_jax as pj
from pixelcnn_jax import sampling
from tests.conftest import tiny_model
from tests.hlo import copies_in_loops
from tests.test_likelihood import all_images

KEY = jax.random.key(7)
SHAPES = [
    dict(),
    dict(height=3, width=8, first_kernel_size=7, kernel_size=5),
    dict(height=7, width=3, first_kernel_size=3, kernel_size=1, num_blocks=1),
    dict(height=4, width=4, channels=3, features=12, levels=5),
]


def assert_same_images(model: pj.PixelCNN, a: jax.Array, b: jax.Array) -> None:
    """Equal, but for images that part where two levels tie within float rounding."""
    a, b = np.asarray(a), np.asarray(b)
    for n in np.flatnonzero((a != b).any(axis=(1, 2, 3))):
        row, column, channel = np.argwhere(a[n] != b[n])[0]
        logits = model(a[n : n + 1])[0, row, column, channel]
        key = sampling.image_keys(KEY, jnp.array([n]))
        pixel = sampling.pixel_keys(key, jnp.array([row * a.shape[2] + column]))[0, 0]
        noise = jax.random.gumbel(jax.random.fold_in(pixel, channel), logits.shape)
        best = np.sort(logits + noise)
        assert best[-1] - best[-2] < 1e-4, f"image {n} differs without a tie"


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_all_methods_draw_the_same_images(shape: dict, temperature: float):
    model = tiny_model(**shape)
    drawn = {
        method: pj.sample(model, KEY, 17, temperature=temperature, method=method)
        for method in sampling.METHODS
    }
    c = model.config
    assert drawn["full"].shape == (17, c.height, c.width, c.channels)
    assert drawn["full"].dtype == jnp.int32
    assert len(np.unique(drawn["full"])) == c.levels
    for images in drawn.values():
        assert_same_images(model, drawn["full"], images)


@pytest.mark.parametrize("method", sampling.METHODS)
def test_frequencies_of_all_tiny_images_are_the_models(method: sampling.Method):
    model = tiny_model(height=2, width=2, levels=2)
    every = all_images(model)
    expected = np.exp(np.asarray(pj.log_prob(model, every), np.float64))
    count = 20_000
    images = np.asarray(pj.sample(model, KEY, count, method=method))
    code = images.reshape(count, 4) @ (8, 4, 2, 1)
    observed = np.bincount(code, minlength=16)
    _, p = stats.chisquare(observed, expected / expected.sum() * count)
    assert p > 0.001


@pytest.mark.parametrize("method", sampling.METHODS)
@pytest.mark.parametrize("batch_size", [1, 4, 11, 50])
def test_images_do_not_depend_on_the_batch_size(
    method: sampling.Method, batch_size: int
):
    model = tiny_model()
    expected = pj.sample(model, KEY, 11, method=method)
    images = pj.sample(model, KEY, 11, method=method, batch_size=batch_size)
    assert_same_images(model, expected, images)


@pytest.mark.parametrize("method", sampling.METHODS)
def test_more_images_begin_with_the_same_ones(method: sampling.Method):
    model = tiny_model()
    few = pj.sample(model, KEY, 3, method=method)
    many = pj.sample(model, KEY, 9, method=method)
    assert_same_images(model, few, many[:3])


@pytest.mark.parametrize("method", sampling.METHODS)
def test_calls_agree_and_do_not_trace_again(method: sampling.Method, monkeypatch):
    model = tiny_model()
    first = pj.sample(model, KEY, 5, method=method)
    traces = sampling._sample._cache_size()
    again = pj.sample(model, KEY, 5, method=method)
    pj.sample(model, jax.random.key(1), 5, method=method, temperature=0.5)
    pj.sample(tiny_model(seed=1), KEY, 5, method=method)
    assert (first == again).all()
    assert sampling._sample._cache_size() == traces


def test_other_keys_draw_other_images():
    model = tiny_model()
    a, b = (pj.sample(model, jax.random.key(seed), 4) for seed in (0, 1))
    assert (a != b).any()
    assert (a[0] != a[1]).any()


@pytest.mark.parametrize("method", sampling.METHODS)
def test_temperature_zero_takes_the_likeliest_level(method: sampling.Method):
    model = tiny_model()
    images = pj.sample(model, KEY, 2, temperature=0, method=method)
    assert (images == model(images).argmax(-1)).all()
    assert (images[0] == images[1]).all()


def test_temperature_divides_the_logits():
    """One pixel, drawn many times, follows softmax(logits / T)."""
    model = tiny_model(height=1, width=1)
    logits = np.asarray(model(jnp.zeros((1, 1, 1, 1), int)))[0, 0, 0, 0]
    for temperature in (0.5, 2.0):
        images = pj.sample(model, KEY, 20_000, temperature=temperature)
        observed = np.bincount(np.ravel(images), minlength=4)
        expected = np.exp(np.float64(logits) / temperature)
        _, p = stats.chisquare(observed, expected / expected.sum() * 20_000)
        assert p > 0.001


@pytest.mark.parametrize("method", sampling.METHODS)
def test_works_inside_jit(method: sampling.Method):
    model = tiny_model()
    graph, params = nnx.split(model)

    @jax.jit
    def draw(params, key, temperature):
        model = nnx.merge(graph, params)
        return pj.sample(model, key, 6, temperature=temperature, method=method)

    expected = pj.sample(model, KEY, 6, temperature=0.8, method=method)
    assert_same_images(model, draw(params, KEY, 0.8), expected)


@pytest.mark.parametrize("method", sampling.METHODS)
def test_lowers_for_cpu_gpu_and_tpu(method: sampling.Method):
    model = tiny_model()
    graph, params = nnx.split(model)

    def draw(leaves, seed):
        values = jax.tree.unflatten(jax.tree.structure(params), leaves)
        return pj.sample(
            nnx.merge(graph, values), jax.random.key(seed), 2, method=method
        )

    export = jax.export.export(jax.jit(draw), platforms=("cpu", "cuda", "tpu"))
    program = export(jax.tree.leaves(params), 0)
    assert program.platforms == ("cpu", "cuda", "tpu")
    assert "while" in program.mlir_module()


@pytest.mark.parametrize("shape", SHAPES)
def test_the_compiled_loop_copies_no_cache(shape: dict):
    model = tiny_model(**shape)
    graph, params = nnx.split(model)
    lowered = sampling._sample.lower(graph, params, KEY, 1.0, 6, 6, "cached")
    text = lowered.compile().as_text()
    caches = model.init_caches(6, model.config.width)
    assert text.count("while(") >= 1
    assert copies_in_loops(text, [cache.shape for cache in caches]) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_images=0), "num_images must be at least 1, got 0"),
        (dict(num_images=2, batch_size=0), "batch_size must be at least 1, got 0"),
        (dict(num_images=2, temperature=-1.0), "at least 0, got -1.0"),
        (dict(num_images=2, temperature=float("nan")), "got nan"),
        (dict(num_images=2, temperature=float("inf")), "got inf"),
        (dict(num_images=2, method="fast"), "one of full, cached.*, got fast"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.sample(tiny_model(), KEY, **arguments)

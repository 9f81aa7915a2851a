"""Samples have the model's law, and every way to draw them draws the same images."""

import gc

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import pixelcnn_jax as pj
from pixelcnn_jax import devices, sampling
from pixelcnn_jax.models import PixelCNN
from tests.conftest import some_labels, tiny_model
from tests.hlo import copies_in_loops
from tests.test_likelihood import all_images

KEY = jax.random.key(7)
SHAPES = [
    dict(),
    dict(height=3, width=8, first_kernel_size=7, kernel_size=5),
    dict(height=7, width=3, first_kernel_size=3, kernel_size=1, num_blocks=1),
    dict(height=4, width=4, channels=3, features=12, levels=5),
    dict(num_classes=3),
    dict(channels=2, distribution="logistic_mixture", levels=16, kernel_size=5),
    dict(gated=True, height=5, width=9),
    dict(gated=True, channels=3, num_classes=2, height=4, width=4),
    dict(gated=True, channels=3, distribution="logistic_mixture", levels=16),
    dict(gated=True, kernel_size=1, num_layers=1, height=3),
]


def methods_of(model) -> list[str]:
    possible = model.wavefront_lag is not None
    return [m for m in sampling.METHODS if possible or m != "wavefront"]


def assert_same_images(model, a, b, temperature: float = 1.0) -> None:
    """Equal, but for images that part where two levels tie within float rounding."""
    a, b = np.asarray(a), np.asarray(b)
    if model.config.distribution != "categorical" or model.config.num_classes:
        assert (a == b).all()
    for n in np.flatnonzero((a != b).any(axis=(1, 2, 3))):
        row, column, channel = np.argwhere(a[n] != b[n])[0]
        logits = model(a[n : n + 1])[0, row, column, channel]
        key = sampling.image_keys(KEY, jnp.array([n]))
        pixel = sampling.pixel_keys(key, jnp.array([row * a.shape[2] + column]))[0, 0]
        noise = jax.random.gumbel(jax.random.fold_in(pixel, channel), logits.shape)
        best = np.sort(logits + temperature * noise)
        assert best[-1] - best[-2] < 1e-4, f"image {n} differs without a tie"


@pytest.mark.parametrize("shape", SHAPES)
def test_all_methods_draw_the_same_images(shape: dict):
    model = tiny_model(**shape)
    labels, c = some_labels(model, 17), model.config
    for temperature in (1.0, 0.7):
        drawn = {
            method: pj.sample(
                model, KEY, 17, temperature=temperature, labels=labels, method=method
            )
            for method in methods_of(model)
        }
        assert drawn["full"].shape == (17, c.height, c.width, c.channels)
        assert drawn["full"].dtype == jnp.int32
        assert len(np.unique(drawn["full"])) == c.levels
        for images in drawn.values():
            assert_same_images(model, drawn["full"], images, temperature)


@pytest.mark.parametrize(
    ("first", "other", "height", "width", "channels"),
    [(7, 3, 6, 16, 1), (3, 5, 7, 5, 1), (3, 7, 5, 11, 1), (7, 3, 4, 9, 3)],
)
def test_the_lag_is_as_short_as_it_can_be(
    first: int, other: int, height: int, width: int, channels: int, monkeypatch
):
    """With the lag of the masks the images are the same, with one less they are not."""
    model = tiny_model(
        first_kernel_size=first,
        kernel_size=other,
        height=height,
        width=width,
        channels=channels,
        features=12,
    )
    keys_B = sampling.image_keys(KEY, jnp.arange(24))

    def draw(method):  # a new function each time: compiled anew, with the lag of now
        return jax.jit(lambda: method(model, keys_B, None, 1.0))()

    expected = draw(sampling.draw_cached)
    lag = model.wavefront_lag
    assert_same_images(model, expected, draw(sampling.draw_wavefront))
    monkeypatch.setattr(PixelCNN, "wavefront_lag", lag - 1)
    assert (draw(sampling.draw_wavefront) != expected).mean() > 0.01


def test_a_wavefront_takes_few_steps():
    """76 steps instead of 256 for the book's network."""
    model = pj.build_model(pj.PixelCNNConfig(features=2, num_blocks=1))
    keys_B = sampling.image_keys(KEY, jnp.arange(1))
    text = str(jax.make_jaxpr(sampling.draw_wavefront)(model, keys_B, None, 1.0))
    assert "length=76" in text


@pytest.mark.parametrize("number", [1, 2])
def test_images_do_not_depend_on_the_devices(number: int, monkeypatch):
    model = tiny_model()
    expected = pj.sample(model, KEY, 7, batch_size=3, method="cached")
    available = jax.local_devices()[:number]
    monkeypatch.setattr(jax, "local_devices", lambda backend: available)
    images = pj.sample(model, KEY, 7, batch_size=3, method="cached")
    assert_same_images(model, expected, images)
    assert len(images.devices()) == 1  # ready for the model, wherever it was drawn


def test_auto_takes_the_wavefront_for_few_images_and_models_that_have_one():
    few = sampling.WAVEFRONT_IMAGES
    plain, gated = tiny_model(), tiny_model(gated=True)
    chosen = [
        sampling._plan(model, count, count, "auto", 1).draw
        for model, count in ((plain, few), (plain, few + 1), (gated, 1))
    ]
    assert chosen == [
        sampling.draw_wavefront,
        sampling.draw_cached,
        sampling.draw_cached,
    ]


def test_labels_decide_what_is_drawn():
    model = tiny_model(num_classes=3)
    zeros, ones = (pj.sample(model, KEY, 9, labels=np.full(9, k)) for k in (0, 1))
    assert (zeros != ones).any()
    mixed = pj.sample(model, KEY, 9, labels=np.arange(9) % 2)
    assert (mixed[::2] == zeros[::2]).all() and (mixed[1::2] == ones[1::2]).all()


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


def test_works_inside_jit_with_nothing_passed_in():
    model = tiny_model()
    expected = pj.sample(model, KEY, 6)
    drawn = jax.jit(lambda shift: pj.sample(model, KEY, 6) + shift)(0)
    assert_same_images(model, drawn, expected)
    assert (pj.sample(model, KEY, 6) == expected).all()  # nothing traced was kept


def test_old_keys_are_keys_too():
    model = tiny_model()
    drawn = pj.sample(model, jax.random.PRNGKey(7), 4)
    assert (drawn == pj.sample(model, KEY, 4)).all()


def test_parameters_are_copied_to_the_devices_once(monkeypatch):
    model, copies = nnx.clone(tiny_model()), devices._Copies()
    monkeypatch.setattr(devices, "_copies", copies)
    first = pj.sample(model, KEY, 4)
    kept = copies._copies
    pj.sample(model, KEY, 4)
    assert copies._copies is kept and kept
    model.last.bias[...] = model.last.bias[...].at[0].set(50.0)
    assert (pj.sample(model, KEY, 4) == 0).all() and (first != 0).any()
    del model, kept
    gc.collect()
    assert not copies._copies


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
    labels, c = some_labels(model, 6), model.config
    for method in methods_of(model)[1:]:
        job = sampling._plan(model, 6, 6, method, 1)
        arguments = (graph, job, None, params, KEY, 1.0, labels)
        text = sampling._sample.lower(*arguments).compile().as_text()
        front = min(c.height, -(-c.width // 2))
        spans = (1,) if method == "cached" else range(1, front + 1)
        shapes = [
            cache.shape
            for span in spans
            for cache in jax.tree.leaves(model.init_caches(6, c.width, labels, span))
        ]
        assert text.count("while(") >= 1
        assert copies_in_loops(text, shapes, innermost=True) == [], method
        # Those of one row are filled with zeros a row, which takes a copy.
        rings = [shape for shape in shapes if len(shape) == 4]
        assert copies_in_loops(text, rings) == [], method


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_images=0), "num_images must be at least 1, got 0"),
        (dict(num_images=2, batch_size=0), "batch_size must be at least 1, got 0"),
        (dict(num_images=2, temperature=-1.0), "at least 0, got -1.0"),
        (dict(num_images=2, temperature=float("nan")), "got nan"),
        (dict(num_images=2, temperature=float("inf")), "got inf"),
        (dict(num_images=2, method="fast"), "one of auto, full, cached.*, got fast"),
        (dict(num_images=2, labels=np.zeros(2, int)), "left out for a model without"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.sample(tiny_model(), KEY, **arguments)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "must be given for a model of 3 classes"),
        (np.zeros(3, int), r"integers \[2\], one for each image, got int64 \[3\]"),
        (np.zeros(2), "got float64"),
        ([0, 1], "must be an array, got list"),
        (np.array([0, 3]), "must lie in 0 to 2, got 0 to 3"),
    ],
)
def test_wrong_labels_are_refused(labels, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.sample(tiny_model(num_classes=3), KEY, 2, labels=labels)


def test_a_wavefront_of_a_gated_model_is_refused():
    with pytest.raises(pj.UserError, match="got a GatedPixelCNN; use cached"):
        pj.sample(tiny_model(gated=True), KEY, 2, method="wavefront")

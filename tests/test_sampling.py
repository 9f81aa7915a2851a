"""Samples have the model's law, and every way to draw them draws the same images."""

import threading

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from scipy import stats

import pixelcnn_jax as pj
from pixelcnn_jax import drawing, jobs, keys, sampling
from pixelcnn_jax.devices import all_devices, data_mesh, device_of
from pixelcnn_jax.layers import Conditions, Spec
from pixelcnn_jax.models import PixelCNN
from pixelcnn_jax.models.graph import split
from pixelcnn_jax.order import Order
from tests.conftest import same_conditions, slowly, some_conditions, tiny_model
from tests.family import each_model, member, small_member
from tests.hlo import copies_in_loops
from tests.test_likelihood import all_images

KEY = jax.random.key(7)
METHODS = [m for m in sampling.METHODS if m != "auto"]
each_method = pytest.mark.parametrize(
    "method",
    [pytest.param(method, marks=pytest.mark.xdist_group(method)) for method in METHODS],
)
COUNT = 11
"""Images that most tests draw, so that they share their programs."""


def draw_images(model, method: sampling.Method, keys_B) -> jax.Array:
    way = drawing.Way(method, model.config.height, model.config.width)
    return drawing.draw_batch(model, way, keys_B, 1.0).images


def methods_of(model) -> list[sampling.Method]:
    possible = model.wavefront_lag is not None
    return [m for m in METHODS if possible or m != "wavefront"]


def assert_same_images(model, a, b, temperature: float = 1.0) -> None:
    """Equal, but for images that part where two levels tie within float rounding."""
    a, b = np.asarray(a), np.asarray(b)
    if model.config.distribution != "categorical" or some_conditions(model, 1):
        assert (a == b).all()
    for n in np.flatnonzero((a != b).any(axis=(1, 2, 3))):
        row, column, channel = np.argwhere(a[n] != b[n])[0]
        logits = model(a[n : n + 1])[0, row, column, channel]
        key = drawing.image_keys(KEY, jnp.array([n]))
        pixel = drawing.pixel_keys(key, jnp.array([row * a.shape[2] + column]))[0, 0]
        noise = jax.random.gumbel(jax.random.fold_in(pixel, channel), logits.shape)
        best = np.sort(logits + temperature * noise)
        assert best[-1] - best[-2] < 1e-4, f"image {n} differs without a tie"


@each_model
def test_all_methods_draw_the_same_images(name: str):
    model = member(name)
    given, c = some_conditions(model, 17), model.config
    for temperature in (1.0, 0.7):
        drawn = {
            method: pj.sample(
                model, KEY, 17, temperature=temperature, method=method, **given
            )
            for method in methods_of(model)
        }
        assert drawn["full"].shape == (17, c.height, c.width, c.channels)
        assert drawn["full"].dtype == jnp.int32
        assert len(np.unique(drawn["full"])) > c.levels // 2
        for images in drawn.values():
            assert_same_images(model, drawn["full"], images, temperature)


def test_auto_draws_the_same_images():
    model = member("book-wide")
    given = some_conditions(model, 17)
    auto, full = (
        pj.sample(model, KEY, 17, method=m, **given) for m in ("auto", "full")
    )
    assert_same_images(model, full, auto)


def assert_all_methods_draw_at(model, size: tuple[int, int]) -> None:
    """The same images at this size, with the log-probability that the model gives."""
    given = some_conditions(model, 5, size)
    drawn = [
        pj.sample(
            model,
            KEY,
            5,
            method=method,
            size=size,
            with_log_prob=True,
            **given,
        )
        for method in methods_of(model)
    ]
    for images, log_prob in drawn:
        assert images.shape == (5, *size, model.config.channels)
        assert_same_images(model, drawn[0][0], images)
        expected = pj.pixel_log_prob(model, images, **given)
        assert log_prob.dtype == jnp.float32
        np.testing.assert_allclose(log_prob, expected, rtol=2e-4, atol=1e-4)


@pytest.mark.slow
@each_model
def test_all_methods_draw_the_same_images_at_another_size(name: str):
    model = member(name)
    assert_all_methods_draw_at(model, (model.config.height + 2, model.config.width + 3))


@pytest.mark.parametrize(
    ("size", "gated"),
    [
        *(((1, 1), False), ((9, 2), False), ((3, 19), False), ((1, 7), True)),
        *slowly(((1, 7), False), ((1, 1), True), ((9, 2), True), ((3, 19), True)),
    ],
)
def test_every_size_can_be_drawn(size: tuple[int, int], gated: bool):
    """Smaller than a kernel, taller, and wider than a wavefront's rows can cover."""
    assert_all_methods_draw_at(tiny_model(gated=gated), size)


def test_log_probs_are_those_at_temperature_one():
    model = tiny_model()
    images, nats = pj.sample(model, KEY, 4, temperature=0.3, with_log_prob=True)
    alone = pj.sample(model, KEY, 4, temperature=0.3)
    assert_same_images(model, alone, images, 0.3)
    np.testing.assert_allclose(nats, pj.pixel_log_prob(model, images), atol=1e-4)


def test_a_larger_image_takes_no_larger_caches():
    model = tiny_model()
    small, tall = (model.init_caches(Spec(2, height, 8)).layers for height in (8, 800))
    assert jax.tree.map(jnp.shape, small) == jax.tree.map(jnp.shape, tall)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "other", "height", "width", "channels"),
    [
        (3, 7, 5, 11, 1),
        (7, 3, 6, 16, 1),
        (3, 5, 7, 5, 1),
        (7, 3, 4, 9, 3),
    ],
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
    keys_B = drawing.image_keys(KEY, jnp.arange(24))

    def draw(method):  # a new function each time: compiled anew, with the lag of now
        return jax.jit(lambda: draw_images(model, method, keys_B))()

    expected = draw("cached")
    lag = model.wavefront_lag
    assert lag is not None
    assert_same_images(model, expected, draw("wavefront"))
    monkeypatch.setattr(PixelCNN, "wavefront_lag", lag - 1)
    assert (draw("wavefront") != expected).any()


def test_a_wavefront_takes_few_steps():
    """76 steps instead of 256 for the book's network."""
    model = pj.build_model(pj.PixelCNNConfig(features=2, num_blocks=1))
    keys_B = drawing.image_keys(KEY, jnp.arange(1))
    draw = lambda: draw_images(model, "wavefront", keys_B)  # noqa: E731
    assert "length=76" in str(jax.make_jaxpr(draw)())


@pytest.mark.parametrize(
    ("height", "width", "lag"),
    [(4, 5, None), (1, 1, 1), (6, 5, 2), (4, 32, 4), (3, 9, 4), (9, 2, 3), (5, 1, 2)],
)
@pytest.mark.parametrize("known", [0, 1, 3])
def test_an_order_visits_every_position_in_its_turn_once(height, width, lag, known):
    first_row = min(known, height - 1)
    order = Order(height, width, lag, first_row)
    steps = np.full((height, width), -1)
    front_of = jax.jit(order.front)
    for step in range(order.num_steps):
        front, in_turn = front_of(step)
        assert len(front.rows_F) == order.front_size
        positions = set()
        for row, column, turn in zip(*front[:2], in_turn, strict=True):
            assert first_row <= row < height and 0 <= column < width
            if turn:
                positions.add((int(row), int(column)))
        for place in positions:
            assert steps[place] == -1
            steps[place] = step
    assert (steps[:first_row] == -1).all()
    assert (steps == order.step_of_positions())[first_row:].all()


@pytest.mark.parametrize("name", ["book", *slowly("pp", "snail")])
@pytest.mark.parametrize("number", [1, 2])
def test_images_do_not_depend_on_the_devices(name: str, number: int, monkeypatch):
    model = member(name)
    expected = pj.sample(model, KEY, 7, method="cached")
    available = jax.local_devices()[:number]
    monkeypatch.setattr(jax, "local_devices", lambda backend: available)
    images = pj.sample(model, KEY, 7, batch_size=3, method="cached")
    assert_same_images(model, expected, images)
    assert len(images.devices()) == 1  # ready for the model, wherever it was drawn


def test_auto_picks_the_wavefront_for_few_images_and_models_that_have_one():
    plain, gated = member("book"), member("gated")

    def chosen(model, images: int, platform: str, side: int = 16) -> str:
        way = drawing.Way("auto", side, side)
        return drawing.choose_method(model, way, images, platform)

    for platform, few in drawing.WAVEFRONT_IMAGES.items():
        assert chosen(plain, few.start - 1, platform) == "cached"
        assert chosen(plain, few.start, platform) == "wavefront"
        assert chosen(plain, few.stop - 1, platform) == "wavefront"
        assert chosen(plain, few.stop, platform) == "cached"
        assert chosen(gated, few.start, platform) == "cached"
    assert chosen(plain, 1, "another") == "cached"
    # Of large images it would hold too much.
    assert chosen(plain, 39, "gpu", 256) == "wavefront"
    assert chosen(plain, 40, "gpu", 256) == "cached"
    assert chosen(plain, 8, "cpu", 2048) == "wavefront"


def test_what_is_loaded_lies_on_the_default_device():
    second = jax.devices()[1]
    with jax.default_device(second):
        model = pj.load("digits")
        assert pj.sample(model, KEY, 1).devices() == {second}
        images = jnp.zeros((2, 16, 16, 1), jnp.int32)
        assert pj.log_prob(model, images).devices() == {second}


def test_a_model_that_lies_nowhere_computes_on_the_default_device():
    second, model = jax.devices()[1], pj.build_model(pj.PixelCNNConfig.tiny())
    assert device_of(nnx.state(model)) == jax.devices()[0]
    with jax.default_device(second):
        assert device_of(nnx.state(model)) == second
        assert jobs.Drawer(model).params.device == second
        assert pj.sample(model, KEY, 1).devices() == {second}
        assert pj.sample(model, KEY, 3).devices() == {second}


def test_a_default_device_of_one_process_is_not_that_of_all(monkeypatch):
    with jax.default_device(jax.devices()[1]):
        assert all_devices() == [jax.devices()[1]]
        monkeypatch.setattr(jax, "process_count", lambda: 2)
        assert all_devices() == jax.devices()


def test_devices_that_are_a_part_of_all_make_a_mesh(monkeypatch):
    """Of a TPU, `jax.make_mesh` takes boxes of chips only."""
    monkeypatch.setattr(jax, "make_mesh", None)
    assert data_mesh(jax.devices()[1:]).devices.tolist() == jax.devices()[1:]


def test_the_default_device_may_be_a_platform_by_name():
    model = member("book")
    expected = pj.sample(model, KEY, 2)
    with jax.default_device("cpu"):
        assert_same_images(
            model, expected, pj.sample(model, KEY, 2, method="wavefront")
        )


def test_labels_decide_what_is_drawn():
    model = tiny_model(num_classes=3)
    zeros, ones = (pj.sample(model, KEY, 9, labels=np.full(9, k)) for k in (0, 1))
    assert (zeros != ones).any()
    mixed = pj.sample(model, KEY, 9, labels=np.arange(9) % 2)
    assert (mixed[::2] == zeros[::2]).all() and (mixed[1::2] == ones[1::2]).all()


def frequencies(model, count: int, method: sampling.Method) -> np.ndarray:
    """How often each image of `all_images` is drawn, of the first class if any."""
    given = same_conditions(model, count)
    images = np.asarray(pj.sample(model, KEY, count, method=method, **given))
    dims = images[0].size
    code = images.reshape(count, dims) @ 2 ** np.arange(dims)[::-1]
    return np.bincount(code, minlength=2**dims)


def assert_has_the_law(model, method: sampling.Method) -> None:
    every, count = all_images(model), 20_000
    given = same_conditions(model, len(every))
    expected = np.exp(np.asarray(pj.log_prob(model, every, **given), np.float64))
    observed = frequencies(model, count, method)
    _, p = stats.chisquare(observed, expected / expected.sum() * count)
    assert p > 0.001


@each_method
def test_frequencies_of_all_tiny_images_are_the_models(method: sampling.Method):
    assert_has_the_law(tiny_model(height=2, width=2, levels=2), method)


@each_model
def test_every_member_samples_its_own_law(name: str):
    assert_has_the_law(small_member(name), "cached")


@each_method
@pytest.mark.parametrize("batch_size", [4, *slowly(1, 11, 50)])
def test_images_do_not_depend_on_the_batch_size(
    method: sampling.Method, batch_size: int
):
    model = tiny_model()
    expected = pj.sample(model, KEY, COUNT, method=method)
    images = pj.sample(model, KEY, COUNT, method=method, batch_size=batch_size)
    assert_same_images(model, expected, images)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pp-odd", "pp-mixture", "snail-odd"])
def test_no_models_images_depend_on_the_batch_size(name: str):
    model = member(name)
    given = some_conditions(model, COUNT)
    expected = pj.sample(model, KEY, COUNT, method="cached", **given)
    images = pj.sample(model, KEY, COUNT, method="cached", batch_size=4, **given)
    assert_same_images(model, expected, images)


@each_method
def test_more_images_begin_with_the_same_ones(method: sampling.Method):
    model = tiny_model()
    few = pj.sample(model, KEY, 3, method=method)
    many = pj.sample(model, KEY, COUNT, method=method)
    assert_same_images(model, few, many[:3])


@each_method
def test_calls_agree_and_do_not_trace_again(method: sampling.Method, monkeypatch):
    model = tiny_model()
    first = pj.sample(model, KEY, COUNT, method=method)
    traces = jobs.run._cache_size()
    again = pj.sample(model, KEY, COUNT, method=method)
    pj.sample(model, jax.random.key(1), COUNT, method=method, temperature=0.5)
    pj.sample(tiny_model(seed=1), KEY, COUNT, method=method)
    assert (first == again).all()
    assert jobs.run._cache_size() == traces


def test_other_keys_draw_other_images():
    model = tiny_model()
    a, b = (pj.sample(model, jax.random.key(seed), 4) for seed in (0, 1))
    assert (a != b).any()
    assert (a[0] != a[1]).any()


@each_method
def test_temperature_zero_takes_the_likeliest_level(method: sampling.Method):
    model = tiny_model()
    images = pj.sample(model, KEY, COUNT, temperature=0, method=method)
    assert (images == np.argmax(jax.jit(model)(images), -1)).all()
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


@each_method
def test_works_inside_jit(method: sampling.Method):
    model = tiny_model()
    graph, params = nnx.split(model)

    @jax.jit
    def draw(params, key, temperature):
        model = nnx.merge(graph, params)
        return pj.sample(model, key, COUNT, temperature=temperature, method=method)

    expected = pj.sample(model, KEY, COUNT, temperature=0.8, method=method)
    assert_same_images(model, draw(params, KEY, 0.8), expected)


def test_works_inside_jit_with_nothing_passed_in():
    model = tiny_model()
    expected = pj.sample(model, KEY, 4)
    drawn = jax.jit(lambda shift: pj.sample(model, KEY, 4) + shift)(0)
    assert_same_images(model, drawn, expected)
    assert (pj.sample(model, KEY, 4) == expected).all()  # nothing traced was kept


def test_old_keys_are_keys_too():
    model = tiny_model()
    drawn = pj.sample(model, jax.random.PRNGKey(7), 4)
    assert (drawn == pj.sample(model, KEY, 4)).all()


def test_a_sampler_puts_its_weights_on_the_devices_once():
    model = nnx.clone(tiny_model())
    sampler = pj.Sampler(model)
    first = sampler(KEY, 4)
    placement = sampler._drawer.params
    mesh = placement.mesh(4)
    placed = placement.on(mesh)
    assert placement.on(mesh) is placed
    assert len(jax.tree.leaves(placed)[0].devices()) == 2
    model.last.bias[...] = model.last.bias[...].at[0].set(50.0)
    assert (sampler(KEY, 4) == first).all()  # its own weights
    assert (pj.sample(model, KEY, 4) == 0).all() and (first != 0).any()


@pytest.mark.parametrize("number", [1, 2])
def test_later_changes_of_a_model_reach_nothing_made_of_it(number: int, monkeypatch):
    """However the devices' number makes the weights be copied, or not."""
    available = jax.local_devices()[:number]
    monkeypatch.setattr(jax, "local_devices", lambda backend: available)
    model = nnx.clone(tiny_model())
    sampler, stepper = pj.Sampler(model), pj.Stepper(model, 4)
    begun = stepper.begin()
    images, (law, _) = sampler(KEY, 4), stepper.next(begun)
    stream = pj.stream(model, KEY, 8, batch_size=4)
    first = next(stream)
    bias = model.last.bias
    bias[...] = bias[...].at[0].set(50.0)
    nnx.update(model, jax.tree.map(lambda x: x * 2, nnx.state(model)))
    assert (sampler(KEY, 4) == images).all()
    assert (stepper.next(begun)[0] == law).all()
    assert (np.concatenate([first, *stream]) == sampler(KEY, 8)).all()
    assert (pj.sample(model, KEY, 4) == 0).all() and (images != 0).any()


def test_a_loaded_model_goes_where_the_images_lie():
    model, mesh = pj.load("digits"), data_mesh(jax.devices())
    images = np.random.default_rng(0).integers(0, 4, (4, 16, 16, 1))
    expected = pj.log_prob(model, images)
    spread = jax.NamedSharding(mesh, jax.P(*mesh.axis_names))
    for place in (spread, jax.devices()[1]):
        found = pj.log_prob(model, jax.device_put(images, place))
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_two_models_in_two_threads_keep_their_weights():
    models = [tiny_model(seed=seed) for seed in (0, 1)]
    expected = [np.asarray(pj.sample(model, KEY, 4)) for model in models]
    wrong = []

    def draw(model, images):
        for _ in range(40):
            if (np.asarray(pj.sample(model, KEY, 4)) != images).any():
                wrong.append(model)

    pairs = zip(models, expected, strict=True)
    threads = [threading.Thread(target=draw, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_keys_of_other_implementations_keep_the_promise(implementation: str):
    model = tiny_model()
    key = jax.random.key(3, impl=implementation)
    expected = pj.sample(model, key, COUNT, method="full")
    for batch_size in (4, None):
        images = pj.sample(model, key, COUNT, method="cached", batch_size=batch_size)
        assert_same_images(model, expected, images)
    other = jax.random.key(4, impl=implementation)
    other = pj.sample(model, other, COUNT, method="full")
    assert (other != expected).any()
    assert keys.as_threefry(key) != keys.as_threefry(jax.random.key(3))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["cached", "full", "wavefront"])
def test_works_without_jit(method: sampling.Method):
    model = tiny_model(height=2, width=2, num_blocks=1)
    expected = pj.sample(model, KEY, 2, method=method)
    with jax.disable_jit():
        keys_B = drawing.image_keys(KEY, jnp.arange(2))
        drawn = draw_images(model, method, keys_B)
    assert_same_images(model, expected, drawn)


@each_method
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


@each_model
def test_the_compiled_loop_copies_no_cache(name: str):
    model = member(name)
    graph, params = split(model)
    conditions, c = Conditions(**some_conditions(model, 6)), model.config
    for method in methods_of(model)[1:]:
        job = jobs.Job(6, 1, 6, drawing.Way(method, c.height, c.width))
        arguments = (
            graph,
            job,
            None,
            params,
            KEY,
            1.0,
            drawing.Given(conditions),
            0,
        )
        text = jobs.run.lower(*arguments).compile().as_text()
        lag = model.wavefront_lag if method == "wavefront" else None
        order = Order(c.height, c.width, lag)
        spec = Spec(6, c.height, c.width, order.front_size)
        caches = jax.tree.leaves(model.init_caches(spec, conditions).layers)
        rings = [cache.shape for cache in caches if cache.ndim >= 4]
        assert text.count("while(") >= 1
        assert copies_in_loops(text, rings) == [], method


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_images=0), "num_images must be an integer of at least 1.*, got 0"),
        (dict(num_images=2.0), "got 2.0"),
        (dict(num_images=True), "got True"),
        (dict(num_images=2**31), "below 2\\*\\*31, got 2147483648"),
        (dict(num_images=2, temperature=[1.0]), r"got \[1.0\]"),
        (dict(num_images=2, temperature=np.ones(4)), "must be a number"),
        (
            dict(num_images=2, batch_size=0),
            "batch_size must be an integer of at least 1.*got 0",
        ),
        (dict(num_images=2, temperature=-1.0), "at least 0, got -1.0"),
        (dict(num_images=2, temperature=float("nan")), "got nan"),
        (dict(num_images=2, temperature=float("inf")), "got inf"),
        (dict(num_images=2, size=16), "size must be .height, width.*, got 16"),
        (dict(num_images=2, size=(0, 3)), r"got \(0, 3\)"),
        (dict(num_images=2, size=(3.0, 3)), r"got \(3.0, 3\)"),
        (dict(num_images=2, size=(3, 2**20)), "from 1 to 32767"),
        (dict(num_images=2, method="fast"), "one of auto, full, cached.*, got fast"),
        (dict(num_images=2, labels=np.zeros(2, int)), "left out for a model without"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.sample(tiny_model(), KEY, **arguments)


@pytest.mark.parametrize("key", [0, None, np.zeros((3, 2), np.uint32)])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(pj.UserError, match="must be one key of jax.random.key, got"):
        pj.sample(tiny_model(), key, 2)
    with pytest.raises(pj.UserError, match="must be one key"):
        pj.sample(tiny_model(), jax.random.split(KEY, 2), 2)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (None, "must be given for a model of 3 classes"),
        (np.zeros(3, int), r"integers \[2\], one for each image, got int64 \[3\]"),
        (np.zeros(2), "got float64"),
        ([0, 1], "must be an array, got list"),
        (np.array([0, 3]), "must lie in 0 to 2, got 0 to 3"),
        (jnp.array([-1, 0]), "must lie in 0 to 2, got -1 to 0"),
    ],
)
def test_wrong_labels_are_refused(labels, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.sample(tiny_model(num_classes=3), KEY, 2, labels=labels)


def test_a_wavefront_of_a_gated_model_is_refused():
    with pytest.raises(pj.UserError, match="got a GatedPixelCNN; use cached"):
        pj.sample(tiny_model(gated=True), KEY, 2, method="wavefront")

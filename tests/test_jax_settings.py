"""Settings of JAX that people use change no more than they say."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import AxisType

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.likelihood import evaluate
from tests.conftest import random_images, slowly, some_conditions, tiny_model
from tests.family import member

SETTINGS = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_default_prng_impl": "rbg",
    "jax_debug_nans": True,
}


@contextlib.contextmanager
def jax_set(name: str) -> Iterator[None]:
    former = getattr(jax.config, name)
    jax.config.update(name, SETTINGS[name])
    try:
        yield
    finally:
        jax.config.update(name, former)


@pytest.fixture(params=sorted(SETTINGS))
def setting(request) -> Iterator[None]:
    with jax_set(request.param):
        yield


MEMBERS = ["gated-mixture", "snail", *slowly("book-wide", "book-colour", "pp-odd")]


@pytest.mark.parametrize("name", MEMBERS)
def test_programs_are_of_one_type_under_each_setting(name: str, setting):
    """Traced only: what does not fit together is found before anything compiles."""
    model = member(name)
    images, given = random_images(model, 2), some_conditions(model, 2)
    known = np.arange(images[0, ..., 0].size).reshape(images.shape[1:3]) < 4

    def program(key: jax.Array) -> tuple[jax.Array, ...]:
        drawn = pj.sample(model, key, 2, method="cached", **given)
        whole = pj.sample(model, key, 2, method="full", **given)
        filled = pj.complete(model, key, images, known, method="cached", **given)
        stepper = pj.Stepper(model, 2, **given)
        law, state = stepper.next(stepper.begin())
        law += stepper.next(stepper.push(state, images[:, 0, 0, 0]))[0]
        return drawn, whole, filled, law, pj.log_prob(model, images, **given)

    *drawn, law, nats = jax.eval_shape(program, jax.random.key(0))
    assert {x.dtype for x in drawn} == {jnp.dtype("int32")}
    assert law.dtype == nats.dtype == "float32"


@pytest.mark.parametrize("name", ["gated-mixture", *slowly("book-wide", "snail")])
def test_types_of_64_bits_draw_the_same_images(name: str):
    model, key = member(name), jax.random.key(3)
    given = some_conditions(model, 3)
    expected = pj.sample(model, key, 3, **given)
    with jax_set("jax_enable_x64"):
        found = pj.sample(model, key, 3, **given)
    assert found.dtype == "int32" and (found == expected).all()


@pytest.mark.parametrize("kind", [AxisType.Auto, *slowly(AxisType.Explicit)])
def test_a_mesh_of_the_callers_changes_no_image(kind: AxisType):
    model, key = tiny_model(), jax.random.key(3)
    expected = np.asarray(pj.sample(model, key, 4))
    nats = evaluate(model, expected).nats
    with jax.set_mesh(jax.make_mesh((2,), ("x",), axis_types=(kind,))):
        assert (np.asarray(pj.sample(model, key, 4)) == expected).all()
        np.testing.assert_allclose(evaluate(model, expected).nats, nats, rtol=1e-6)


@pytest.mark.slow
def test_weights_may_be_transformed_without_jit():
    model, key = tiny_model(height=2, width=2), jax.random.key(3)
    graph, params = nnx.split(model)

    def nats(params: nnx.State) -> jax.Array:
        model = nnx.merge(graph, params)
        drawn = jax.lax.stop_gradient(pj.sample(model, key, 2))
        return pj.log_prob(model, drawn).sum()

    slopes = jax.tree.leaves(jax.grad(nats)(params))
    assert all(np.isfinite(x).all() for x in slopes) and any(x.any() for x in slopes)
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), params)
    drawn = jax.vmap(lambda p: pj.sample(nnx.merge(graph, p), key, 2))(twice)
    assert (drawn == pj.sample(model, key, 2)).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint64, np.int32])
def test_numbers_of_numpy_are_numbers(kind: type):
    model, key = tiny_model(), jax.random.key(3)
    size = (kind(3), kind(7))
    expected = pj.sample(model, key, 9, size=(3, 7))
    found = pj.sample(model, key, kind(9), batch_size=kind(4), size=size)
    assert (found == expected).all()
    parts = pj.stream(model, key, kind(9), batch_size=kind(4), start=kind(1), size=size)
    assert (np.concatenate(list(parts)) == expected[1:]).all()
    assert pj.Stepper(model, kind(2), size=size).num_values == 21


def test_codes_of_eight_bits_are_codes():
    model = tiny_model(condition_channels=1, condition_levels=128)
    images, codes = random_images(model, 2), np.full((2, 1, 1, 1), 127)
    expected = pj.log_prob(model, images, condition_map=codes)
    found = pj.log_prob(model, images, condition_map=codes.astype(np.int8))
    assert (found == expected).all()


def training_figures() -> list[tuple[float | None, ...]]:
    """All that an update can hold: a warm-up, both decays, clipping, a mean."""
    model = pj.PixelCNNConfig.tiny(height=2, width=3, num_classes=2, dropout=0.5)
    training = TrainingConfig(
        epochs=1,
        batch_size=4,
        schedule="cosine",
        warmup_steps=1,
        learning_rate_decay=0.99,
        weight_decay=0.01,
        clip_norm=1.0,
        ema_decay=0.9,
    )
    images = np.random.default_rng(0).integers(0, model.levels, (8, 2, 3, 1))
    given = ImageSet(images.astype(np.int32), np.arange(8) % 2)
    _, history = pj.fit(pj.Config(model=model, training=training), given, given)
    return [(row.train_bits_per_dim, row.validation_bits_per_dim) for row in history]


@pytest.mark.slow
def test_training_gives_the_same_under_each_setting():
    as_usual = training_figures()
    for name in SETTINGS:
        with jax_set(name):
            np.testing.assert_allclose(training_figures(), as_usual, rtol=1e-6)

"""Settings of JAX that people use change no more than they say."""

import contextlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.data import ImageSet
from tests.conftest import random_images, slowly, some_conditions
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


def test_training_gives_the_same_under_each_setting():
    as_usual = training_figures()
    for name in SETTINGS:
        with jax_set(name):
            np.testing.assert_allclose(training_figures(), as_usual, rtol=1e-6)

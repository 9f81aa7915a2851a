"""Settings of JAX that people use change no more than they say."""

import jax
import pytest

import pixelcnn_jax as pj
from tests.conftest import random_images, slowly, some_labels
from tests.family import member

SETTINGS = {
    "jax_enable_x64": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_default_prng_impl": "rbg",
}


@pytest.fixture(params=sorted(SETTINGS))
def setting(request):
    former = getattr(jax.config, request.param)
    jax.config.update(request.param, SETTINGS[request.param])
    yield
    jax.config.update(request.param, former)


@pytest.mark.parametrize("name", ["gated-mixture", "snail", *slowly("book-wide", "pp")])
def test_programs_are_of_one_type_under_each_setting(name: str, setting):
    """Traced only: what does not fit together is found before anything compiles."""
    model = member(name)
    images, labels = random_images(model, 2), some_labels(model, 2)

    def program(key: jax.Array) -> tuple[jax.Array, ...]:
        drawn = pj.sample(model, key, 2, labels=labels, method="cached")
        filled = pj.sample(model, key, 2, labels=labels, method="full")
        return drawn, filled, pj.log_prob(model, images, labels)

    drawn, filled, nats = jax.eval_shape(program, jax.random.key(0))
    assert drawn.dtype == filled.dtype == "int32" and nats.dtype == "float32"

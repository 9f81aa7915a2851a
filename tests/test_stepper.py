"""The chain of a stepper's conditionals is the model's law."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax import stepper as stepper_module
from pixelcnn_jax.stepper import StepperState
from tests.conftest import random_images, some_conditions, tiny_model
from tests.family import each_model, member


def values_of(images: np.ndarray) -> np.ndarray:
    """The values of a batch in raster order, ``[H * W * C, B]``."""
    return images.reshape(len(images), -1).T.astype(np.int32)


def chain(stepper: pj.Stepper, images: np.ndarray) -> tuple[jax.Array, StepperState]:
    """Log-probabilities of all levels of each value ``[T, B, V]``, by a scan."""

    def step(state: StepperState, values_B: jax.Array):
        log_probs_BV, state = stepper.next(state)
        return stepper.push(state, values_B), log_probs_BV

    state, log_probs = jax.lax.scan(step, stepper.begin(), values_of(images))
    return log_probs, state


def picked(log_probs, images) -> np.ndarray:
    """Those of the images' own values, ``[B, H, W, C]``."""
    values = values_of(images)
    own = np.take_along_axis(np.asarray(log_probs), values[..., None], -1)[..., 0]
    return own.T.reshape(images.shape)


@each_model
def test_the_chain_is_the_log_probability(name: str):
    model = member(name)
    images, given = random_images(model, 4), some_conditions(model, 4)
    graph, params = nnx.split(model)

    @jax.jit
    def run(params, images):
        return chain(pj.Stepper(nnx.merge(graph, params), 4, **given), images)

    log_probs, state = run(params, images)
    assert log_probs.shape == (images[0].size, 4, model.config.levels)
    np.testing.assert_allclose(np.exp(log_probs).sum(-1), 1, atol=1e-5)
    expected = pj.pixel_log_prob(model, images, **given)
    found = picked(log_probs, images).sum(-1)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-4)
    assert state.index == images[0].size


@pytest.mark.parametrize("gated", [False, True])
def test_another_size_and_steps_outside_of_jit(gated: bool):
    model = tiny_model(gated=gated, channels=2, features=8)
    images = np.random.default_rng(0).integers(0, 4, (2, 2, 3, 2))
    stepper = pj.Stepper(model, 2, size=(2, 3))
    state, log_probs = stepper.begin(), []
    step, push = jax.jit(stepper.next), jax.jit(stepper.push)
    for values_B in values_of(images):
        log_probs_BV, state = step(state)
        log_probs.append(log_probs_BV)
        state = push(state, values_B)
    assert len(log_probs) == stepper.num_values
    with pytest.raises(pj.UserError, match="one of 12 values pushed; begin again"):
        stepper.next(state)
    expected = pj.pixel_log_prob(model, images)
    found = picked(np.stack(log_probs), images).sum(-1)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("gated", [False, True])
def test_a_plain_loop_compiles_once(gated: bool):
    mixture = dict(distribution="logistic_mixture", num_mixtures=2) if gated else {}
    compiled: list[str] = []

    def listen(event: str, *_: object, **__: object) -> None:
        # Of every program, an operation outside of `jit` included.
        if "compile" in event:
            compiled.append(event)

    models = [tiny_model(x, gated=gated, channels=2, **mixture) for x in range(2)]
    numbers = []
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for model in models:
            # Of so many images no other test compiles it.
            stepper = pj.Stepper(model, 7)
            state = stepper.begin()
            for _ in range(2 * stepper.width * 2):
                log_probs, state = stepper.next(state)
                state = stepper.push(state, np.asarray(log_probs).argmax(-1))
                numbers.append(len(compiled))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert numbers[0] > 0 and numbers[0] == numbers[-1]


def test_what_was_checked_is_not_changed_later():
    model, labels = tiny_model(num_classes=3), np.array([0, 1])
    stepper, other = (pj.Stepper(model, 2, labels=x) for x in (labels, labels.copy()))
    labels[:] = 77
    law, expected = (x.next(x.begin())[0] for x in (stepper, other))
    assert (law == expected).all()


def test_values_are_copied_before_the_program_runs(monkeypatch):
    memory = np.zeros(80, np.uint8)
    # As aligned as JAX needs it to share an array's memory.
    values = memory[-memory.ctypes.data % 64 :][:8].view(np.int32)
    stepper = pj.Stepper(tiny_model(), 2)
    state = stepper.next(stepper.begin())[1]
    monkeypatch.setattr(stepper_module, "push_values", lambda *given: given[-1])
    pushed = stepper.push(state, values)
    values[:] = 1
    assert (pushed == 0).all()


def test_an_old_state_can_be_gone_back_to():
    model = tiny_model()
    stepper = pj.Stepper(model, 2)
    step, push = jax.jit(stepper.next), jax.jit(stepper.push)
    _, state = step(stepper.begin())
    one, other = (step(push(state, jnp.full(2, v)))[0] for v in (1, 3))
    assert (one != other).any()
    assert (one == step(push(state, jnp.full(2, 1)))[0]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(batch_size=0), "batch_size must be an integer of at least 1"),
        (dict(labels=np.zeros(2, int)), "left out for a model without"),
        (dict(size=(0, 1)), "size must be"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.Stepper(tiny_model(), **dict(batch_size=2) | arguments)


@pytest.mark.parametrize("values", [np.zeros(3, int), np.zeros(2), [0, 1], 1])
def test_wrong_values_are_refused(values):
    stepper = pj.Stepper(tiny_model(), 2)
    _, state = stepper.next(stepper.begin())
    rule = r"values must be (integers \[2\], one for|an array, got (list|int);)"
    with pytest.raises(pj.UserError, match=rule):
        stepper.push(state, values)

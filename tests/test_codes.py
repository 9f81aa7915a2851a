"""Codes, whose values have no order: learnt through vectors, and never too many."""

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import devices, likelihood, memory
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.likelihood import evaluate

CODES, SIDE, SUCCESSORS = 512, 8, 4


def process(count: int, seed: int) -> np.ndarray:
    """Rows that begin with any code; each other one is a successor of its left one."""
    after = np.random.default_rng(0).permuted(
        np.tile(np.arange(CODES), (SUCCESSORS, 1)), axis=1
    )
    rng = np.random.default_rng(seed)
    codes = rng.integers(CODES, size=(count, SIDE, SIDE, 1), dtype=np.uint16)
    which = rng.integers(SUCCESSORS, size=codes.shape)
    for column in range(1, SIDE):
        left = codes[:, :, column - 1]
        codes[:, :, column] = after[which[:, :, column], left]
    return codes


@pytest.mark.slow
def test_a_prior_over_codes_learns_the_entropy_of_a_known_process():
    config = pj.Config(
        model=pj.PixelCNNConfig(
            height=SIDE,
            width=SIDE,
            levels=CODES,
            features=48,
            num_blocks=0,
            first_kernel_size=3,
            pixel_input="embedding",
            embedding_features=32,
        ),
        training=TrainingConfig(
            epochs=4, batch_size=32, learning_rate=1e-2, schedule="cosine"
        ),
    )
    _, history = pj.fit(config, process(6144, 1), process(256, 2))
    # Of each row 9 bits, and then 2 for every code.
    entropy = (9 + 2 * (SIDE - 1)) / SIDE
    assert entropy < history[-1].validation_bits_per_dim < 1.02 * entropy


WIDE = pj.PixelCNNConfig.tiny(levels=16384, pixel_input="embedding")


ATTENTIVE = pj.PixelSNAILConfig.tiny(height=64, width=64)


def test_what_drawing_remembers_must_fit(monkeypatch):
    model = pj.build_model(pj.PixelSNAILConfig.tiny(height=31, width=31))
    # Keys and values of all pixels, at the least, and much more than the images.
    monkeypatch.setattr(memory, "memory_bytes", lambda: 10 * 8 * 31**2)
    shown = "what is remembered of 10 images drawn at a time must fit in memory"
    with pytest.raises(pj.UserError, match=f"{shown}.*; lower batch_size"):
        pj.sample(model, jax.random.key(0), 20, batch_size=10)
    with pytest.raises(pj.UserError, match="remembered of 19 images side by side"):
        pj.Stepper(model, 19).begin()


@pytest.mark.parametrize(
    ("config", "one"),
    # Bytes of an image: its logits; three times the pairs of its positions as well.
    [(WIDE, 4 * 30 * 16384), (ATTENTIVE, 4 * (4 * 64**2 + 3 * 64**4))],
)
def test_what_cannot_fit_is_refused_before_it_begins(config, one: int, monkeypatch):
    model = pj.build_model(config)
    images = np.zeros((40, config.height, config.width, 1), np.uint16)
    assert model.image_pass_bytes(1, config.height, config.width) == one
    monkeypatch.setattr(memory, "memory_bytes", lambda: 20 * one)
    few = TrainingConfig(batch_size=40, microbatch_size=40 // jax.device_count())
    with monkeypatch.context() as patch:
        patch.setattr("pixelcnn_jax.training.loop.Trainer", None)  # not reached
        with pytest.raises(pj.UserError, match="lower training.microbatch_size, or"):
            pj.fit(pj.Config(model=config, training=few), images)
    shown = f"over 40 images must fit in memory, {20 * one / 2**30:.3g} GiB, and"
    with pytest.raises(pj.UserError, match=shown):
        pj.log_prob(model, images)
    with pytest.raises(pj.UserError, match="; lower batch_size"):
        evaluate(model, images)


def test_what_counts_is_a_devices_own_memory_and_its_share(monkeypatch):
    model = pj.build_model(WIDE)
    one = model.image_pass_bytes(1, WIDE.height, WIDE.width)
    images = np.zeros((4, WIDE.height, WIDE.width, 1), np.uint16)
    room = memory.Room(sharers=1, there=2 * one)  # as of each of two GPUs
    monkeypatch.setattr(likelihood, "room_of", lambda device, together=1: room)
    assert np.isfinite(evaluate(model, images).bits_per_dim)  # two on each
    with pytest.raises(pj.UserError, match="over 4 images must fit in memory"):
        pj.log_prob(model, images)  # on one
    spread = jax.device_put(images, devices.spread(devices.data_mesh(jax.devices())))
    assert np.isfinite(pj.log_prob(model, spread)).all()  # by the caller
    everywhere = devices.replicated(devices.data_mesh(jax.devices()))
    with pytest.raises(pj.UserError, match="over 4 images must fit in memory"):
        pj.log_prob(model, jax.device_put(images, everywhere))
    with pytest.raises(pj.UserError, match="over 4 images must fit in memory"):
        jax.jit(pj.log_prob, static_argnums=0)(model, images)
    with pytest.raises(pj.UserError, match="over 3 images .*; lower batch_size"):
        evaluate(model, np.zeros((6, *images.shape[1:]), np.uint16))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(pixel_input="vector"), "pixel_input must be one of value, embedding"),
        (dict(embedding_features=0), "embedding_features must be at least 1, got 0"),
    ],
)
def test_wrong_settings_are_refused(fields: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.PixelCNNConfig(**fields)

"""Training maximises the likelihood, and an interrupted run loses nothing."""

import dataclasses
import functools
import math
import os
import re
import shutil
import signal
import threading
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tensorboardX.proto.event_pb2 import Event

import pixelcnn_jax as pj
from pixelcnn_jax import data, keys, pictures
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.params import from_params, to_params
from pixelcnn_jax.runs import Run, tables
from pixelcnn_jax.runs.checkpoints import Checkpoints
from pixelcnn_jax.training import (
    Trainer,
    TrainState,
    feed,
    keeping,
    loop,
    reports,
    update,
)
from pixelcnn_jax.training.feed import Batches, Resident, SentAhead
from pixelcnn_jax.training.optimizer import learning_rate, make_optimizer
from pixelcnn_jax.training.randomness import Randomness
from pixelcnn_jax.training.update import Updates
from tests.conftest import (
    random_images,
    slowly,
    some_conditions,
    tiny_model,
    with_training,
)

# One worker, which trains once what several tests need.
pytestmark = pytest.mark.xdist_group("training")


def arrays(state: TrainState) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def make_tiny_config(workdir: Path) -> pj.Config:
    """A run on the digits that takes seconds."""
    return pj.Config(
        workdir=str(workdir),
        model=pj.PixelCNNConfig.tiny(height=5, width=6),
        data=DataConfig(validation_images=1300),
        training=TrainingConfig(epochs=2, batch_size=48, learning_rate=3e-3),
    )


@pytest.fixture
def tiny_config(tmp_path: Path) -> pj.Config:
    return make_tiny_config(tmp_path / "run")


def make_trainer(
    model,
    config: TrainingConfig,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    devices: Sequence[object] | None = None,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
    **options,
) -> Trainer:
    images = data.ImageSet(images, labels, False, condition, condition_map)
    return Trainer(model, config, images, devices=devices, **options)


def run_epoch(trainer: Trainer, state: TrainState, epoch: int = 0) -> TrainState:
    state, made = trainer.run(state, epoch, 0, trainer.batches)
    assert made == trainer.batches
    return state


def test_an_update_is_adam_on_the_mean_cross_entropy():
    """Against the plain definition: one batch, one device, no microbatches."""
    model = tiny_model()
    images = random_images(model, 8)
    config = TrainingConfig(batch_size=8, learning_rate=1e-3)
    trainer = make_trainer(model, config, images)
    state = run_epoch(trainer, trainer.init())

    graph, params = to_params(model)

    def cross_entropy(params):
        logits = from_params(graph, params)(jnp.asarray(images))
        labels = jnp.asarray(images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    loss, gradients = jax.jit(jax.value_and_grad(cross_entropy))(params)
    adam = optax.adam(1e-3, eps=1e-7)
    updates, _ = adam.update(gradients, adam.init(params), params)
    for name, expected in optax.apply_updates(params, updates).items():
        # Adam's first step is lr * sign(g) almost everywhere: compare gradients' size.
        np.testing.assert_allclose(state.params[name], expected, atol=2e-5)
    assert int(state.step) == 1
    assert float(state.epoch_nats) == pytest.approx(float(loss) * images.size, rel=1e-5)


def test_gradients_are_right_of_more_dimensions_than_int32_counts(monkeypatch):
    """As of a batch of 4,096 images of 512 x 512 in colour."""
    model, moments = tiny_model(), []
    for factor in (1, 2**28):
        larger = SimpleNamespace(prod=lambda x, by=factor: by * math.prod(x))
        monkeypatch.setattr(update, "math", larger)
        config = TrainingConfig(batch_size=4)
        trainer = make_trainer(model, config, random_images(model, 4))
        moments.append(run_epoch(trainer, trainer.init()).opt_state[0].mu)
    for expected, found in zip(*(x.values() for x in moments), strict=True):
        np.testing.assert_allclose(2**28 * found, expected, rtol=1e-5)


@functools.cache
def moments_and_nats(
    microbatch: int | None, devices: int
) -> tuple[dict[str, np.ndarray], float]:
    """Adam's first moments after an epoch, whose nats they are."""
    model = tiny_model()
    images = random_images(model, 11)  # the last batch is ragged
    config = TrainingConfig(
        batch_size=8, learning_rate=1e-3, microbatch_size=microbatch
    )
    trainer = make_trainer(model, config, images, devices=jax.devices()[:devices])
    state = run_epoch(trainer, trainer.init())
    moments = state.opt_state[0].mu
    return jax.tree.map(np.asarray, moments), float(state.epoch_nats)


@pytest.mark.parametrize(("microbatch", "devices"), [(1, 1), (3, 2), (8, 2), (None, 2)])
def test_gradients_do_not_depend_on_microbatches_or_devices(microbatch, devices):
    expected, nats = moments_and_nats(8, 1)
    split, split_nats = moments_and_nats(microbatch, devices)
    assert split_nats == pytest.approx(nats, rel=1e-5)
    for name in expected:
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(split[name], expected[name], atol=1e-4 * scale)


def test_updates_per_call_change_no_bit():
    model = tiny_model()
    images = random_images(model, 24)
    trainer = make_trainer(model, TrainingConfig(batch_size=4), images)
    at_once, _ = trainer.run(trainer.init(), 0, 0, 6)
    apart = trainer.init()
    for start, count in ((0, 1), (1, 3), (4, 2)):
        apart, made = trainer.run(apart, 0, start, count)
        assert made == count
    for a, b in zip(arrays(at_once), arrays(apart), strict=True):
        assert (a == b).all()


def test_padding_of_a_batch_has_no_weight():
    """Five images in batches of four: the second update sees only one image."""
    model = tiny_model()
    images = random_images(model, 5)
    trainer = make_trainer(model, TrainingConfig(batch_size=4), images)
    state, _ = trainer.run(trainer.init(), 0, 1, 1)
    last = data.batch_order(0, 0, 5, 4)[1, 0]
    expected = -float(pj.log_prob(model, images[last : last + 1]).sum())
    assert float(state.epoch_nats) == pytest.approx(expected, rel=1e-5)


def test_a_model_with_classes_trains_without_validation():
    images = np.random.default_rng(0).integers(0, 4, (8, 6, 5, 1), dtype=np.uint8)
    config = pj.Config(
        model=pj.PixelCNNConfig.tiny(num_classes=2),
        training=TrainingConfig(epochs=1, batch_size=8),
    )
    found = pj.fit(config, images, labels=np.arange(8) % 2)
    assert [row.validation_bits_per_dim for row in found.history] == [None]


def test_a_model_learns():
    model = pj.build_model(pj.PixelCNNConfig.tiny())
    images = np.full((32, 6, 5, 1), 2)
    images[::2] = 1
    trainer = make_trainer(
        model, TrainingConfig(batch_size=16, learning_rate=1e-2, epochs=150), images
    )
    state = trainer.init()
    for epoch in range(150):
        state = run_epoch(trainer, state._replace(epoch_nats=jnp.float32(0)), epoch)
    bits = float(pj.bits_per_dim(trainer.model(state), images).mean())
    # Only the first pixel is uncertain: one bit for 30 pixels.
    assert 1 / 30 < bits < 1 / 30 + 0.02


def test_one_call_of_updates_is_under_way_at_a_time(monkeypatch):
    """Of several hundred, XLA's CPU devices miss each other and end the process."""
    model = pj.build_model(pj.PixelCNNConfig.tiny())
    images = np.zeros((640, 6, 5, 1), np.uint8)
    trainer = make_trainer(model, TrainingConfig(batch_size=16), images)
    assert len(jax.devices()) == 2
    ready, updates = [], trainer._updates

    def seen(state: TrainState, batches: Batches) -> TrainState:
        ready.append(all(leaf.is_ready() for leaf in jax.tree.leaves(state)))
        return updates(state, batches)

    monkeypatch.setattr(trainer, "_updates", seen)
    state = trainer.init()
    for epoch in range(4):
        state = run_epoch(trainer, state, epoch)
    # The first finds a fresh state, which may still be on its way to the devices.
    assert ready[1:] == [True] * 3


def test_learning_rate_follows_its_schedule():
    config = TrainingConfig(epochs=4, batch_size=5, learning_rate=0.1)
    constant = learning_rate(config, 8)
    assert [float(constant(step)) for step in (0, 8)] == pytest.approx([0.1, 0.1])
    cosine = learning_rate(dataclasses.replace(config, schedule="cosine"), 8)
    rates = [float(cosine(step)) for step in (0, 2, 4, 8)]
    assert rates == pytest.approx([0.1, 0.05 * (1 + 0.5**0.5), 0.05, 0.0])
    warm = dataclasses.replace(config, schedule="cosine", warmup_steps=4)
    rates = [float(learning_rate(warm, 8)(step)) for step in (0, 1, 3, 4, 6, 8)]
    assert rates == pytest.approx([0.0, 0.025, 0.075, 0.1, 0.05, 0.0])


def test_the_learning_rate_decays_by_its_factor_per_update():
    config = TrainingConfig(learning_rate=0.1, learning_rate_decay=0.999995)
    rates = [float(learning_rate(config, 8)(step)) for step in (0, 1, 200_000)]
    assert rates == pytest.approx([0.1, 0.1 * 0.999995, 0.1 * 0.999995**200_000])
    both = dataclasses.replace(config, schedule="cosine", learning_rate_decay=0.5)
    assert float(learning_rate(both, 8)(4)) == pytest.approx(0.05 * 0.5**4)


def test_adams_decays_are_those_of_the_config():
    optimizer = make_optimizer(TrainingConfig(beta1=0.75, beta2=0.5), 1)
    params = {"kernel": jnp.zeros(2)}
    _, state = optimizer.update(
        {"kernel": jnp.full(2, 2.0)}, optimizer.init(params), params
    )
    mean, square = (optax.tree_utils.tree_get(state, x) for x in ("mu", "nu"))
    assert mean["kernel"].tolist() == [0.5, 0.5]
    assert square["kernel"].tolist() == [2.0, 2.0]


def test_weight_decay_leaves_biases_alone():
    params = {"a.kernel": jnp.full(3, 2.0), "a.bias": jnp.full(3, 2.0)}
    config = TrainingConfig(weight_decay=0.1, learning_rate=0.5)
    optimizer = make_optimizer(config, 1)
    still = jax.tree.map(jnp.zeros_like, params)
    updates, _ = optimizer.update(still, optimizer.init(params), params)
    assert updates["a.kernel"].tolist() == pytest.approx([-0.1] * 3)
    assert updates["a.bias"].tolist() == [0, 0, 0]


def test_long_gradients_are_clipped_and_short_ones_are_not():
    config = TrainingConfig(clip_norm=1.0)
    optimizer = make_optimizer(config, 1)
    params = {"kernel": jnp.zeros(2)}
    for norm, kept in ((0.5, 0.5), (20.0, 1.0)):
        gradient = {"kernel": norm * jnp.array([0.6, 0.8])}
        _, state = optimizer.update(gradient, optimizer.init(params), params)
        mean = optax.tree_utils.tree_get(state, "mu")["kernel"] / 0.1  # 1 - b1
        np.testing.assert_allclose(mean, kept * np.array([0.6, 0.8]), rtol=1e-5)


def test_the_running_mean_has_its_closed_form():
    model = tiny_model()
    images = random_images(model, 12)
    config = TrainingConfig(batch_size=4, ema_decay=0.25, learning_rate=1e-2)
    trainer = make_trainer(model, config, images)
    state = trainer.init()
    weights = [jax.tree.map(np.asarray, state.params)]
    for step in range(3):
        state, _ = trainer.run(state, 0, step, 1)
        weights.append(jax.tree.map(np.asarray, state.params))
    # Decays 1/10, 2/11, 3/12 of the warm-up, of which 3/12 is the decay asked for.
    shares = [0.1, 2 / 11, 0.25]
    for name, mean in state.ema_params.items():
        expected = weights[0][name]
        for share, new in zip(shares, weights[1:], strict=True):
            expected = share * expected + (1 - share) * new[name]
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert trainer.model(state).last.bias[...].tolist() == pytest.approx(
        state.ema_params["last.bias"].tolist()
    )


@pytest.mark.slow
def test_images_sent_ahead_give_the_bits_of_resident_ones(monkeypatch):
    model = tiny_model(
        num_classes=3, condition_features=2, condition_channels=1, dropout=0.3
    )
    images, given = random_images(model, 23), some_conditions(model, 23)
    config = TrainingConfig(batch_size=4, microbatch_size=1)
    ends = []
    one = sum(values[0].nbytes for values in (images, *given.values()))
    monkeypatch.setattr(feed, "SENT_BYTES", 2 * 4 * one)
    for kind in (Resident, SentAhead):
        trainer = make_trainer(model, config, images, feed=kind, **given)
        state, start = trainer.init(), 0
        while start < trainer.batches:
            # Two are sent at a time.
            asked = 1 + (start == 2)
            state, made = trainer.run(state, 0, start, asked)
            assert made == asked
            start += made
        ends.append(arrays(state))
    for a, b in zip(*ends, strict=True):
        assert (a == b).all()


@pytest.mark.slow
def test_dropout_does_not_depend_on_microbatches_or_devices():
    model = tiny_model(dropout=0.4)
    images = random_images(model, 8)
    found = []
    for microbatch, devices in ((8, 1), (1, 2)):
        config = TrainingConfig(batch_size=8, microbatch_size=microbatch)
        trainer = make_trainer(model, config, images, devices=jax.devices()[:devices])
        found.append(float(run_epoch(trainer, trainer.init()).epoch_nats))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    without = -float(pj.log_prob(model, images).sum())
    assert abs(found[0] - without) > 1e-2
    other = make_trainer(model, config, images, seed=1)
    assert float(run_epoch(other, other.init()).epoch_nats) != found[1]


def test_every_step_drops_other_features():
    model = tiny_model(dropout=0.4)
    config = TrainingConfig(batch_size=4, learning_rate=1e-30)
    trainer = make_trainer(model, config, random_images(model, 4))
    state, totals = trainer.init(), [0.0]
    for _ in range(2):
        state = run_epoch(trainer, state)
        totals.append(float(state.epoch_nats))
    assert abs((totals[2] - totals[1]) - (totals[1] - totals[0])) > 1e-3


def test_dynamic_binarisation_draws_each_visit_anew():
    brightness = np.full((400, 6, 5, 1), 64, np.uint8)
    index = jnp.arange(400)
    draw = Randomness(0, dropout=False, brightness=True).levels
    first, second = (draw(brightness, jnp.int32(step), index) for step in (0, 1))
    assert set(np.unique(first).tolist()) == {0, 1} and (first != second).any()
    assert (first[0] != first[1]).any()
    assert float(first.mean()) == pytest.approx(64 / 255, abs=0.01)
    for value in (0, 255):  # black and white stay what they are
        drawn = draw(np.full_like(brightness, value), jnp.int32(0), index)
        assert (np.asarray(drawn) == value // 255).all()


def test_a_mutation_replaces_its_share_by_any_level():
    images = np.full((400, 6, 5, 1), 3, np.uint8)
    index = jnp.arange(400)
    draw = Randomness(0, False, False, mutation=0.4, num_levels=4).levels
    first, second = (draw(images, jnp.int32(step), index) for step in (0, 1))
    assert (first != second).any() and (first[0] != first[1]).any()
    shares = [float((first == level).mean()) for level in range(4)]
    assert shares == pytest.approx([0.1, 0.1, 0.1, 0.7], abs=0.01)
    nothing = Randomness(0, False, False, mutation=0.0, num_levels=4).levels
    assert nothing(images, jnp.int32(0), index) is images


def test_training_learns_from_the_levels_drawn():
    """Binarised, then mutated."""
    model = tiny_model(levels=2)
    images = np.full((8, 6, 5, 1), 64, np.uint8)
    bright = data.ImageSet(images, brightness=True)
    config = TrainingConfig(batch_size=8, mutation=0.3)
    trainer = Trainer(model, config, bright, seed=5)
    found = float(run_epoch(trainer, trainer.init()).epoch_nats)
    randomness = Randomness(5, dropout=False, brightness=True, mutation=0.3)
    levels = randomness.levels(images, jnp.int32(0), jnp.arange(8))
    expected = -float(pj.log_prob(model, levels).sum())
    assert found == pytest.approx(expected, rel=1e-5)
    drawn = randomness._replace(mutation=0.0).levels(
        images, jnp.int32(0), jnp.arange(8)
    )
    assert 0.05 < float((levels != drawn).mean()) < 0.25


def test_dropout_binarisation_and_mutation_share_no_noise():
    randomness, at = Randomness(0, True, True), (jnp.int32(3), jnp.arange(5))
    drawn = [
        jax.random.key_data(key).tolist()
        for purpose in ("DROPOUT", "BINARISATION", "MUTATION")
        for key in randomness.keys(keys.Purpose[purpose], *at)
    ]
    assert len({tuple(x) for x in drawn}) == 15


def test_bfloat16_keeps_parameters_and_logits_float32():
    images = random_images(tiny_model(), 8)
    exact, rough = (tiny_model(dtype=dtype) for dtype in ("float32", "bfloat16"))
    assert jax.eval_shape(rough, images).dtype == jnp.float32
    bits = [float(pj.bits_per_dim(m, images).mean()) for m in (exact, rough)]
    assert bits[0] == pytest.approx(bits[1], abs=0.02) and bits[0] != bits[1]
    trainer = make_trainer(rough, TrainingConfig(batch_size=8), images)
    state = run_epoch(trainer, trainer.init())
    assert {x.dtype.name for x in state.params.values()} == {"float32"}
    gated = tiny_model(dtype="bfloat16", gated=True)
    drawn = pj.sample(gated, jax.random.key(0), 3)
    assert jax.eval_shape(gated, drawn).dtype == jnp.float32


# --- arrays in memory


def tiny_fit(model: pj.PixelCNNConfig, **training) -> pj.Config:
    return pj.Config(model=model, training=TrainingConfig(**training))


def test_fit_trains_on_arrays_and_writes_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    images = np.full((32, 6, 5, 1), 2)
    images[::2] = 1
    config = tiny_fit(
        pj.PixelCNNConfig.tiny(), batch_size=16, learning_rate=1e-2, epochs=60
    )
    config = dataclasses.replace(config, seed=1)
    model, history = pj.fit(config, images, images[:2])
    assert [row.epoch for row in history] == list(range(1, 61))
    assert history[-1].step == 120
    assert history[-1].train_bits_per_dim < 0.1 < history[0].train_bits_per_dim
    found = float(pj.bits_per_dim(model, images[:2]).mean())
    assert history[-1].validation_bits_per_dim == pytest.approx(found, abs=1e-5)
    assert not list(tmp_path.iterdir())


def test_fit_in_a_folder_is_a_run_that_goes_on(tmp_path: Path):
    images, labels = random_images(tiny_model(), 20), np.arange(20) % 3
    config = tiny_fit(
        pj.PixelCNNConfig.tiny(num_classes=3, dropout=0.2), batch_size=8, epochs=2
    )
    parts = {"labels": labels[:16], "validation_labels": labels[16:]}

    def fit(config: pj.Config, folder: str) -> pj.Fit:
        place = tmp_path / folder
        return pj.fit(config, images[:16], images[16:], workdir=place, **parts)

    whole = fit(config, "whole")
    fit(with_training(config, epochs=1), "apart")
    apart = fit(config, "apart")
    assert apart.history == whole.history == Run(tmp_path / "apart").rows()
    loaded = pj.load(tmp_path / "apart", "latest")
    for model in (apart.model, loaded):
        expected, found = (to_params(m)[1] for m in (whole.model, model))
        assert all((found[name] == expected[name]).all() for name in expected)
    again = fit(config, "apart")  # finished
    assert again.history == whole.history
    assert Run(tmp_path / "apart").config().data.source == "arrays"


def test_fit_takes_brightness_and_draws_validation_once(tmp_path: Path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (20, 6, 5, 1)).astype(np.uint8)
    bright = data.ImageSet(images[:16], np.zeros(16, int), brightness=True)
    held_out = data.ImageSet(images[16:], brightness=True)
    config = tiny_fit(pj.PixelCNNConfig.tiny(levels=2), batch_size=8, epochs=1)
    model, history = pj.fit(config, bright, held_out)
    levels = held_out.levels(data.VALIDATION_SEED)
    found = float(pj.bits_per_dim(model, levels).mean())
    assert history[0].validation_bits_per_dim == pytest.approx(found, abs=1e-5)


GREY, CLASSES = np.zeros((4, 6, 5, 1), int), np.arange(4) % 3


@pytest.mark.parametrize(
    ("images", "labels", "model", "message"),
    [
        (np.zeros((4, 6, 5, 3), int), None, {}, "must be .B, H, W, 1. .*4, 6, 5, 3"),
        (np.zeros((4, 5, 6, 1), int), None, {}, "be 6 by 5 pixels, .* got 5 by 6"),
        (GREY + 4, None, {}, "levels must lie in 0 to 3, got 4 to 4"),
        (GREY + 0.5, None, {}, "integer levels, got float64"),
        (GREY, None, {"num_classes": 3}, "labels must be given"),
        (GREY, CLASSES + 1, {"num_classes": 3}, "lie in 0 to 2, got 1 to 3"),
        (GREY, CLASSES[:3], {"num_classes": 3}, "one per image, 4, got 3"),
        (GREY[:1], None, {}, "number of training images, 1, got 2"),
        (data.ImageSet(GREY, None, True), None, {}, "a model of 2 levels, got int64"),
        (data.ImageSet(GREY), CLASSES, {}, "must be left out if the images are an"),
    ],
)
def test_images_that_the_model_does_not_take_are_refused(
    images, labels, model, message
):
    config = tiny_fit(pj.PixelCNNConfig.tiny(**model), batch_size=2, epochs=1)
    with pytest.raises(pj.UserError, match=message) as refusal:
        pj.fit(config, images, labels=labels)
    assert "\n" not in str(refusal.value)


# --- whole runs


class Killed(Exception):
    """Stands for the end of the process."""


def final(run: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Every array of the last checkpoint, and the metrics."""
    config = Run(run).config()
    model = pj.build_model(config.model)
    images = data.load(config.data, config.model).train.for_model(config.model)
    like = keeping.to_items(Trainer(model, config.training, images).init())
    items = Run(run).restore("latest", like, model)
    flat, _ = jax.tree_util.tree_flatten_with_path(items)
    found = {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}
    return found, (run / "metrics.csv").read_bytes()


def assert_same_end(a: Path, b: Path) -> None:
    arrays_a, metrics_a = final(a)
    arrays_b, metrics_b = final(b)
    assert metrics_a == metrics_b
    assert arrays_a.keys() == arrays_b.keys()
    for name in arrays_a:
        assert (arrays_a[name] == arrays_b[name]).all(), name


def steps(run: Path) -> list[int]:
    return Run(run).checkpoints.steps()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> Path:
    """The run of `tiny_config`, which no test changes."""
    return pj.train(make_tiny_config(tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def first_epoch(tmp_path_factory) -> Path:
    """The run of `tiny_config` after one epoch, which no test changes."""
    config = make_tiny_config(tmp_path_factory.mktemp("first") / "run")
    return pj.train(with_training(config, epochs=1))


@pytest.fixture
def begun(first_epoch: Path, tiny_config: pj.Config) -> Path:
    """A copy of `first_epoch` in the folder of `tiny_config`."""
    return Path(shutil.copytree(first_epoch, tiny_config.workdir))


def die_after(calls: int):
    """`Updates.__call__` that makes so many calls to the devices and no more."""
    update, made = Updates.__call__, iter(range(calls))

    def update_or_die(self, state: TrainState, batches: Batches) -> TrainState:
        if next(made, None) is None:
            raise Killed
        return update(self, state, batches)

    return update_or_die


@pytest.mark.parametrize("killed_at", [3, 4, *slowly(1, 7)])
def test_resume_is_exact(
    killed_at: int, tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    """Killed after any call to the device, mid-epoch checkpoints or not."""
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 0.0)  # one update per call
    if killed_at % 2:  # with a checkpoint after every update
        monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Updates, "__call__", die_after(killed_at))
        with pytest.raises(Killed):
            pj.train(tiny_config)
    assert_same_end(pj.train(tiny_config), uninterrupted)


def die(*_):
    raise Killed


@pytest.mark.parametrize(
    ("place", "name"), [(Checkpoints, "save"), (reports, "report_samples")]
)
def test_killed_between_the_metrics_and_the_checkpoint_resumes_exactly(
    place, name: str, tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr(place, name, die)
        with pytest.raises(Killed):
            pj.train(tiny_config)
    assert "\n1," in (Path(tiny_config.workdir) / "metrics.csv").read_text()
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_an_interrupted_save_is_passed_over(
    tiny_config: pj.Config, begun: Path, uninterrupted: Path
):
    last = steps(begun)[-1]
    half = begun / "checkpoints" / str(last + 1)
    (half / "params").mkdir(parents=True)
    assert steps(begun) == [last]
    assert_same_end(pj.train(tiny_config), uninterrupted)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals reach only the main thread",
)
@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *slowly(signal.SIGINT, signal.SIGHUP)]
)
def test_a_stopped_run_saves_and_goes_on_exactly(
    number: int, tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    update = Updates.__call__

    def update_and_signal(self, *args):
        os.kill(os.getpid(), number)
        return update(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Updates, "__call__", update_and_signal)
        with pytest.raises(KeyboardInterrupt, match="saved at step 1") as stopped:
            pj.train(tiny_config)
    assert stopped.value.number == number
    assert steps(Path(tiny_config.workdir)) == [1]
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_a_signal_that_is_ignored_stays_ignored(tiny_config: pj.Config, monkeypatch):
    seen = []
    monkeypatch.setattr(
        reports,
        "report_samples",
        lambda *_: seen.append(signal.getsignal(signal.SIGHUP)),
    )
    old = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        pj.train(with_training(tiny_config, epochs=1))
    finally:
        signal.signal(signal.SIGHUP, old)
    assert seen == [signal.SIG_IGN]


def spoil(field: str):
    """`Updates.__call__` whose last result is not a number."""
    update = Updates.__call__

    def update_badly(self, state: TrainState, batches: Batches) -> TrainState:
        state = update(self, state, batches)
        bad = jax.tree.map(lambda x: x * jnp.nan, getattr(state, field))
        return state._replace(**{field: bad})

    return update_badly


@pytest.mark.parametrize("field", ["epoch_nats", "params", "ema_params"])
def test_a_run_that_diverges_stops_and_keeps_its_checkpoints(
    field: str, tiny_config: pj.Config, monkeypatch
):
    tiny_config = with_training(tiny_config, ema_decay=0.9)
    folder = pj.train(with_training(tiny_config, epochs=1))
    before = steps(folder)
    monkeypatch.setattr(Updates, "__call__", spoil(field))
    with pytest.raises(pj.UserError, match="must stay finite, and became nan"):
        pj.train(tiny_config)
    assert steps(folder) == before


@pytest.mark.parametrize("validation_images", [1300, 0])
def test_weights_that_the_last_update_broke_are_not_saved(
    validation_images: int, tiny_config: pj.Config
):
    """One update, whose nats are those before it, to weights finite but absurd."""
    source = DataConfig(validation_images=validation_images)
    config = dataclasses.replace(tiny_config, data=source)
    size = 1500 - validation_images
    config = with_training(config, batch_size=size, learning_rate=1e30, epochs=1)
    with pytest.raises(pj.UserError, match="must stay finite"):
        pj.train(config)
    assert steps(Path(config.workdir)) == []


def test_a_run_folder_holds_what_a_run_needs(uninterrupted: Path):
    names = {path.name for path in uninterrupted.iterdir()}
    assert names >= {
        "checkpoints",
        "config.json",
        "curves.png",
        "lock",
        "metrics.csv",
        "samples",
        "tensorboard",
        "timings.csv",
    }
    lines = (uninterrupted / "metrics.csv").read_text().splitlines()
    assert lines[0] == "epoch,step,train_bits_per_dim,validation_bits_per_dim"
    assert [line.split(",")[:2] for line in lines[1:]] == [["1", "5"], ["2", "10"]]
    timings = (uninterrupted / "timings.csv").read_text().splitlines()
    assert timings[0] == "epoch,seconds,images_per_second" and len(timings) == 3
    assert (uninterrupted / "samples" / "epoch_0002.png").exists()
    assert list((uninterrupted / "tensorboard").iterdir())


def test_tensorboard_shows_each_epoch(uninterrupted: Path):
    [path] = (uninterrupted / "tensorboard").iterdir()
    written, shown = path.read_bytes(), []
    while written:
        # Length, checksum, event, checksum.
        end = 12 + int.from_bytes(written[:8], "little")
        event = Event.FromString(written[12:end])
        shown += [(event.step, part.tag) for part in event.summary.value]
        written = written[end + 4 :]
    names = ("train_bits_per_dim", "validation_bits_per_dim", "samples")
    assert shown == [(epoch, name) for epoch in (1, 2) for name in names]


def test_reported_figures_are_those_of_the_images(
    tiny_config: pj.Config, first_epoch: Path
):
    splits = data.load(tiny_config.data, tiny_config.model)
    row = (first_epoch / "metrics.csv").read_text().splitlines()[1].split(",")
    model = pj.load(first_epoch)
    bits = np.asarray(pj.bits_per_dim(model, splits.validation.images)).mean()
    assert float(row[3]) == pytest.approx(bits, abs=1e-5)


def test_a_finished_run_says_so_and_does_nothing(uninterrupted: Path, capsys):
    config = Run(uninterrupted).config()
    before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
    pj.train(config)
    assert "is finished: 2 epochs" in capsys.readouterr().out
    after = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
    assert {p.name for p in before if before[p] != after.get(p)} <= {"lock"}


@pytest.mark.usefixtures("begun")
def test_a_run_may_be_given_more_epochs(tiny_config: pj.Config, uninterrupted: Path):
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_training_without_validation_images(tiny_config: pj.Config):
    source = dataclasses.replace(tiny_config.data, validation_images=0)
    config = with_training(dataclasses.replace(tiny_config, data=source), epochs=1)
    config = with_training(config, batch_size=500)
    run = pj.train(config)
    assert (run / "metrics.csv").read_text().splitlines()[1].endswith(",")
    kept = Run(run).checkpoints
    assert kept.choose("best") == kept.choose("latest") == 3


def test_samples_of_the_first_epoch_are_what_the_checkpoint_draws(first_epoch: Path):
    from PIL import Image

    drawn = pj.sample(pj.load(first_epoch), reports.preview_key(0), 64)
    picture = pictures.grid(np.asarray(drawn), 4)
    saved = np.asarray(Image.open(first_epoch / "samples" / "epoch_0001.png"))
    assert (picture == saved).all()


@pytest.mark.slow
def test_a_run_with_everything_resumes_exactly(tmp_path: Path, monkeypatch):
    """Gated, classes, dropout, running mean, schedule, decay, clipping, binarised,
    mutated."""
    config = pj.Config(
        workdir=str(tmp_path / "a"),
        model=pj.GatedPixelCNNConfig.tiny(
            num_classes=10,
            dropout=0.2,
            levels=2,
            num_layers=1,
            condition_dropout=0.3,
        ),
        data=DataConfig(validation_images=1380, quantization="dynamic"),
        training=TrainingConfig(
            epochs=2,
            batch_size=48,
            schedule="cosine",
            warmup_steps=2,
            weight_decay=0.01,
            clip_norm=0.5,
            ema_decay=0.9,
            learning_rate_decay=0.99,
            mutation=0.2,
        ),
    )
    whole = pj.train(config)
    again = dataclasses.replace(config, workdir=str(tmp_path / "b"))
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 0.0)
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Updates, "__call__", die_after(3))
        with pytest.raises(Killed):
            pj.train(again)
    assert_same_end(pj.train(again), whole)
    model = pj.load(whole)
    mean, _ = final(whole)
    assert (mean["['params']['last.bias']"] == model.last.bias[...]).all()
    assert (mean["['training']['weights']['last.bias']"] != model.last.bias[...]).any()


# --- tables and output


@pytest.mark.parametrize("end", ["2,10,1.9", "2,10", "2,10,1.9,1.8,7\n", "2,x,1,1\n"])
def test_a_damaged_table_is_set_aside(end: str, begun: Path, caplog):
    metrics = begun / "metrics.csv"
    whole = metrics.read_text()
    metrics.write_text(whole + end)
    (row,) = Run(begun).rows()
    assert row.epoch == 1 and tables.keep(begun, row.step) == [row]
    assert metrics.read_text() == whole
    assert (begun / "metrics.csv.damaged").read_text() == whole + end
    assert "its 1 whole rows are kept" in caplog.text


def test_damaged_tables_cost_nothing_else(
    tiny_config: pj.Config, begun: Path, uninterrupted: Path
):
    with open(begun / "metrics.csv", "a") as metrics:
        metrics.write("2,10,1.9")
    (begun / "timings.csv").write_bytes(b"\xff\xfe")
    assert_same_end(pj.train(tiny_config), uninterrupted)
    # Without its header, a table is begun anew.
    lines = (begun / "timings.csv").read_text().splitlines()
    assert lines[0] == "epoch,seconds,images_per_second" and len(lines) == 2


def test_rows_are_read_as_they_were_written(tmp_path: Path):
    rows = [tables.Row(1, 5, 1.25, None), tables.Row(2, 10, 1.12345678, 2.0)]
    tables.keep(tmp_path, 0)
    for row in rows:
        tables.add_metrics(tmp_path, row)
    assert tables.read_metrics(tmp_path) == rows
    assert tables.keep(tmp_path, 9) == rows[:1] == tables.read_metrics(tmp_path)


class Closed:
    def write(self, _):
        raise BrokenPipeError

    flush = write


def test_a_closed_output_costs_no_epoch(
    tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", Closed())
        folder = pj.train(tiny_config)
    assert_same_end(folder, uninterrupted)


def test_an_epoch_is_saved_before_it_is_printed_and_the_line_is_flushed(
    tiny_config: pj.Config, monkeypatch
):
    events: list[object] = []
    save = Checkpoints.save

    def save_and_tell(self, step, *rest):
        save(self, step, *rest)
        events.append(step)

    class Output:
        def write(self, text):
            events.append("line") if text.strip() else None

        def flush(self):
            events.append("flush")

    monkeypatch.setattr(Checkpoints, "save", save_and_tell)
    monkeypatch.setattr("sys.stdout", Output())
    pj.train(tiny_config)
    assert events == [5, "line", "flush", 10, "line", "flush"]


def test_a_long_epoch_says_how_far_it_is(tiny_config: pj.Config, monkeypatch, capsys):
    monkeypatch.setattr(reports, "PROGRESS_SECONDS", -1.0)
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 0.0)
    pj.train(with_training(tiny_config, epochs=1))
    lines = capsys.readouterr().out.splitlines()
    line = r"epoch   1  48 of 200 images  [12]\.\d{4} bits/dim"
    assert re.fullmatch(line, lines[0].rstrip())
    assert len(lines) == 6

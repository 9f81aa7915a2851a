"""Training maximises the likelihood, and an interrupted run loses nothing."""

import dataclasses
import os
import signal
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, data
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.layers import ImagePass
from pixelcnn_jax.params import from_params, to_params
from pixelcnn_jax.training import Trainer, TrainState, loop
from pixelcnn_jax.training.optimizer import learning_rate, make_optimizer
from tests.conftest import random_images, tiny_model, with_training


def arrays(state: TrainState) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(state)]


def run_epoch(trainer: Trainer, state: TrainState, epoch: int = 0) -> TrainState:
    order = data.batch_order(0, epoch, trainer.num_images, trainer.config.batch_size)
    return trainer.run(state, trainer.put_order(order), 0, trainer.batches)


def test_an_update_is_adam_on_the_mean_cross_entropy():
    """Against the plain definition: one batch, one device, no microbatches."""
    model = tiny_model()
    images = random_images(model, 8)
    trainer = Trainer(model, TrainingConfig(batch_size=8, learning_rate=1e-3), images)
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


@pytest.mark.parametrize(("microbatch", "devices"), [(1, 1), (3, 2), (8, 2), (None, 2)])
def test_gradients_do_not_depend_on_microbatches_or_devices(microbatch, devices):
    model = tiny_model()
    images = random_images(model, 11)  # the last batch is ragged
    config = TrainingConfig(batch_size=8, learning_rate=1e-3)

    def moments(config, devices):
        trainer = Trainer(model, config, images, jax.devices()[:devices])
        state = run_epoch(trainer, trainer.init())
        return state.opt_state[0].mu, float(state.epoch_nats)

    expected, nats = moments(dataclasses.replace(config, microbatch_size=8), 1)
    split, split_nats = moments(
        dataclasses.replace(config, microbatch_size=microbatch), devices
    )
    assert split_nats == pytest.approx(nats, rel=1e-5)
    for name in expected:
        scale = float(jnp.abs(expected[name]).max())
        np.testing.assert_allclose(split[name], expected[name], atol=1e-4 * scale)


def test_updates_per_call_change_no_bit():
    model = tiny_model()
    images = random_images(model, 24)
    trainer = Trainer(model, TrainingConfig(batch_size=4), images)
    order = trainer.put_order(data.batch_order(0, 0, 24, 4))
    at_once = trainer.run(trainer.init(), order, 0, 6)
    apart = trainer.init()
    for start, count in ((0, 1), (1, 3), (4, 2)):
        apart = trainer.run(apart, order, start, count)
    for a, b in zip(arrays(at_once), arrays(apart), strict=True):
        assert (a == b).all()


def test_padding_of_a_batch_has_no_weight():
    """Five images in batches of four: the second update sees one image alone."""
    model = tiny_model()
    images = random_images(model, 5)
    trainer = Trainer(model, TrainingConfig(batch_size=4), images)
    order = np.array([[4, -1, -1, -1]], np.int32)
    state = trainer.run(trainer.init(), trainer.put_order(order), 0, 1)
    expected = -float(pj.log_prob(model, images[4:]).sum())
    assert float(state.epoch_nats) == pytest.approx(expected, rel=1e-5)


def test_a_model_learns():
    model = pj.build_model(pj.PixelCNNConfig.tiny())
    images = np.full((32, 6, 5, 1), 2)
    images[::2] = 1
    trainer = Trainer(
        model, TrainingConfig(batch_size=16, learning_rate=1e-2, epochs=150), images
    )
    state = trainer.init()
    for epoch in range(150):
        state = run_epoch(trainer, state._replace(epoch_nats=jnp.float32(0)), epoch)
    bits = float(pj.bits_per_dim(trainer.model(state), images).mean())
    # Only the first pixel is uncertain: one bit for 30 pixels.
    assert 1 / 30 < bits < 1 / 30 + 0.02


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
    trainer = Trainer(model, config, images)
    order = trainer.put_order(data.batch_order(0, 0, 12, 4))
    state = trainer.init()
    weights = [jax.tree.map(np.asarray, state.params)]
    for step in range(3):
        state = trainer.run(state, order, step, 1)
        weights.append(jax.tree.map(np.asarray, state.params))
    # Decays 1/10, 2/11, 3/12 of the warm-up, of which 3/12 is the decay asked for.
    shares = [0.1, 2 / 11, 0.25]
    for name, mean in state.average.items():
        expected = weights[0][name]
        for share, new in zip(shares, weights[1:], strict=True):
            expected = share * expected + (1 - share) * new[name]
        np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert trainer.model(state).last.bias[...].tolist() == pytest.approx(
        state.average["last.bias"].tolist()
    )


def test_streamed_images_give_the_bits_of_resident_ones():
    model = tiny_model(num_classes=3, dropout=0.3)
    images, labels = random_images(model, 23), np.arange(23) % 3
    config = TrainingConfig(batch_size=4, microbatch_size=1)
    ends = []
    for resident in (True, False):
        trainer = Trainer(model, config, images, labels=labels, resident=resident)
        order = trainer.put_order(data.batch_order(0, 0, 23, 4))
        state = trainer.init()
        for start, count in ((0, 2), (2, 2), (4, 1), (5, 1)):
            state = trainer.run(state, order, start, count)
        ends.append(arrays(state))
    for a, b in zip(*ends, strict=True):
        assert (a == b).all()


def test_dropout_does_not_depend_on_microbatches_or_devices():
    model = tiny_model(dropout=0.4)
    images = random_images(model, 8)
    found = []
    for microbatch, devices in ((8, 1), (1, 2)):
        config = TrainingConfig(batch_size=8, microbatch_size=microbatch)
        trainer = Trainer(model, config, images, jax.devices()[:devices])
        found.append(float(run_epoch(trainer, trainer.init()).epoch_nats))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    without = -float(pj.log_prob(model, images).sum())
    assert abs(found[0] - without) > 1e-2
    other = Trainer(model, config, images, seed=1)
    assert float(run_epoch(other, other.init()).epoch_nats) != found[1]


def test_every_step_drops_other_features():
    model = tiny_model(dropout=0.4)
    config = TrainingConfig(batch_size=4, learning_rate=1e-30)
    trainer = Trainer(model, config, random_images(model, 4))
    order = trainer.put_order(np.arange(4, dtype=np.int32)[None])
    state, totals = trainer.init(), [0.0]
    for _ in range(2):
        state = trainer.run(state, order, 0, 1)
        totals.append(float(state.epoch_nats))
    assert abs((totals[2] - totals[1]) - (totals[1] - totals[0])) > 1e-3


def test_dropout_keeps_the_mean():
    apply = ImagePass(jax.random.split(jax.random.key(0), 50))
    x = jnp.ones((50, 4, 4, 8))
    first, second = apply.dropout(x, 0.25), apply.dropout(x, 0.25)
    assert float(first.mean()) == pytest.approx(1, abs=0.02)
    np.testing.assert_allclose(np.unique(first), [0, 4 / 3], rtol=1e-5)
    assert (first != second).any()


def test_dynamic_binarisation_draws_each_visit_anew():
    model = tiny_model(levels=2)
    brightness = np.full((8, 6, 5, 1), 64, np.uint8)
    trainer = Trainer(model, TrainingConfig(batch_size=8), brightness, dynamic=True)
    keys = [jax.random.key(seed) for seed in (0, 1)]
    index = jnp.arange(8)
    first, second = (trainer._prepare(key, brightness, index)[0] for key in keys)
    assert set(np.unique(first).tolist()) == {0, 1} and (first != second).any()
    many = np.full((400, 6, 5, 1), 64, np.uint8)
    drawn, _ = trainer._prepare(keys[0], many, jnp.arange(400))
    assert float(drawn.mean()) == pytest.approx(64 / 255, abs=0.01)
    for value in (0, 255):  # black and white stay what they are
        drawn, _ = trainer._prepare(keys[0], np.full_like(many, value), jnp.arange(400))
        assert (np.asarray(drawn) == value // 255).all()
    assert np.isfinite(float(run_epoch(trainer, trainer.init()).epoch_nats))


def test_bfloat16_keeps_parameters_and_logits_float32():
    images = random_images(tiny_model(), 8)
    exact, rough = (
        tiny_model(dtype=dtype, gated=gated)
        for dtype, gated in (("float32", False), ("bfloat16", False))
    )
    assert rough(images).dtype == jnp.float32
    bits = [float(pj.bits_per_dim(m, images).mean()) for m in (exact, rough)]
    assert bits[0] == pytest.approx(bits[1], abs=0.02) and bits[0] != bits[1]
    trainer = Trainer(rough, TrainingConfig(batch_size=8), images)
    state = run_epoch(trainer, trainer.init())
    assert {x.dtype.name for x in state.params.values()} == {"float32"}
    gated = tiny_model(dtype="bfloat16", gated=True)
    drawn = pj.sample(gated, jax.random.key(0), 3)
    assert gated(drawn).dtype == jnp.float32


# --- whole runs


class Killed(Exception):
    """Stands for the end of the process."""


def final(run: Path) -> tuple[dict[str, np.ndarray], bytes]:
    """Every array of the last checkpoint, and the metrics."""
    step = checkpoints.steps(run)[-1]
    config = checkpoints.read_config(run)
    images = data.load(config.data, config.model).train
    trainer = loop.make_trainer(config, images)
    items = checkpoints.restore(run, step, loop.to_items(trainer.init()))
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


@pytest.fixture
def uninterrupted(tiny_config: pj.Config) -> Path:
    config = dataclasses.replace(tiny_config, workdir=tiny_config.workdir + "-whole")
    return pj.train(config)


@pytest.mark.parametrize("killed_at", [1, 3, 4, 7])
def test_resume_is_exact(
    killed_at: int, tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    """Killed after any call to the device, mid-epoch checkpoints or not."""
    run, calls = Trainer.run, 0
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 0.0)  # one update a call

    def run_and_die(self, state, order, start, count):
        nonlocal calls
        calls += 1
        if calls > killed_at:
            raise Killed
        return run(self, state, order, start, count)

    if killed_at % 2:  # with a checkpoint after every update
        monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", run_and_die)
        with pytest.raises(Killed):
            pj.train(tiny_config)
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_killed_between_the_metrics_and_the_checkpoint_resumes_exactly(
    tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    def die(*_):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.Writer, "save", die)
        with pytest.raises(Killed):
            pj.train(tiny_config)
    assert "\n1," in (Path(tiny_config.workdir) / "metrics.csv").read_text()
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_an_interrupted_save_is_passed_over(
    tiny_config: pj.Config, uninterrupted: Path
):
    run = pj.train(with_training(tiny_config, epochs=1))
    last = checkpoints.steps(run)[-1]
    half = run / "checkpoints" / str(last + 1)
    (half / "params").mkdir(parents=True)
    assert checkpoints.steps(run) == [last]
    assert_same_end(pj.train(tiny_config), uninterrupted)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(),
    reason="signals reach the main thread alone",
)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_saves_and_goes_on_exactly(
    number: int, tiny_config: pj.Config, uninterrupted: Path, monkeypatch
):
    run = Trainer.run

    def run_and_signal(self, *args):
        os.kill(os.getpid(), number)
        return run(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run", run_and_signal)
        with pytest.raises(KeyboardInterrupt, match="saved at step 1"):
            pj.train(tiny_config)
    assert checkpoints.steps(Path(tiny_config.workdir)) == [1]
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_a_run_that_diverges_stops_and_keeps_its_checkpoints(
    tiny_config: pj.Config, monkeypatch
):
    folder = pj.train(with_training(tiny_config, epochs=1))
    before = checkpoints.steps(folder)
    run = Trainer.run

    def diverge(self, *arguments):
        state = run(self, *arguments)
        return state._replace(epoch_nats=state.epoch_nats * jnp.nan)

    monkeypatch.setattr(Trainer, "run", diverge)
    with pytest.raises(pj.UserError, match="must stay finite, and became nan"):
        pj.train(tiny_config)
    assert checkpoints.steps(folder) == before


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


def test_reported_figures_are_those_of_the_images(tiny_config: pj.Config):
    run = pj.train(with_training(tiny_config, epochs=1))
    splits = data.load(tiny_config.data, tiny_config.model)
    row = (run / "metrics.csv").read_text().splitlines()[1].split(",")
    bits = float(pj.bits_per_dim(pj.load(run), splits.validation.images).mean())
    assert float(row[3]) == pytest.approx(bits, abs=1e-5)


def test_a_finished_run_says_so_and_does_nothing(uninterrupted: Path, capsys):
    config = checkpoints.read_config(uninterrupted)
    before = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
    pj.train(config)
    assert "is finished: 2 epochs" in capsys.readouterr().out
    after = {p: p.stat().st_mtime_ns for p in uninterrupted.rglob("*") if p.is_file()}
    assert {p.name for p in before if before[p] != after.get(p)} <= {"lock"}


def test_a_run_may_be_given_more_epochs(tiny_config: pj.Config, uninterrupted: Path):
    pj.train(with_training(tiny_config, epochs=1))
    assert_same_end(pj.train(tiny_config), uninterrupted)


def test_training_without_validation_images(tiny_config: pj.Config):
    source = dataclasses.replace(tiny_config.data, validation_images=0)
    config = with_training(dataclasses.replace(tiny_config, data=source), epochs=1)
    config = with_training(config, batch_size=500)
    run = pj.train(config)
    assert (run / "metrics.csv").read_text().splitlines()[1].endswith(",")
    assert checkpoints.choose(run, "best") == checkpoints.choose(run, "latest") == 3


def test_samples_of_the_first_epoch_are_what_the_checkpoint_draws(tiny_config):
    from PIL import Image

    from pixelcnn_jax import images

    run = pj.train(with_training(tiny_config, epochs=1))
    drawn = pj.sample(pj.load(run), jax.random.key(0), 64)
    picture = images.grid(np.asarray(drawn), 4)
    saved = np.asarray(Image.open(run / "samples" / "epoch_0001.png"))
    assert (picture == saved).all()


def test_a_run_with_everything_resumes_exactly(tmp_path: Path, monkeypatch):
    """Gated, classes, dropout, running mean, schedule, decay, clipping, binarised."""
    config = pj.Config(
        workdir=str(tmp_path / "a"),
        model=pj.GatedPixelCNNConfig.tiny(num_classes=10, dropout=0.2, levels=2),
        data=DataConfig(validation_images=1380, quantization="dynamic"),
        training=TrainingConfig(
            epochs=2,
            batch_size=48,
            schedule="cosine",
            warmup_steps=2,
            weight_decay=0.01,
            clip_norm=0.5,
            ema_decay=0.9,
        ),
    )
    whole = pj.train(config)
    again = dataclasses.replace(config, workdir=str(tmp_path / "b"))
    monkeypatch.setattr(loop, "DISPATCH_SECONDS", 0.0)
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        run, calls = Trainer.run, iter(range(4))

        def run_and_die(self, *arguments):
            if next(calls) == 3:
                raise Killed
            return run(self, *arguments)

        patch.setattr(Trainer, "run", run_and_die)
        with pytest.raises(Killed):
            pj.train(again)
    assert_same_end(pj.train(again), whole)
    model = pj.load(whole)
    mean, _ = final(whole)
    assert (mean["['params']['last.bias']"] == model.last.bias[...]).all()
    assert (mean["['training']['weights']['last.bias']"] != model.last.bias[...]).any()

"""The loop: epochs of updates; after each, figures, pictures and a checkpoint."""

import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from pixelcnn_jax import checkpoints, data, images
from pixelcnn_jax.config import Config
from pixelcnn_jax.errors import require
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.sampling import sample
from pixelcnn_jax.training.runs import (
    METRICS,
    METRICS_FIELDS,
    TIMINGS,
    RunFolder,
    format_value,
)
from pixelcnn_jax.training.steps import Trainer, TrainState
from pixelcnn_jax.training.stopping import StopRequest

SAMPLES = 64
"""Images drawn after each epoch, always from the same noise."""

CHECKPOINT_SECONDS = 300.0
"""Longest time between checkpoints, in epochs that take longer."""

DISPATCH_SECONDS = 0.5
"""Time that one call to the device should take: the progress bar's pace."""


def train(config: Config) -> Path:
    """Train a model, or go on with a run that was interrupted.

    All results are in the folder ``config.workdir``: ``config.json``, ``checkpoints/``,
    ``metrics.csv``, ``timings.csv``, ``curves.png``, ``samples/``, ``tensorboard/``.
    A run that was interrupted goes on from its last checkpoint and ends with the bits
    that it would have had (same machine, package versions and number of devices).

    Returns:
        The run's folder, for `load`.

    Raises:
        UserError: the data or the folder can't be used with this config; see
            `data.load` and `RunFolder`.
    """
    with RunFolder(config) as run:
        splits = data.load(config.data, config.model)
        trainer = make_trainer(config, splits.train)
        state = _restore(run.path, trainer)
        done = int(state.step) // trainer.batches
        if done >= config.training.epochs:
            print(
                f"{run.path} is finished: {done} epochs. Pass a higher"
                " --training.epochs to go on (a cosine schedule then rises again), or"
                " draw from it:"
                f" python sample.py --workdir {run.path}"
            )
            return run.path
        run.begin(config)
        with (
            checkpoints.Writer(run.path) as writer,
            _Reporter(config, run, state) as reporter,
            StopRequest() as stop,
        ):
            for epoch in range(done, config.training.epochs):
                state = _epoch(config, trainer, state, epoch, writer, stop)
                bits = reporter.report(epoch + 1, trainer, state, splits.validation)
                writer.save(int(state.step), to_items(state), bits)
                stop.obey(f"saved after epoch {epoch + 1}")
    return run.path


def make_trainer(config: Config, images: data.ImageSet) -> Trainer:
    """The trainer of a run, at its first weights.

    Raises:
        UserError: a batch is larger than the training set.
    """
    require(
        config.training.batch_size <= len(images),
        "training.batch_size must be at most the number of training images,"
        f" {len(images)}, got {config.training.batch_size}; pass fewer",
    )
    return Trainer(
        checkpoints.untrained(config),
        config.training,
        images.images,
        labels=images.labels if config.model.num_classes else None,
        seed=config.seed,
        dynamic=config.data.quantization == "dynamic",
    )


def to_items(state: TrainState) -> dict[str, Any]:
    """A state as the items of a checkpoint: what to sample with, and the rest."""
    training = state._asdict()
    del training["average"]
    weights = training.pop("params")
    if state.average:
        training["weights"] = weights
    return {"params": state.best_params, "training": training}


def from_items(items: dict[str, Any]) -> TrainState:
    """The state that `to_items` took apart."""
    training = dict(items["training"])
    if "weights" not in training:
        return TrainState(params=items["params"], average={}, **training)
    weights = training.pop("weights")
    return TrainState(params=weights, average=items["params"], **training)


def _restore(run: Path, trainer: Trainer) -> TrainState:
    state = trainer.init()
    if checkpoints.steps(run):
        step = checkpoints.choose(run, "latest")
        state = from_items(checkpoints.restore(run, step, to_items(state)))
        print(f"going on with {run} from step {step}", file=sys.stderr)
    return trainer.place(state)


def _epoch(
    config: Config,
    trainer: Trainer,
    state: TrainState,
    epoch: int,
    writer: checkpoints.Writer,
    stop: StopRequest,
) -> TrainState:
    """The rest of an epoch, from the batch at which ``state`` stands."""
    order = data.batch_order(
        config.seed, epoch, trainer.num_images, config.training.batch_size
    )
    sizes = (order >= 0).sum(axis=1)
    on_device = trainer.put_order(order)
    batch = int(state.step) - epoch * trainer.batches
    if batch == 0:
        state = state._replace(epoch_nats=state.epoch_nats * 0)
    sent, saved = trainer.most_updates, time.monotonic()
    count = 1 if trainer.resident else sent
    with tqdm(
        total=trainer.num_images,
        initial=int(sizes[:batch].sum()),
        desc=f"epoch {epoch + 1}/{config.training.epochs}",
        unit=" images",
        disable=None,
        leave=False,
    ) as bar:
        while batch < trainer.batches:
            count = min(count, trainer.batches - batch)
            began = time.monotonic()
            state = trainer.run(state, on_device, batch, count)
            nats = float(state.epoch_nats)
            took = time.monotonic() - began
            require(
                math.isfinite(nats),
                f"the likelihood must stay finite, and became {nats} before step"
                f" {int(state.step)}; lower training.learning_rate or set"
                " training.clip_norm, in another --workdir or without this one's"
                " checkpoints",
            )
            bar.update(int(sizes[batch : batch + count].sum()))
            batch += count
            seen = int(sizes[:batch].sum())
            bar.set_postfix_str(f"{_bits(nats, seen, trainer.dims):.4f} bits/dim")
            # How many updates a call runs changes nothing but the bar's pace. Where
            # images are sent ahead, it is always as many as are sent.
            pace = int(DISPATCH_SECONDS / took * count)
            count = max(1, min(2 * count, pace)) if trainer.resident else sent
            due = time.monotonic() - saved > CHECKPOINT_SECONDS
            if (due or stop.asked) and batch < trainer.batches:
                writer.save(int(state.step), to_items(state), None)
                saved = time.monotonic()
                stop.obey(f"saved at step {int(state.step)}")
    return state


def sample_labels(num_classes: int) -> np.ndarray | None:
    """The classes of the images drawn after each epoch, in turn."""
    return np.arange(SAMPLES) % num_classes if num_classes else None


def _bits(nats: float, num_images: int, dims: int) -> float:
    return nats / (num_images * dims * math.log(2))


class _Reporter:
    """What is shown and written after each epoch; a context manager."""

    def __init__(self, config: Config, run: RunFolder, state: TrainState):
        from tensorboardX import SummaryWriter

        self._config = config
        self._run = run
        self._rows = run.keep_rows(int(state.step))
        self._board = SummaryWriter(str(run.path / "tensorboard"))
        self._began = time.monotonic()

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *exception: object) -> None:
        self._board.close()

    def report(
        self, epoch: int, trainer: Trainer, state: TrainState, held_out: data.ImageSet
    ) -> float | None:
        """Figures and pictures of an epoch; the bits per dimension of validation."""
        seconds = time.monotonic() - self._began
        model, config = trainer.model(state), self._config
        train_bits = _bits(float(state.epoch_nats), trainer.num_images, trainer.dims)
        bits = None
        if len(held_out):
            labels = held_out.labels if config.model.num_classes else None
            bits = evaluate(model, held_out.images, labels).bits_per_dim
        labels = sample_labels(config.model.num_classes)
        drawn = sample(model, jax.random.key(config.seed), SAMPLES, labels=labels)
        picture = images.grid(np.asarray(drawn), config.model.levels, labels)
        self._began = time.monotonic()

        images.save_png(self._run.path / f"samples/epoch_{epoch:04d}.png", picture)
        values = dict(
            zip(METRICS_FIELDS, (epoch, int(state.step), train_bits, bits), strict=True)
        )
        row = {name: value for name, value in values.items() if value is not None}
        self._rows.append(row)
        self._run.add_row(METRICS, [format_value(row.get(x)) for x in METRICS_FIELDS])
        speed = trainer.num_images / seconds
        self._run.add_row(TIMINGS, [str(epoch), f"{seconds:.2f}", f"{speed:.1f}"])
        images.save_curves(self._run.path / "curves.png", self._rows)
        for name, value in row.items():
            if name.endswith("bits_per_dim"):
                self._board.add_scalar(name, value, epoch)
        self._board.add_image("samples", picture, epoch, dataformats="HWC")
        shown = f"epoch {epoch:3d}  train {train_bits:.4f}"
        shown += "" if bits is None else f"  validation {bits:.4f}"
        tqdm.write(f"{shown} bits/dim  {speed:.0f} images/s")
        return bits

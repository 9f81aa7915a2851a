"""The loop: epochs of updates; after each, figures, pictures and a checkpoint."""

import contextlib
import dataclasses
import math
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pixelcnn_jax import hosts
from pixelcnn_jax.config import Config
from pixelcnn_jax.data import TRAIN_SEED, BatchReader, ImageSet
from pixelcnn_jax.devices import all_devices
from pixelcnn_jax.errors import require
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.models import build_model
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.runs import Row, tables
from pixelcnn_jax.training.beginning import first_model
from pixelcnn_jax.training.budget import judged_at_once, require_memory_for
from pixelcnn_jax.training.feed import conditions_of
from pixelcnn_jax.training.keeping import Keeper
from pixelcnn_jax.training.microbatch import with_microbatch
from pixelcnn_jax.training.reports import SAMPLES, Console, Result
from pixelcnn_jax.training.shares import share_out
from pixelcnn_jax.training.sources import source_of, suited
from pixelcnn_jax.training.trainer import Trainer
from pixelcnn_jax.training.update import TrainState
from pixelcnn_jax.units import bits_per_dim

DISPATCH_SECONDS = 0.5
"""Time that one call to the device should take: the pace of progress and of stops."""


class Fit(NamedTuple):
    """A trained model."""

    model: PixelModel
    """The network after the last epoch, with the EMA weights if there are any."""
    history: list[Row]
    """The figures of each epoch."""


class Pace(NamedTuple):
    """How fast an epoch went, or its rest, if a run goes on in its midst."""

    seconds: float
    images: int

    @property
    def speed(self) -> float:
        """Images per second."""
        return self.images / self.seconds


def learn(
    config: Config,
    train: ImageSet | BatchReader,
    validation: ImageSet,
    keeper: Keeper,
) -> Fit:
    """Train on these images or batches from where the keeper stands.

    Raises:
        UserError: the images are not what the model takes, or the likelihood does not
            stay finite.
    """
    model = build_model(config.model, config.seed)
    size = config.model.height, config.model.width
    require_memory_for(model, share_out(config.training, size, all_devices()))
    source = source_of(config, model, train, keeper.keeps)
    validation = suited(model, validation, "validation")
    images = source.images
    endless = source.stream is not None
    where = "images in the first batch of the source" if endless else "training images"
    require(
        config.training.batch_size <= len(images),
        f"training.batch_size must be at most the number of {where},"
        f" {len(images)}, got {config.training.batch_size}; pass fewer",
    )
    config = keeper.settled(
        config, lambda config: with_microbatch(config, model, images, source.per_epoch)
    )
    trainer = Trainer(
        model, config.training, images, seed=config.seed, stream=source.stream
    )
    updates = config.training.epochs * trainer.batches
    require(
        updates < 2**31,
        "training.epochs must be fewer than 2**31 updates, as they are counted in 32"
        f" bits, got {updates}; pass at most {(2**31 - 1) // trainer.batches}",
    )
    # The first state tells a checkpoint's structure and shapes.
    state = keeper.restore(trainer.init(), model)
    step = int(state.step)
    if step > 0:
        # Before epochs are counted by it.
        source.go_on(keeper.position(state))
    console = Console(config.training.epochs, trainer.num_images)
    done = step // trainer.batches
    if done >= config.training.epochs:
        console.say(
            f"{config.workdir} is finished: {done} epochs. Raise training.epochs to go"
            " on (a cosine schedule then rises again)"
        )
        return Fit(trainer.model(state), keeper.rows())
    if step > 0:
        console.say(f"going on with {config.workdir} from step {step}")
    else:
        # Only if a run begins: weights that have learnt are not to be scaled anew.
        state = trainer.init(first_model(model, config, images))
    with keeper, contextlib.closing(console), contextlib.closing(trainer):
        rows = keeper.begin(state, trainer.position)
        for epoch in range(done, config.training.epochs):
            began = time.monotonic()
            before = trainer.seen(int(state.step) - epoch * trainer.batches)
            state = _epoch(trainer, state, epoch, keeper, console)
            pace = Pace(time.monotonic() - began, trainer.num_images - before)
            result = _judge(config, trainer, state, images, validation, pace)
            keeper.after_epoch(state, result)
            console.epoch(result)
            rows.append(result.row)
            keeper.obey(f"saved after epoch {epoch + 1}")
    return Fit(trainer.model(state), rows)


def _epoch(
    trainer: Trainer,
    state: TrainState,
    epoch: int,
    keeper: Keeper,
    console: Console,
) -> TrainState:
    """The rest of an epoch, from the batch at which ``state`` stands."""
    batch = int(state.step) - epoch * trainer.batches
    # In mid-epoch the sum goes on, since it is part of the state.
    if batch == 0:
        state = state._replace(epoch_nats=jnp.float32(0))
    count = 1
    while batch < trainer.batches:
        began = time.monotonic()
        state, made = trainer.run(state, epoch, batch, count)
        batch += made
        _require_finite(state)  # waits for the updates
        took = time.monotonic() - began
        bits = _train_bits(trainer, state, batch)
        console.progress(epoch + 1, trainer.seen(batch), bits)
        # How many updates a call makes changes nothing but the pace.
        # At most doubled, since a time measured over few updates is rough.
        # Each process has its own clock, and all must make as many.
        count = hosts.first_says(
            max(1, min(2 * made, int(DISPATCH_SECONDS / took * made)))
        )
        # After the last update, the epoch's own checkpoint follows.
        if batch < trainer.batches:
            keeper.on_the_way(state)
    return state


def _train_bits(trainer: Trainer, state: TrainState, batches: int) -> float:
    """Bits per dimension over the first batches of the epoch."""
    dims = trainer.seen(batches) * trainer.dims
    return bits_per_dim(float(state.epoch_nats), dims)


def _judge(
    config: Config,
    trainer: Trainer,
    state: TrainState,
    images: ImageSet,
    validation: ImageSet,
    pace: Pace,
) -> Result:
    """The figures of an epoch that has ended."""
    model, step = trainer.model(state), int(state.step)
    # Without validation images, some others still tell a broken model.
    judged = validation if len(validation) else _first_batch(images, config)
    bits = evaluate(
        model,
        judged.images,
        batch_size=judged_at_once(model),
        **judged.given(),
    ).bits_per_dim
    _require_number(bits, step)
    # Rounded as the table holds them, so that rows read back are equal.
    row = Row(
        step // trainer.batches,
        step,
        round(_train_bits(trainer, state, trainer.batches), tables.DIGITS),
        round(bits, tables.DIGITS) if len(validation) else None,
    )
    shown = conditions_of(judged.first(SAMPLES))
    return Result(row, pace.seconds, pace.speed, model, config.seed, shown)


def _require_finite(state: TrainState) -> None:
    # The nats are those before the last update, so its weights are looked at too.
    healthy = bool(_all_finite((state.params, state.ema_params)))
    nats = float(state.epoch_nats)
    _require_number(nats if healthy else math.nan, int(state.step))


@jax.jit
def _all_finite(tree: object) -> jax.Array:
    leaves = [jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all()


def _require_number(value: float, step: int) -> None:
    require(
        math.isfinite(value),
        f"the likelihood must stay finite, and became {value} by step {step}; lower"
        " training.learning_rate or set training.clip_norm, in another workdir",
    )


def _first_batch(images: ImageSet, config: Config) -> ImageSet:
    first = images.first(config.training.batch_size)
    levels = first.levels(TRAIN_SEED)
    return dataclasses.replace(first, images=levels, brightness=False)

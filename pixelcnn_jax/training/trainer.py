"""A model in training: where its images come from, how its weights move."""

import json
import math

import jax
import jax.numpy as jnp

from pixelcnn_jax import hosts
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.devices import Devices, all_devices, replicated
from pixelcnn_jax.machine import warn_of_idle_cores
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import from_params, to_params
from pixelcnn_jax.training.feed import Feed, Order, choose_feed
from pixelcnn_jax.training.optimizer import make_optimizer
from pixelcnn_jax.training.randomness import Randomness
from pixelcnn_jax.training.shares import share_out
from pixelcnn_jax.training.streamed import Stream, Streamed
from pixelcnn_jax.training.update import TrainState, Updates


class Trainer:
    """Runs updates on the devices, several per call.

    The randomness of an update depends only on the seed, the step and the images'
    indices, so it is the same whatever the devices, microbatches and feed.

    Args:
        model: the network at its first weights.
        config: how to train.
        images: what to learn, as the model takes it.
        seed: of the images' order, dropout, binarisation and mutation.
        devices: what to spread each batch over; None: `devices.all_devices`.
        feed: how the images come to the devices; None: as they fit.
        stream: batches to learn, of which ``images`` are the first.
    """

    def __init__(
        self,
        model: PixelModel,
        config: TrainingConfig,
        images: ImageSet,
        *,
        seed: int = 0,
        devices: Devices | None = None,
        feed: type[Feed] | None = None,
        stream: Stream | None = None,
    ):
        self.graph, self._params = to_params(model)
        self.config = config
        self.num_images = len(images)
        self.dims = math.prod(images.images.shape[1:])
        if devices is None:
            devices = all_devices()
            if len(devices) == 1:
                warn_of_idle_cores(devices[0].platform)
        self._devices = devices
        shares = share_out(config, images.images.shape[1:], devices)
        if stream is None:
            order = Order(seed, self.num_images, config.batch_size, shares.width)
            self.batches = order.batches
            self._feed = (feed or choose_feed(images, shares))(images, shares, order)
        else:
            self.batches = stream.batches
            self.num_images = stream.batches * config.batch_size
            self._feed = Streamed(stream, shares, config.batch_size)
        self._everywhere = replicated(shares.mesh)
        self._optimizer = make_optimizer(config, config.epochs * self.batches)
        self._updates = Updates(
            self.graph,
            config,
            self._optimizer,
            shares,
            self._feed.spec,
            Randomness(
                seed,
                model.config.dropout > 0,
                images.brightness,
                config.mutation,
                model.config.levels,
                model.config.condition_dropout,
            ),
        )

    def init(self, model: PixelModel | None = None) -> TrainState:
        """The state before the first update.

        Args:
            model: whose weights to begin with; None: those of the model given first.
        """
        # Copied, because `run` gives the buffers of its argument away.
        first = self._params if model is None else to_params(model)[1]
        params = jax.tree.map(jnp.array, first)
        ema = jax.tree.map(jnp.array, first) if self.config.ema_decay else {}
        return TrainState(
            params, self._optimizer.init(params), jnp.int32(0), jnp.float32(0), ema
        )

    def run(
        self, state: TrainState, epoch: int, start: int, count: int
    ) -> tuple[TrainState, int]:
        """Updates on the batches of an epoch (from 0) from ``start`` on.

        Returns:
            The new state, and how many updates were made: at least one, at most
            ``count``. The buffers of the old state are given away.
        """
        if len(self._devices) > 1 and self._devices[0].platform == "cpu":
            # Updates that wait take the threads with which the devices of those under
            # way meet, and XLA ends the process.
            jax.block_until_ready(state)
        batches = self._feed.batches(epoch, start, count)
        # On every device; nothing moves if it is there.
        state = hosts.place(state, self._everywhere)
        return self._updates(state, batches), batches.number

    def position(self) -> str | None:
        """What a run that goes on needs to know of its images.

        Where the source of batches stands, if it can tell; or how many images there
        are.
        """
        if isinstance(self._feed, Streamed):
            return self._feed.position
        return json.dumps({"images": self.num_images})

    def close(self) -> None:
        """Nothing more is to be run."""
        self._feed.close()

    def seen(self, batches: int) -> int:
        """How many images the first batches of an epoch hold."""
        return min(self.num_images, batches * self.config.batch_size)

    def model(self, state: TrainState) -> PixelModel:
        """The network to evaluate and sample with, on one device."""
        # Every device holds the whole state, so the first one's part is all of it.
        one = jax.tree.map(lambda x: x.addressable_data(0), state.eval_params)
        return from_params(self.graph, one)

"""The compiled training step: maximum likelihood with Adam."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.likelihood import log_prob
from pixelcnn_jax.params import from_params, to_params

CPU_MICROBATCH = 16
"""Images whose activations stay in a core's cache: measured best for the book's
network."""

DATA = "data"
"""Name of the mesh axis over which the images of a batch are spread."""


class TrainState(NamedTuple):
    """All that changes in training, a plain pytree."""

    params: dict[str, jax.Array]
    opt_state: optax.OptState
    step: jax.Array
    """int32, updates made so far."""
    epoch_nats: jax.Array
    """float32, negative log-likelihood summed over the epoch's images so far, each
    under the weights of its own step."""


class Trainer:
    """Runs updates on the device, several a call, without a host round trip between.

    The training images stay on the devices. Each update takes one row of the epoch's
    batch order; the batch is spread over the mesh, every device adds up gradients over
    its microbatches, and the mean over all images of the batch moves the weights.

    Args:
        model: the network at its first weights.
        config: how to train.
        images: levels ``[N, H, W, C]``.
        devices: what to spread each batch over; None: all devices.
    """

    def __init__(
        self,
        model: Any,
        config: TrainingConfig,
        images: np.ndarray,
        devices: Sequence[Any] | None = None,
    ):
        self.graph, self._params = to_params(model)
        self.config = config
        self.num_images = len(images)
        self.batches = -(-self.num_images // config.batch_size)
        self.dims = math.prod(images.shape[1:])
        devices = devices or jax.devices()
        # A device without a whole image to itself would only repeat padding.
        self.num_devices = min(len(devices), config.batch_size)
        self.mesh = jax.make_mesh(
            (self.num_devices,),
            (DATA,),
            axis_types=(AxisType.Auto,),
            devices=devices[: self.num_devices],
        )
        share = -(-config.batch_size // self.num_devices)
        on_cpu = devices[0].platform == "cpu"
        microbatch = config.microbatch_size or (CPU_MICROBATCH if on_cpu else share)
        self.microbatches = -(-share // microbatch)
        self.microbatch = -(-share // self.microbatches)
        self.optimizer = optax.adam(self._learning_rate(), eps=1e-7)  # as in Keras
        self._images = self._replicate(images)
        self._run = self._compile()

    def _learning_rate(self) -> optax.Schedule:
        rate, updates = self.config.learning_rate, self.config.epochs * self.batches
        if self.config.schedule == "cosine":
            return optax.cosine_decay_schedule(rate, updates)
        return optax.constant_schedule(rate)

    def init(self) -> TrainState:
        """The state before the first update."""
        # Copied, because `run` gives the buffers of its argument away.
        params = jax.tree.map(jnp.array, self._params)
        return TrainState(
            params, self.optimizer.init(params), jnp.int32(0), jnp.float32(0)
        )

    def model(self, state: TrainState) -> Any:
        """The network at the state's weights."""
        return from_params(self.graph, state.params)

    def put_order(self, order: np.ndarray) -> jax.Array:
        """An epoch's batch order on the devices; see `data.batch_order`."""
        width = self.num_devices * self.microbatches * self.microbatch
        filled = np.full((len(order), width), -1, np.int32)
        filled[:, : order.shape[1]] = order
        return jax.device_put(
            filled, NamedSharding(self.mesh, PartitionSpec(None, DATA))
        )

    def run(self, state: TrainState, order: jax.Array, start: int, count: int):
        """``count`` updates on the batches from ``start`` on.

        The buffers of ``state`` are given away; use the state that is returned.
        """
        return self._run(self.place(state), self._images, order, start, start + count)

    def place(self, state: TrainState) -> TrainState:
        """The state on every device of the mesh; nothing moves where it is there."""
        return jax.device_put(state, NamedSharding(self.mesh, PartitionSpec()))

    def _replicate(self, images: np.ndarray) -> jax.Array:
        return jax.device_put(images, NamedSharding(self.mesh, PartitionSpec()))

    def _compile(self):
        everywhere, spread = PartitionSpec(), PartitionSpec(None, DATA)

        @partial(jax.jit, donate_argnums=0)
        @partial(
            jax.shard_map,
            mesh=self.mesh,
            in_specs=(everywhere, everywhere, spread, everywhere, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
        def run(state, images, order, start, stop):
            def update(batch, state):
                return self._update(state, images, order[batch])

            return lax.fori_loop(start, stop, update, state)

        return run

    def _update(
        self, state: TrainState, images: jax.Array, index: jax.Array
    ) -> TrainState:
        """One update on one device's share of a batch; -1 stands for no image."""

        def nats(params, index):
            batch = images[jnp.maximum(index, 0)]
            found = log_prob(from_params(self.graph, params), batch)
            return -jnp.where(index >= 0, found, 0).sum()

        def add(total, index):
            part = jax.value_and_grad(nats)(state.params, index)
            return jax.tree.map(jnp.add, total, part), None

        zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params))
        parts = index.reshape(self.microbatches, self.microbatch)
        total, _ = lax.scan(add, zero, parts)
        (batch_nats, gradients), count = lax.psum((total, (index >= 0).sum()), DATA)
        gradients = jax.tree.map(lambda g: g / (count * self.dims), gradients)
        updates, opt_state = self.optimizer.update(
            gradients, state.opt_state, state.params
        )
        return TrainState(
            params=optax.apply_updates(state.params, updates),  # pyright: ignore
            opt_state=opt_state,
            step=state.step + 1,
            epoch_nats=state.epoch_nats + batch_nats,
        )

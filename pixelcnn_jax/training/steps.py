"""The compiled update, and the state that it moves."""

import concurrent.futures
import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import PartitionSpec

from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.devices import DATA, data_mesh, replicated, spread
from pixelcnn_jax.likelihood import image_log_prob
from pixelcnn_jax.params import from_params, to_params
from pixelcnn_jax.training.optimizer import average, make_optimizer

CPU_MICROBATCH_POSITIONS = 2048
"""Pixels whose activations stay in a core's cache: 8 images of the book's experiment,
measured best for its network."""

RESIDENT_SHARE = 0.25
"""Of an accelerator's memory, what the training images may fill."""

RESIDENT_BYTES_ON_CPU = 2**31
"""What the copies of the training images on a CPU's devices may fill together."""

STREAMED_BYTES = 2**27
"""What is sent to the devices at a time when the images do not fit there."""


class TrainState(NamedTuple):
    """All that changes in training, a plain pytree."""

    params: dict[str, jax.Array]
    opt_state: optax.OptState
    step: jax.Array
    """int32, updates made so far."""
    epoch_nats: jax.Array
    """float32, negative log-likelihood summed over the epoch's images so far, each
    under the weights of its own step."""
    average: dict[str, jax.Array]
    """Running mean of the parameters; empty where none is kept."""

    @property
    def best_params(self) -> dict[str, jax.Array]:
        """What to evaluate and sample with: the mean where there is one."""
        return self.average or self.params


class Order(NamedTuple):
    """An epoch's batches, as indices of images; see `Trainer.put_order`."""

    host: np.ndarray
    device: jax.Array


class Trainer:
    """Runs updates on the device, several a call, without a host round trip between.

    The training images stay on the devices where they fit; else those of the next call
    are sent while this one computes. Each update takes one row of the epoch's batch
    order; the batch is spread over the mesh, every device adds up gradients over its
    microbatches, and the mean over all images of the batch moves the weights. The
    randomness of an update depends on the seed, the step and the images' indices alone,
    so it is the same whatever the devices and microbatches.

    Args:
        model: the network at its first weights.
        config: how to train.
        images: levels ``[N, H, W, C]``; with ``dynamic`` brightness 0 to 255.
        devices: what to spread each batch over; None: all devices.
        labels: int ``[N]``, for a model with classes.
        seed: of dropout and dynamic binarisation.
        dynamic: whether each visit of an image draws its two levels anew, with its
            brightness as the probability of level 1.
        resident: whether the images stay on the devices; None: if they fit.
        updates: of the whole run, by which the schedule goes; None: those of the
            config's epochs.
    """

    def __init__(
        self,
        model: Any,
        config: TrainingConfig,
        images: np.ndarray,
        devices: Sequence[Any] | None = None,
        *,
        labels: np.ndarray | None = None,
        seed: int = 0,
        dynamic: bool = False,
        resident: bool | None = None,
        updates: int | None = None,
    ):
        self.graph, self._params = to_params(model)
        self.config = config
        self.num_images = len(images)
        self.batches = -(-self.num_images // config.batch_size)
        self.dims = math.prod(images.shape[1:])
        devices = devices or jax.devices()
        # A device without a whole image to itself would only repeat padding.
        self.num_devices = min(len(devices), config.batch_size)
        self.mesh = data_mesh(devices[: self.num_devices])
        share = -(-config.batch_size // self.num_devices)
        self.microbatches = -(-share // self._microbatch(share, images.shape))
        self.microbatch = -(-share // self.microbatches)
        updates = config.epochs * self.batches if updates is None else updates
        self.optimizer = make_optimizer(config, updates)
        self.resident = self._fits(images.nbytes) if resident is None else resident
        self._images = images
        if self.resident:
            self._images = jax.device_put(images, replicated(self.mesh))
        checked = model.check_labels(labels, len(images))
        self._labels = jax.device_put(checked, replicated(self.mesh))
        self._key = jax.device_put(jax.random.key(seed), replicated(self.mesh))
        self._dynamic = dynamic
        self._dropout = model.config.dropout > 0
        self._ahead = concurrent.futures.ThreadPoolExecutor(1)
        self._sent: tuple[Any, int, Any] = (None, 0, None)
        self._run = self._compile()

    def _microbatch(self, share: int, shape: tuple[int, ...]) -> int:
        if self.config.microbatch_size is not None:
            return self.config.microbatch_size
        if self.mesh.devices.flat[0].platform == "cpu":
            return max(1, CPU_MICROBATCH_POSITIONS // (shape[1] * shape[2]))
        return share

    def _fits(self, size: int) -> bool:
        device = self.mesh.devices.flat[0]
        if device.platform == "cpu":
            return size * self.num_devices <= RESIDENT_BYTES_ON_CPU
        memory = (device.memory_stats() or {}).get("bytes_limit")
        return memory is None or size <= RESIDENT_SHARE * memory

    def init(self) -> TrainState:
        """The state before the first update."""
        # Copied, because `run` gives the buffers of its argument away.
        params = jax.tree.map(jnp.array, self._params)
        mean = jax.tree.map(jnp.array, self._params) if self.config.ema_decay else {}
        return TrainState(
            params, self.optimizer.init(params), jnp.int32(0), jnp.float32(0), mean
        )

    def model(self, state: TrainState) -> Any:
        """The network to evaluate and sample with, on one device."""
        one = jax.tree.map(lambda x: x.addressable_data(0), state.best_params)
        return from_params(self.graph, one)

    def put_order(self, order: np.ndarray) -> Order:
        """An epoch's batch order on the devices; see `data.batch_order`."""
        width = self.num_devices * self.microbatches * self.microbatch
        filled = np.full((len(order), width), -1, np.int32)
        filled[:, : order.shape[1]] = order
        return Order(filled, jax.device_put(filled, spread(self.mesh, axis=1)))

    @property
    def most_updates(self) -> int:
        """Updates that a call may make."""
        if self.resident:
            return self.batches
        batch = self._images.nbytes / self.num_images * self.config.batch_size
        return min(self.batches, max(1, int(STREAMED_BYTES / batch)))

    def run(self, state: TrainState, order: Order, start: int, count: int):
        """``count`` updates on the batches from ``start`` on, at most `most_updates`.

        The buffers of ``state`` are given away; use the state that is returned.
        """
        images = self._images
        if not self.resident:
            sent_order, sent_start, sent = self._sent
            same = sent_order is order and sent_start == start
            images = sent.result() if same else self._send(order, start)
        state = self._run(
            self.place(state), images, self._labels, order.device, start, start + count
        )
        following = start + count
        if not self.resident and following < len(order.host):
            sent = self._ahead.submit(self._send, order, following)
            self._sent = (order, following, sent)
        return state

    def _send(self, order: Order, start: int) -> jax.Array:
        """The images of the next batches, ``[most_updates, batch, H, W, C]``.

        Always so many, so that there is one program; what the epoch lacks is filled up.
        """
        rows = np.arange(start, start + self.most_updates)
        index = np.maximum(order.host[np.minimum(rows, len(order.host) - 1)], 0)
        return jax.device_put(self._images[index], spread(self.mesh, axis=1))

    def place(self, state: TrainState) -> TrainState:
        """The state on every device of the mesh; nothing moves where it is there."""
        return jax.device_put(state, replicated(self.mesh))

    def _compile(self):
        everywhere, batches = PartitionSpec(), PartitionSpec(None, DATA)
        source = everywhere if self.resident else batches

        @partial(jax.jit, donate_argnums=0)
        @partial(
            jax.shard_map,
            mesh=self.mesh,
            in_specs=(everywhere, source, everywhere, batches, everywhere, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
        def run(state, images, labels, order, start, stop):
            def update(batch, state):
                index = order[batch]
                if self.resident:
                    chosen = lambda index, _: images[jnp.maximum(index, 0)]  # noqa: E731
                    return self._update(state, chosen, labels, index)
                here = images[batch - start].reshape(
                    self.microbatches, self.microbatch, *images.shape[2:]
                )
                return self._update(state, lambda _, part: here[part], labels, index)

            return lax.fori_loop(start, stop, update, state)

        return run

    def _update(self, state: TrainState, choose: Any, labels: Any, index: jax.Array):
        """One update on one device's share of a batch; -1 stands for no image.

        ``choose(index, part)`` gives the images of a microbatch, from their indices or
        from its place in the batch.
        """
        key = jax.random.fold_in(self._key, state.step)

        def nats(params, index, part):
            images, dropout_keys = self._prepare(key, choose(index, part), index)
            chosen = None if labels is None else labels[jnp.maximum(index, 0)]
            model = from_params(self.graph, params)
            found = image_log_prob(
                model, images, chosen, dropout_keys=dropout_keys, reverse_mode=True
            )
            return -jnp.where(index >= 0, found, 0).sum()

        def add(total, microbatch):
            one = jax.value_and_grad(nats)(state.params, *microbatch)
            return jax.tree.map(jnp.add, total, one), None

        zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params))
        indices = index.reshape(self.microbatches, self.microbatch)
        total, _ = lax.scan(add, zero, (indices, jnp.arange(self.microbatches)))
        (batch_nats, gradients), count = lax.psum((total, (index >= 0).sum()), DATA)
        gradients = jax.tree.map(lambda g: g / (count * self.dims), gradients)
        updates, opt_state = self.optimizer.update(
            gradients, state.opt_state, state.params
        )
        params: Any = optax.apply_updates(state.params, updates)
        mean = average(state.average, params, state.step, self.config.ema_decay)
        return TrainState(
            params, opt_state, state.step + 1, state.epoch_nats + batch_nats, mean
        )

    def _prepare(
        self, key: jax.Array, images: jax.Array, index: jax.Array
    ) -> tuple[jax.Array, jax.Array | None]:
        """The levels to learn from, and the keys of dropout if there is any."""
        if not (self._dynamic or self._dropout):
            return images, None
        keys = jax.vmap(lambda i: jax.random.split(jax.random.fold_in(key, i)))(index)
        if self._dynamic:

            def draw(key, brightness):
                return jax.random.uniform(key, brightness.shape) * 255 < brightness

            images = jax.vmap(draw)(keys[:, 0], images).astype(jnp.int32)
        return images, keys[:, 1] if self._dropout else None

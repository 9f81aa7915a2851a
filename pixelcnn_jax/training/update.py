"""The compiled update, and the state that it moves."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import lax
from jax.sharding import PartitionSpec

from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.devices import DATA
from pixelcnn_jax.likelihood import image_log_prob
from pixelcnn_jax.machine import for_updates
from pixelcnn_jax.params import from_params
from pixelcnn_jax.training.feed import Batches
from pixelcnn_jax.training.optimizer import ema_update
from pixelcnn_jax.training.randomness import Randomness
from pixelcnn_jax.training.shares import Shares

Params = dict[str, jax.Array]
"""A model's parameters by name; see `params.to_params`."""


class TrainState(NamedTuple):
    """All that changes in training, a plain pytree."""

    params: Params
    opt_state: optax.OptState
    step: jax.Array
    """int32, updates made so far."""
    epoch_nats: jax.Array
    """float32, negative log-likelihood summed over the epoch's images so far, each
    under the weights of its own update."""
    ema_params: Params
    """Running mean of the parameters; empty if none is kept."""

    @property
    def eval_params(self) -> Params:
        """What to evaluate and sample with: the EMA weights if there are any."""
        return self.ema_params or self.params


class Updates:
    """Some updates in one program, without a host round trip between.

    Each takes one batch, shared out over the devices; every device adds up gradients
    over its microbatches, and the mean over all images of the batch moves the weights.
    The state given is donated: use the one that is returned.
    """

    def __init__(
        self,
        graph: nnx.GraphDef,
        config: TrainingConfig,
        optimizer: optax.GradientTransformation,
        shares: Shares,
        images_spec: PartitionSpec,
        randomness: Randomness,
    ):
        self._graph, self._ema_decay = graph, config.ema_decay
        self._optimizer, self._shares = optimizer, shares
        self._randomness = randomness
        self._run = self._compile(images_spec)

    def __call__(self, state: TrainState, batches: Batches) -> TrainState:
        return self._run(state, batches)

    def _compile(
        self, images_spec: PartitionSpec
    ) -> Callable[[TrainState, Batches], TrainState]:
        everywhere, share = PartitionSpec(), PartitionSpec(None, DATA)
        specs = Batches(images_spec, images_spec, share, share, everywhere, everywhere)  # pyright: ignore[reportArgumentType]  # specs in the place of arrays

        # The bounds of the loop are traced, so one program makes any number of updates.
        # No check of varying axes (vma): sums begin as constants. A run that goes on
        # ends with the bits of one that never stopped, and one that is stopped goes on.
        options = for_updates(self._shares.device.platform)

        @partial(jax.jit, donate_argnums=0, compiler_options=options)
        @partial(
            jax.shard_map,
            mesh=self._shares.mesh,
            in_specs=(everywhere, specs),
            out_specs=everywhere,
            check_vma=False,
        )
        def run(state: TrainState, batches: Batches) -> TrainState:
            update = partial(self._update, batches)
            return lax.fori_loop(batches.first, batches.stop, update, state)

        return run

    def _update(self, batches: Batches, row: jax.Array, state: TrainState):
        """One update, on one device's share of the batch."""
        nats, gradients = self._sum(batches, row, state)
        # Images, not places: an epoch's last batch may have fewer.
        count = lax.psum((batches.image[row] >= 0).sum(), DATA).astype(jnp.float32)
        dims = float(math.prod(batches.images.shape[1:]))
        # Per dimension, so that the clipping and Adam's epsilon fit images of any size;
        # as floats, since int32 does not count those of many large images.
        gradients = jax.tree.map(
            lambda g: g / (count * dims).astype(g.dtype), gradients
        )
        # Every device makes the same step from the same sums: no weights are sent.
        updates, opt_state = self._optimizer.update(
            gradients, state.opt_state, state.params
        )
        params = optax.apply_updates(state.params, updates)
        params = cast(Params, params)  # typed by Optax as any tree
        return TrainState(
            params,
            opt_state,
            state.step + 1,
            state.epoch_nats + nats,
            ema_update(state.ema_params, params, state.step, self._ema_decay),
        )

    def _sum(
        self, batches: Batches, row: jax.Array, state: TrainState
    ) -> tuple[jax.Array, Params]:
        """The nats of a batch and their gradients, summed over images and devices."""
        parts = (self._shares.microbatches, self._shares.microbatch)
        place = batches.place[row].reshape(parts)
        index = batches.image[row].reshape(parts)

        def add(total, microbatch):
            one = jax.value_and_grad(self._nats)(
                state.params, state.step, batches, *microbatch
            )
            return jax.tree.map(jnp.add, total, one), None

        zero = (jnp.float32(0), jax.tree.map(jnp.zeros_like, state.params))
        total, _ = lax.scan(add, zero, (place, index))
        # Once per update, not per microbatch: devices wait for each other here.
        return lax.psum(total, DATA)

    def _nats(
        self,
        params: Params,
        step: jax.Array,
        batches: Batches,
        place: jax.Array,
        index: jax.Array,
    ) -> jax.Array:
        """Of the images of a microbatch; padding counts for nothing."""
        given = jax.tree.map(lambda x: x[place], batches.given)
        given = given._replace(present=self._randomness.present(step, index))
        found = image_log_prob(
            from_params(self._graph, params),
            self._randomness.levels(batches.images[place], step, index),
            given,
            dropout_keys=self._randomness.dropout_keys(step, index),
            reverse_mode=True,
        )
        # Padding is image 0 once more: finite, so that its gradient is exactly 0.
        return -jnp.where(index >= 0, found, 0).sum()

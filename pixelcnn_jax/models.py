"""The networks, and `build_model`, which makes one from its config."""

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax import masks
from pixelcnn_jax.config import PixelCNNConfig
from pixelcnn_jax.distributions import Categorical
from pixelcnn_jax.layers import (
    Cache,
    CausalConv,
    Front,
    Pass,
    ResidualBlock,
    StepPass,
    image_pass,
)


class PixelCNN(nnx.Module):
    """The PixelCNN of D. Foster, Generative Deep Learning, 2nd ed., chapter 5.

    A masked first layer of type A, residual blocks, two 1x1 layers and one 1x1 layer to
    the outputs; ReLU throughout. After van den Oord et al. 2016 (arXiv:1601.06759),
    section 3.3, with one width in the body and in the head.

    What sampling, likelihood and training use of a model is this class's public face:
    `config`, `distribution`, `__call__`, `init_caches`, `step`, `observe`,
    `wavefront_lag`.
    """

    def __init__(self, config: PixelCNNConfig, *, rngs: nnx.Rngs):
        self.config = config
        self.distribution = Categorical(config.channels, config.levels)
        features = config.features

        def pointwise(out_features: int) -> CausalConv:
            return CausalConv(
                features, out_features, 1, "B", num_channels=config.channels, rngs=rngs
            )

        self.first = CausalConv(
            config.channels,
            features,
            config.first_kernel_size,
            "A",
            num_channels=config.channels,
            rngs=rngs,
        )
        self.blocks = nnx.List(
            [
                ResidualBlock(
                    features,
                    config.kernel_size,
                    num_channels=config.channels,
                    rngs=rngs,
                )
                for _ in range(config.num_blocks)
            ]
        )
        self.head = nnx.List([pointwise(features), pointwise(features)])
        self.last = pointwise(self.distribution.num_outputs)

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` as the floats that the network reads: level / levels."""
        return images.astype(jnp.float32) / self.config.levels

    def __call__(self, images_BHWC: jax.Array) -> jax.Array:
        """Logits for every channel of every pixel, each given all earlier ones.

        Args:
            images_BHWC: integers ``[B, H, W, C]`` in ``[0, levels)``. H and W need not
                be the config's.

        Returns:
            float32 ``[B, H, W, C, V]``.
        """
        return self.network(self.encode(images_BHWC))

    def network(self, x: jax.Array | None, apply: Pass = image_pass) -> jax.Array:
        """The network's body: encoded pixels ``[..., C]`` to logits ``[..., C, V]``."""
        y = nnx.relu(apply(self.first, x))
        for block in self.blocks:
            y = block(y, apply)
        for layer in self.head:
            y = nnx.relu(apply(layer, y))
        return self.distribution.outputs(apply(self.last, y))

    def init_caches(
        self, batch_size: int, width: int, rows: int | None = None
    ) -> tuple[Cache, ...]:
        """Empty caches, in the order in which the layers are applied."""
        return tuple(
            layer.init_cache(batch_size, width, rows)
            for layer in self.causal_layers()
            if not layer.is_pointwise
        )

    def step(
        self, caches: Sequence[Cache], front: Front
    ) -> tuple[jax.Array, tuple[Cache, ...]]:
        """Logits ``[F, B, C, V]`` at the front's positions, and the new caches.

        Every pixel before them must have been given to `observe`.
        """
        apply = StepPass(caches, front)
        logits = self.network(None, apply)
        return logits, tuple(apply.caches)

    def observe(
        self, caches: Sequence[Cache], pixels_FBC: jax.Array, front: Front
    ) -> tuple[Cache, ...]:
        """The caches once the pixels at the front's positions are known.

        Channels that are not known yet may hold anything on the grid.
        """
        first, *rest = caches
        return (self.first.write(first, self.encode(pixels_FBC), front), *rest)

    def causal_layers(self) -> list[CausalConv]:
        """All layers, in the order in which they are applied."""
        layers = [self.first]
        for block in self.blocks:
            layers += [block.reduce, block.spread, block.expand]
        return [*layers, *self.head, self.last]

    @property
    def wavefront_lag(self) -> int:
        """Columns by which a row of a wavefront runs behind the row above."""
        return masks.wavefront_lag(self._geometry(), self.config.channels)

    def receptive_field(
        self, height: int | None = None, width: int | None = None
    ) -> np.ndarray:
        """What each output can see by its masks, bool ``[H, W, C, H, W, C]``."""
        return masks.receptive_field(
            self._geometry(),
            height or self.config.height,
            width or self.config.width,
            self.config.channels,
        )

    def _geometry(self) -> list[tuple[int, masks.MaskType]]:
        return [(layer.kernel_size, layer.mask_type) for layer in self.causal_layers()]


def build_model(config: PixelCNNConfig, seed: int = 0) -> PixelCNN:
    """An untrained model. The same config and seed give the same weights."""
    graph, _ = nnx.split(nnx.eval_shape(lambda: _build(config, jax.random.key(0))))
    return nnx.merge(graph, _initial_state(config, jax.random.key(seed)))


def _build(config: PixelCNNConfig, key: jax.Array) -> PixelCNN:
    return PixelCNN(config, rngs=nnx.Rngs(params=key))


@partial(jax.jit, static_argnums=0)
def _initial_state(config: PixelCNNConfig, key: jax.Array) -> nnx.State:
    # One compiled program draws all weights; one for each layer would take seconds.
    return nnx.state(_build(config, key))

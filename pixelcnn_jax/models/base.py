"""The contract of a model: what sampling, likelihood and training may ask of one."""

import dataclasses
from functools import partial
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions import Distribution, build_distribution
from pixelcnn_jax.layers import (
    NO_CONDITIONS,
    NOTHING_READ,
    AnyLayer,
    At,
    CachedPass,
    Caches,
    CalibratingPass,
    CausalLayer,
    ConditionReader,
    Conditions,
    ImagePass,
    Part,
    Pass,
    ReadConditions,
    Row,
    Spec,
    Works,
    parts_of,
)
from pixelcnn_jax.models.embedding import PixelEmbedding

Above: TypeAlias = Any
"""What a vertical stack found: a pytree of features. Any, since only the model that
made it knows its structure."""

Images: TypeAlias = jax.Array | np.ndarray
"""Integers ``[B, H, W, C]`` in ``[0, levels)``."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ModelCaches:
    """All that a model remembers of the pixels so far; a pytree."""

    layers: Caches
    """The cache of each layer, by the layer's name."""
    above: Above
    """What the vertical stack found for the current row, each ``[W, B, D]``."""
    # Static, since `start_row` makes arrays of these sizes inside a trace.
    batch_size: int = dataclasses.field(metadata=dict(static=True))
    width: int = dataclasses.field(metadata=dict(static=True))


class PixelModel(nnx.Module):
    """A network that gives each pixel's distribution from all earlier pixels.

    To write a model, subclass this and give it

    * ``__init__(config, *, rngs)``: its layers, as attributes.
    * ``encode(images)``: the one place where levels become the floats it reads,
      ``[..., C]`` to ``[..., D]``: by ``embedding``, unless that is None.
    * ``network(x, above, conditions, apply)``: the body, from encoded pixels to the
      ``distribution.num_outputs`` features that parameterise a pixel's distribution. It
      applies layers by ``apply(layer, x)`` and asks ``apply`` for the rest; see
      `layers.Pass`. Where a `layers.ConditionBias` of ``reader.sizes`` is applied, it
      learns of what images are conditioned on, if they are.
    * if it has one, ``vertical(x, conditions, apply)``: the stack that sees only whole
      rows above, which runs once per row. Its result, a pytree of features, flows to
      ``network`` as ``above``; ``apply.here`` takes the current position of a part.

    Then add its config to ``config.models`` and the class to ``models.build``. Image
    pass, caches, steps and lag are derived here from its layers, and every theorem of
    the tests runs on it once it stands in their registry. A walk goes

        caches = model.init_caches(spec, conditions)
        for each row:
            caches = model.start_row(caches, Row(row))
            for each front of positions in it:
                outputs, caches = model.step(caches, front, pixels_known_so_far)
                caches = model.observe(caches, front, pixels_drawn_from_outputs)
    """

    config: ModelConfig

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs | None = None):
        self.config = config
        self.distribution: Distribution = build_distribution(config)
        self.reader = ConditionReader(
            classes=config.num_classes,
            features=config.condition_features,
            channels=config.condition_channels,
            levels=config.condition_levels,
            width=config.condition_width,
            optional=config.condition_dropout > 0,
            rngs=rngs,
        )
        self.embedding = _embedding(config, rngs)

    def encode(self, images: jax.Array) -> jax.Array:
        """Levels ``[..., C]`` as the floats that the network reads."""
        raise NotImplementedError(f"{type(self).__name__} must define encode")

    def network(
        self, x: jax.Array, above: Above, conditions: ReadConditions, apply: Pass
    ) -> jax.Array:
        """The body: encoded pixels to what parameterises each pixel's distribution."""
        raise NotImplementedError(f"{type(self).__name__} must define network")

    def vertical(self, x: jax.Array, conditions: ReadConditions, apply: Pass) -> Above:
        """What the rows above tell about each position; ``()`` if there is no stack."""
        return ()

    # --- derived: the image pass

    def __call__(
        self,
        images_BHWC: Images,
        labels: Images | None = None,
        *,
        condition: Images | None = None,
        condition_map: Images | None = None,
        dropout_keys: jax.Array | None = None,
        reverse_mode: bool = False,
    ) -> jax.Array:
        """What the output distribution needs for every pixel, given all earlier ones.

        Args:
            images_BHWC: integers ``[B, H, W, C]`` in ``[0, levels)``. H and W need not
                be the config's.
            labels: int ``[B]``, the classes; only for a model with classes.
            condition: float ``[B, D]``, a vector for each image; only for a model with
                ``condition_features``.
            condition_map: ``[B, h, w, D]``, of a height and width that divide the
                images'; only for a model with ``condition_channels``.
            dropout_keys: keys ``[B]``, only for training.
            reverse_mode: faster gradients, at the price of forward-mode
                differentiation; the values are the same.

        Returns:
            float32, for a categorical output logits ``[B, H, W, C, V]``, for a mixture
            its parameters ``[B, H, W, P]``.
        """
        return self.given(
            images_BHWC,
            Conditions(labels, condition, condition_map),
            dropout_keys=dropout_keys,
            reverse_mode=reverse_mode,
        )

    def given(
        self,
        images_BHWC: Images,
        conditions: Conditions,
        *,
        dropout_keys: jax.Array | None = None,
        reverse_mode: bool = False,
    ) -> jax.Array:
        """The image pass for conditions in one piece; see `__call__`."""
        apply = ImagePass(dropout_keys, reverse_mode)
        return self._under(apply, images_BHWC, conditions)

    def _under(
        self, apply: ImagePass, images_BHWC: Images, conditions: Conditions
    ) -> jax.Array:
        read = self.reader(conditions, *images_BHWC.shape[1:3])
        # Features first, as image passes have them; steps leave them last.
        x = jnp.moveaxis(self.encode(jnp.asarray(images_BHWC)), -1, 0)
        above = self.vertical(x, read, apply)
        raw = self.network(x, above, read, apply)
        return self.distribution.outputs(raw, apply.features)

    def image_pass_bytes(self, count: int, height: int, width: int) -> int:
        """The memory that a pass over so many images takes at least: here that of its
        outputs. A model whose layers hold more at a time says so."""
        return 4 * count * height * width * self.distribution.num_outputs

    @property
    def needs_calibration(self) -> bool:
        """Whether its first weights come from a batch of images; see `calibrate`."""
        layers = self.causal_layers().values()
        return any(layer.needs_calibration for layer in layers)

    def calibrate(
        self,
        images_BHWC: Images,
        conditions: Conditions = NO_CONDITIONS,
        *,
        dropout_keys: jax.Array | None = None,
    ) -> None:
        """Initialise weight-normalised layers from these images, in place.

        Arguments as for `given`.
        """
        self._under(CalibratingPass(dropout_keys), images_BHWC, conditions)

    # --- derived: steps over caches

    def causal_layers(self) -> dict[str, AnyLayer]:
        """All layers with a step, by name, such as ``blocks.0.middle``."""
        # Found anew at each call: merged and folded copies have layers of their own.
        return {
            ".".join(map(str, path)): module
            for path, module in nnx.iter_modules(self)
            if isinstance(module, CausalLayer)
        }

    def init_caches(
        self, spec: Spec, conditions: Conditions = NO_CONDITIONS
    ) -> ModelCaches:
        """What is known before the first pixel, of images with these conditions."""
        read = self.reader(conditions, spec.height, spec.width)
        spec = spec._replace(conditions=read)
        layers = {
            name: layer.init_cache(spec.on_grid(layer.scale))
            for name, layer in self.causal_layers().items()
        }
        caches = ModelCaches(layers, (), spec.batch_size, spec.width)
        # Loops carry the caches, so `above` has its final structure from the start.
        above = jax.eval_shape(lambda: self.start_row(caches, Row(jnp.int32(0))).above)
        empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), above)
        return dataclasses.replace(caches, above=empty)

    @property
    def coarsest_scale(self) -> int:
        """Rows and columns of the image for each of the model's coarsest grid."""
        return max(layer.scale for layer in self.causal_layers().values())

    @property
    def has_vertical_stack(self) -> bool:
        """Whether there is work to do once per row."""
        return type(self).vertical is not PixelModel.vertical

    def start_row(
        self, caches: ModelCaches, at: Row, works: Works | None = None
    ) -> ModelCaches:
        """The caches once all rows above that one are known."""
        if not self.has_vertical_stack:
            return caches
        apply = self._cached_pass(caches, at, works)
        # The stack sees only rows above: what its own row holds has no effect.
        x = self.encode(self._zeros(caches))
        above = self.vertical(x, NOTHING_READ, apply)
        return dataclasses.replace(caches, layers=apply.caches, above=above)

    def _zeros(self, caches: ModelCaches) -> jax.Array:
        """A row of pixels."""
        shape = (caches.width, caches.batch_size, self.config.channels)
        return jnp.zeros(shape, jnp.int32)

    def known_parts(
        self, caches: ModelCaches, known_rows: int, *, outputs: bool
    ) -> list[Part]:
        """What must be computed of known rows at the top, for those below them.

        Args:
            caches: from `init_caches`.
            known_rows: how many.
            outputs: whether those of the known rows are wanted as well.
        """
        applied = {}

        def trace(caches: ModelCaches) -> None:
            x, row = self.encode(self._zeros(caches)), Row(jnp.int32(0))
            for part in (self.vertical, partial(self.network, above=caches.above)):
                apply = self._cached_pass(caches, row)
                part(x, conditions=NOTHING_READ, apply=apply)
                applied.update(apply.applied)

        jax.eval_shape(trace, caches)
        first_row = 0 if outputs else known_rows
        return parts_of(list(applied.items()), known_rows, first_row)

    def step(
        self,
        caches: ModelCaches,
        at: At,
        pixels_FBC: jax.Array,
        works: Works | None = None,
    ) -> tuple[jax.Array, ModelCaches]:
        """Outputs ``[F, B, ...]`` at these positions, and the new caches.

        Every pixel before them must have been given to `observe`. Of their own pixels,
        the channels that are known already count; others may hold any valid level.

        With the works of `known_parts`, at a row, what nobody reads is left out.
        """
        apply = self._cached_pass(caches, at, works)
        x = self.encode(pixels_FBC)
        # No conditions: `init_caches` has put what layers need of them in their caches.
        raw = self.network(x, caches.above, NOTHING_READ, apply)
        outputs = self.distribution.outputs(raw, apply.features)
        return outputs, dataclasses.replace(caches, layers=apply.caches)

    def observe(
        self, caches: ModelCaches, at: At, pixels_FBC: jax.Array
    ) -> ModelCaches:
        """The caches once the pixels at these positions are known."""
        x = self.encode(pixels_FBC)
        layers = {
            name: layer.observe(caches.layers[name], at, x)
            for name, layer in self.causal_layers().items()
        }
        return dataclasses.replace(caches, layers=layers)

    def folded(self) -> "PixelModel":
        """A copy to sample from, in which nothing that depends only on the parameters
        is computed again at each step; not to train."""
        copy = nnx.clone(self)  # since folding overwrites parameters in place
        for layer in copy.causal_layers().values():
            layer.fold()
        return copy

    def _cached_pass(
        self, caches: ModelCaches, at: At, works: Works | None = None
    ) -> CachedPass:
        names = {id(layer): name for name, layer in self.causal_layers().items()}
        return CachedPass(names, caches.layers, at, works)

    @property
    def wavefront_lag(self) -> int | None:
        """Columns a row of a wavefront must stay behind the row above.

        None: rows can't be visited side by side.
        """
        # The stack reads whole rows above, which in a wavefront are still being drawn.
        if self.has_vertical_stack:
            return None
        lags = [layer.lag for layer in self.causal_layers().values()]
        # The neediest layer decides, and a single one that can't overlap forbids it.
        known = [lag for lag in lags if lag is not None]
        return max(known) if len(known) == len(lags) else None


def _embedding(config: ModelConfig, rngs: nnx.Rngs | None) -> PixelEmbedding | None:
    """The vectors of the levels, if the network reads such."""
    if config.pixel_input == "value":
        return None
    if rngs is None:
        raise ValueError(
            "a model that embeds its pixels needs weights for that: pass rngs to"
            " PixelModel.__init__"
        )
    channels, levels = config.channels, config.levels
    return PixelEmbedding(channels, levels, config.embedding_features, rngs=rngs)

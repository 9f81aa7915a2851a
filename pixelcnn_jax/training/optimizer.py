"""Adam with what large models need, and the running mean of the weights."""

import math

import jax
import jax.numpy as jnp
import optax

from pixelcnn_jax.config import TrainingConfig


def learning_rate(config: TrainingConfig, updates: int) -> optax.Schedule:
    """The learning rate by update: a linear warm-up, then the schedule; with decay.

    ``updates`` is their number in the whole run, with which the cosine ends.
    """
    if config.learning_rate_decay == 1:
        return _schedule(config, updates)
    before = _schedule(config, updates)
    # The power of a float32 close to 1 would lose digits; its logarithm does not.
    rate = math.log(config.learning_rate_decay)
    return lambda step: before(step) * jnp.exp(rate * step)


def _schedule(config: TrainingConfig, updates: int) -> optax.Schedule:
    # Optax refuses a cosine over no updates.
    after_warmup = max(1, updates - config.warmup_steps)
    after = (
        optax.cosine_decay_schedule(config.learning_rate, after_warmup)
        if config.schedule == "cosine"
        else optax.constant_schedule(config.learning_rate)
    )
    if config.warmup_steps == 0:
        return after
    warmup = optax.linear_schedule(0, config.learning_rate, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])


def make_optimizer(
    config: TrainingConfig, updates: int
) -> optax.GradientTransformation:
    """Clip the gradient, Adam (epsilon as in Keras), decay the kernels (AdamW)."""

    def kernels(params: dict[str, jax.Array]) -> dict[str, bool]:
        # Not biases, gains or class vectors: decay is for what multiplies features.
        return {name: name.endswith("kernel") for name in params}

    parts = []
    if config.clip_norm is not None:
        parts.append(optax.clip_by_global_norm(config.clip_norm))
    parts.append(optax.scale_by_adam(config.beta1, config.beta2, eps=1e-7))
    if config.weight_decay > 0:
        # After Adam, so that its moments do not see the decay.
        parts.append(optax.add_decayed_weights(config.weight_decay, mask=kernels))
    parts.append(optax.scale_by_learning_rate(learning_rate(config, updates)))
    return _as_jax_promotes_types(optax.chain(*parts))


def _as_jax_promotes_types(
    optimizer: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """The same, whatever ``jax_numpy_dtype_promotion`` says: Optax relies on it."""

    def init(params: optax.Params) -> optax.OptState:
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.init(params)

    def update(
        updates: optax.Updates,
        state: optax.OptState,
        params: optax.Params | None = None,
    ) -> tuple[optax.Updates, optax.OptState]:
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(updates, state, params)

    return optax.GradientTransformation(init, update)


def ema_update(
    ema: dict[str, jax.Array],
    params: dict[str, jax.Array],
    step: jax.Array,
    decay: float,
) -> dict[str, jax.Array]:
    """The running mean after one more update; empty stays empty.

    The decay begins low, ``(1 + step) / (10 + step)``, so that the first weights are
    soon forgotten; ``step`` counts the updates before this one.
    """
    share = jnp.minimum(decay, (1 + step) / (10 + step))
    return {name: share * ema[name] + (1 - share) * params[name] for name in ema}

"""Drawing one batch of images: what is chosen at each pixel, and in which order.

The noise of a pixel depends on the key, the index of the image in the job and the
position only, so every method, batch size, number of devices and order of visit draws
the same images, up to ties of two levels within the rounding of the logits. That is
about 1e-6 in float32 at ``jax.default_matmul_precision("highest")``, the default on a
CPU; the lower precision of other devices' defaults, or of bfloat16, makes ties more
frequent.
"""

from functools import partial
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from pixelcnn_jax import keys
from pixelcnn_jax.arguments import Scalar
from pixelcnn_jax.errors import require
from pixelcnn_jax.guidance import GuidedWalker, draw_guided
from pixelcnn_jax.layers import NO_CONDITIONS, Conditions, Front
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.order import Order
from pixelcnn_jax.walk import Choose, Record, walk
from pixelcnn_jax.walkers import Walker, WholeImages

Method = Literal["auto", "full", "cached", "wavefront"]

METHODS: tuple[Method, ...] = get_args(Method)

WAVEFRONT_IMAGES = {
    "cpu": range(2, 9),
    "gpu": range(1, 10_001),
    "tpu": range(1, 9),
}
"""Of how many images per device "auto" picks "wavefront", by JAX's platform.

Measured on a CPU's two cores, and on an NVIDIA H200, which waits for each step whatever
is in it: there a wavefront of 64 or 1,000 images takes half the time, and of 10,000 as
long (docs/speed.md). Nothing was measured on a TPU.
"""

WAVEFRONT_PIXELS = {"gpu": WAVEFRONT_IMAGES["gpu"][-1] * 16 * 16}
"""The most positions of all images of a device, likewise, where there is such a limit:
what was measured. Of larger images a wavefront holds many times what the cached loop
does."""


class Given(NamedTuple):
    """What is given of each image; a pytree of arrays ``[B, ...]``."""

    conditions: Conditions = NO_CONDITIONS
    images: jax.Array | None = None
    """int32 ``[B, H, W, C]``, read where ``known``; None: nothing is known."""
    known: jax.Array | None = None
    """bool ``[B, H, W]``."""
    guidance: jax.Array | None = None
    """float32 ``[B]``, see `guidance`; None: the model's own law is drawn from."""


NOTHING_GIVEN = Given()


class Way(NamedTuple):
    """How a batch is drawn; all static."""

    method: Method
    height: int
    width: int
    first_row: int = 0
    """Rows above it are known of all images, and cost no steps."""
    with_log_prob: bool = False
    static_phases: bool = False
    """Of the cached method, for models with several grids: see `Order.period`."""


class Drawn(NamedTuple):
    """A batch of images, ``[B, ...]``."""

    images: jax.Array
    """int32 ``[B, H, W, C]``."""
    log_prob: jax.Array | None
    """float32 ``[B, H, W]``, nats at temperature 1, if asked for."""


def require_method(method: object) -> None:
    """Raise unless there is a method of that name."""
    require(
        isinstance(method, str) and method in METHODS,
        f"the method must be one of {', '.join(METHODS)}, got {method!s:.80}",
    )


def require_method_of(model: PixelModel, method: Method) -> None:
    """Raise if a wavefront is asked of a model that has none.

    To find that out takes milliseconds.
    """
    require(
        method != "wavefront" or model.wavefront_lag is not None,
        f"method wavefront needs a model whose rows can run side by side, got a"
        f" {type(model).__name__}; use cached",
    )


def choose_method(
    model: PixelModel, way: Way, images_per_device: int, platform: str
) -> Method:
    """The method that "auto" stands for on a platform; others as they are.

    Raises:
        UserError: see `require_method_of`.
    """
    method, pixels = way.method, images_per_device * way.height * way.width
    if method == "auto":
        pays = images_per_device in WAVEFRONT_IMAGES.get(
            platform, ()
        ) and pixels <= WAVEFRONT_PIXELS.get(platform, pixels)
        possible = pays and model.wavefront_lag is not None
        return "wavefront" if possible else "cached"
    require_method_of(model, method)
    return method


def draw_batch(
    model: PixelModel,
    way: Way,
    keys_B: jax.Array,
    temperature: Scalar,
    given: Given = NOTHING_GIVEN,
) -> Drawn:
    """One batch of images, each from its own key; traceable."""
    walker: Walker = WholeImages(model) if way.method == "full" else model
    choose = draw_pixels(model, keys_B, temperature, way.width, given.guidance)
    record: Record = model.distribution.step_log_prob
    if given.guidance is not None:
        walker = GuidedWalker(walker)
        # Of the model's own law: outputs are those with the conditions and without.
        record = partial(_record_of_first, record)
    above = None
    if given.images is not None and given.known is not None:
        choose = keep_known(choose, given.images, given.known)
        # None, not an empty array: then no loop over known rows is compiled.
        above = given.images[:, : way.first_row] if way.first_row else None
    images, log_prob = walk(
        walker,
        order_of(model, way),
        len(keys_B),
        choose,
        conditions=given.conditions,
        record=record if way.with_log_prob else None,
        above=above,
    )
    return Drawn(images, log_prob if way.with_log_prob else None)


def order_of(model: PixelModel, way: Way) -> Order:
    """How a method, which is not "auto", visits the positions."""
    lag = model.wavefront_lag if way.method == "wavefront" else None
    period = model.coarsest_scale if way.static_phases else 1
    return Order(way.height, way.width, lag, way.first_row, period)


def _record_of_first(
    record: Record, outputs: jax.Array, pixels: jax.Array, step: int
) -> jax.Array:
    return record(outputs[0], pixels, step)


def draw_pixels(
    model: PixelModel,
    keys_B: jax.Array,
    temperature: Scalar,
    width: int,
    guidance_B: jax.Array | None = None,
) -> Choose:
    """The choice of a walk that draws every pixel from its distribution.

    With guidance, the outputs must be a `GuidedWalker`'s.
    """
    draw = model.distribution.draw
    if guidance_B is not None:
        draw = partial(draw_guided, model.distribution, guidance=guidance_B)

    def choose(
        outputs: jax.Array, before_FBC: jax.Array, front: Front, step: int
    ) -> jax.Array:
        # By position in the image, not by step: so every order draws the same noise.
        keys_FB = pixel_keys(keys_B, front.rows_F * width + front.columns_F)
        return draw(keys_FB, outputs, before_FBC, step, temperature)

    return choose


def keep_known(choose: Choose, images: jax.Array, known: jax.Array) -> Choose:
    """The choice that keeps known pixels and leaves the others to ``choose``.

    Args:
        choose: draws.
        images: int32 ``[B, H, W, C]``.
        known: bool ``[B, H, W]``.
    """
    images_HWBC = jnp.moveaxis(images, 0, 2)
    known_HWB = jnp.moveaxis(known, 0, 2)

    def keep(
        outputs: jax.Array, before_FBC: jax.Array, front: Front, step: int
    ) -> jax.Array:
        # Drawn even where known: the images of a batch share their steps, and since
        # noise goes by position, an unused draw shifts nothing.
        drawn_FBC = choose(outputs, before_FBC, front, step)
        given_FBC = images_HWBC[front.rows_F, front.columns_F]
        known_FB = known_HWB[front.rows_F, front.columns_F]
        return jnp.where(known_FB[..., None], given_FBC, drawn_FBC)

    return keep


def image_keys(key: jax.Array, index_B: jax.Array) -> jax.Array:
    """The key of each image from its index in the job, ``[B]``."""
    pixels = keys.for_purpose(key, keys.Purpose.PIXELS)
    return jax.vmap(lambda index: jax.random.fold_in(pixels, index))(index_B)


def pixel_keys(keys_B: jax.Array, position_F: jax.Array) -> jax.Array:
    """The keys of the pixels at positions ``row * W + column``, ``[F, B]``."""
    fold = jax.vmap(jax.random.fold_in, in_axes=(0, None))
    return jax.vmap(fold, in_axes=(None, 0))(keys_B, position_F)

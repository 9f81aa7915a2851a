"""Jobs of drawing: any number of images, in batches, over all devices, one program."""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from pixelcnn_jax import keys
from pixelcnn_jax.arguments import (
    Scalar,
    as_float32,
    require_count,
    require_key,
    require_temperature,
)
from pixelcnn_jax.devices import DATA, Placed, replicated, size_of
from pixelcnn_jax.drawing import (
    NOTHING_GIVEN,
    Drawn,
    Given,
    Method,
    Way,
    choose_method,
    draw_batch,
    image_keys,
    order_of,
    require_method,
)
from pixelcnn_jax.layers import Spec
from pixelcnn_jax.memory import bytes_of, require_memory, room_of
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import Graph, split
from pixelcnn_jax.models.input_checks import require_model


def require_drawable(key: jax.Array, method: Method, temperature: Scalar) -> None:
    """Raise unless images can be drawn like this by some model; see `sample`."""
    require_key(key)
    require_temperature(temperature)
    require_method(method)


class Drawer:
    """Draws from one model, whose weights it puts on the devices once."""

    def __init__(self, model: PixelModel):
        require_model(model)
        self.model = model
        self._graph, params = split(model)
        self.params = Placed(params)

    def __call__(
        self,
        key: jax.Array,
        num_images: int,
        way: Way,
        *,
        temperature: Scalar = 1.0,
        given: Given = NOTHING_GIVEN,
        batch_size: int | None = None,
        first: int = 0,
    ) -> Drawn:
        """Draw images.

        Args:
            key: a key of ``jax.random.key`` or ``jax.random.PRNGKey``.
            num_images: N.
            way: how; its method may be "auto".
            temperature: see `sample`.
            given: of each image, ``[N, ...]``.
            batch_size: images drawn at a time; None: all.
            first: the index of the first of them in a larger job, of which these are a
                part.

        Raises:
            UserError: see `sample`.
        """
        require_drawable(key, way.method, temperature)
        mesh, share = self._share(num_images, batch_size)
        num_devices = size_of(mesh)
        if mesh is None and share > 1:
            self.params.warn_if_idle()
        # Integers of 32 bits, of which the program holds the batches and the whole.
        pixels = num_images * way.height * way.width * self.model.config.channels
        require_memory(
            f"{num_images} images",
            4 * pixels,
            "draw fewer at a time",
            there=room_of(self.params.device).there,
        )
        batches = -(-num_images // (share * num_devices))
        job = Job(num_images, batches, share, way, self.params.device)
        threefry = keys.as_threefry(key)
        inputs = (threefry, as_float32(temperature), given, jnp.int32(first))
        if mesh is not None:
            # Arrays committed to one device can't enter a program over several.
            inputs = jax.device_put(inputs, replicated(mesh))
        drawn = run(self._graph, job, mesh, self.params.on(mesh), *inputs)
        if mesh is None:
            return drawn
        # Back to the weights' device, so that results mix with the caller's arrays.
        return jax.device_put(drawn, self.params.device)

    def method(
        self, num_images: int, way: Way, batch_size: int | None = None
    ) -> Method:
        """The method that draws so many images, if this way is asked for."""
        share = self._share(num_images, batch_size)[1]
        return choose_method(self.model, way, share, self.params.device.platform)

    def _share(
        self, num_images: int, batch_size: int | None
    ) -> tuple[Mesh | None, int]:
        """The devices of a batch, and how many of its images each draws."""
        if batch_size is not None:
            batch_size = require_count("batch_size", batch_size)
        batch = num_images if batch_size is None else min(batch_size, num_images)
        mesh = self.params.mesh(batch)
        # Rounded up: all devices run one program, and what is too much is dropped.
        return mesh, -(-batch // size_of(mesh))


def _require_room(
    model: PixelModel, way: Way, given: Given, job: "Job", mesh: Mesh | None
) -> None:
    """Raise unless the caches of a batch fit; nothing is made of them yet.

    Args:
        given: of a device's share of the batch.
    """
    if way.method == "full":  # which has none
        return
    front = order_of(model, way).front_size
    spec = Spec(job.batch_size, way.height, way.width, front)
    caches = jax.eval_shape(lambda: model.init_caches(spec, given.conditions))
    room = room_of(job.device, size_of(mesh))
    twice = 1 if given.guidance is None else 2
    require_memory(
        f"what is remembered of {room.sharers * job.batch_size} images drawn at a time",
        twice * room.sharers * bytes_of(caches),
        "lower batch_size",
        there=room.there,
    )


class Job(NamedTuple):
    """What a program is compiled for."""

    num_images: int
    num_batches: int
    batch_size: int
    """A device's share of a batch."""
    way: Way
    """As asked for: what "auto" stands for is found while the program is traced."""
    device: Any = None
    """That runs it, or one of several that are alike, whose memory is to suffice; None:
    it is run elsewhere, on any platform."""


PLATFORMS = {"cpu": "cpu", "gpu": "cuda", "tpu": "tpu"}
"""What a program is lowered for, by the name that devices have for it."""


def _ways(model: PixelModel, job: Job) -> dict[str, Way]:
    """How it is drawn on each platform where it may run; no method is "auto"."""
    platforms = PLATFORMS if job.device is None else [job.device.platform]
    return {
        platform: job.way._replace(
            method=choose_method(model, job.way, job.batch_size, platform)
        )
        for platform in platforms
    }


@partial(jax.jit, static_argnums=(0, 1, 2))
def run(
    graph: Graph,
    job: Job,
    mesh: Mesh | None,
    params: nnx.State,
    key: jax.Array,
    temperature: Scalar,
    given: Given,
    first: jax.Array | int,
) -> Drawn:
    """Draw all batches of a job."""
    num_devices = size_of(mesh)
    shape = (job.num_batches, num_devices * job.batch_size)
    # An image's key comes from its index in the job, whatever its batch or device.
    index = first + jnp.arange(math.prod(shape), dtype=jnp.int32).reshape(shape)

    def in_batches(x: jax.Array) -> jax.Array:
        # The last batch is filled up with images that are dropped again.
        rest = math.prod(shape) - job.num_images
        filled = jnp.pad(x, [(0, rest)] + [(0, 0)] * (x.ndim - 1))
        return filled.reshape(*shape, *x.shape[1:])

    given = jax.tree.map(in_batches, given)

    def on_device(
        params: nnx.State,
        key: jax.Array,
        temperature: Scalar,
        index: jax.Array,
        given: Given,
    ) -> Drawn:
        # Folded inside the program, once for all its batches.
        model = graph.model(params).folded()
        ways = _ways(model, job)
        if job.device is not None:
            way = ways[job.device.platform]
            first_batch = jax.tree.map(lambda x: x[0], given)
            _require_room(model, way, first_batch, job, mesh)

        def one_batch(batch: tuple[jax.Array, Given]) -> Drawn:
            index_B, given_B = batch
            keys_B = image_keys(key, index_B)

            # One for each way, since what is the same twice is compiled once.
            draw = {
                way: partial(draw_batch, model, way, keys_B, temperature, given_B)
                for way in set(ways.values())
            }
            if len(draw) == 1:
                (alone,) = draw.values()
                return alone()
            branches = {PLATFORMS[name]: draw[way] for name, way in ways.items()}
            return lax.platform_dependent(**branches)

        if job.num_batches == 1:
            drawn = one_batch(jax.tree.map(lambda x: x[0], (index, given)))
            return jax.tree.map(lambda x: x[None], drawn)
        return lax.map(one_batch, (index, given))

    if mesh is not None:
        everywhere, batches = PartitionSpec(), PartitionSpec(None, DATA)
        # Loops begin with constants and go on with values of one device, which the
        # check of varying axes (vma) does not accept.
        on_device = jax.shard_map(
            on_device,
            mesh=mesh,
            in_specs=(everywhere, everywhere, everywhere, batches, batches),
            out_specs=batches,
            check_vma=False,
        )
    drawn = on_device(params, key, temperature, index, given)
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[: job.num_images], drawn)

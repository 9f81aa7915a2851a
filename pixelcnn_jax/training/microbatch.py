"""How many images' gradients to compute at once: measured where a training begins.

On a CPU the best number depends on the network and on the caches of the machine; twice
too many or too few can cost a quarter of the speed. So a training that is long enough
tries some, for a small share of its own time. What was found is kept beside the
compiled programs, and written into the run: to go on with other microbatches would end
with other bits.
"""

import contextlib
import dataclasses
import hashlib
import json
import time
from pathlib import Path

import jax

from pixelcnn_jax.config import Config, to_json
from pixelcnn_jax.data import ImageSet
from pixelcnn_jax.devices import all_devices
from pixelcnn_jax.files import write_text
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import to_params
from pixelcnn_jax.training.shares import share_out
from pixelcnn_jax.training.trainer import Trainer

WORTH = 3e12
"""Floating-point operations of a training that is worth a measurement: about a minute
of two cores."""

BUDGET_SECONDS = 10.0
"""Time after which no other number is tried; or, if more, `BUDGET_SHARE`."""

BUDGET_SHARE = 0.01
"""Share of the training's time that trying may take."""

TURNS = 3
"""Calls that are timed of each number; the fastest counts."""

CHOICES = "microbatches.json"
"""The file with what was found, in the folder of compiled programs."""


def with_microbatch(
    config: Config,
    model: PixelModel,
    images: ImageSet,
    images_per_epoch: int | None = None,
) -> Config:
    """The config with the number of images that trains fastest.

    As it was given if it has one, if the training is short, on an accelerator (which
    takes the whole batch), or over several processes (which must agree).

    Args:
        config: of a training that begins.
        model: with its first weights.
        images: of training, as the model takes them; or the first batch of them.
        images_per_epoch: how many; None: these.
    """
    if images_per_epoch is None:
        images_per_epoch = len(images)
    if (
        config.training.microbatch_size is not None
        or all_devices()[0].platform != "cpu"
        or jax.process_count() > 1
        or _operations(config, model, images_per_epoch) < WORTH
    ):
        return config
    name = _name(config, images)
    found = _remembered().get(name)
    if found is None:
        found = fastest(config, model, images, images_per_epoch)
        _remember(name, found)
    return _with(config, found)


def fastest(
    config: Config, model: PixelModel, images: ImageSet, images_per_epoch: int
) -> int:
    """The microbatch whose updates take least time, among those there was time for.

    Begins with the one by default and goes on by factors of two, up and down, for as
    long as that is faster. Arguments as of `with_microbatch`.
    """
    shape = images.images.shape[1:]
    first = share_out(config.training, shape, all_devices())
    updates = config.training.epochs * -(
        -images_per_epoch // config.training.batch_size
    )
    began = time.monotonic()
    best, least = first.microbatch, _seconds(config, model, images, first.microbatch)
    budget = max(BUDGET_SECONDS, BUDGET_SHARE * updates * least)
    for factor in (0.5, 2.0):
        tried = int(first.microbatch * factor)
        while 1 <= tried <= first.share and time.monotonic() - began < budget:
            seconds = _seconds(config, model, images, tried)
            if seconds >= least:
                break
            best, least = tried, seconds
            tried = int(tried * factor)
    return best


def _seconds(
    config: Config, model: PixelModel, images: ImageSet, microbatch: int
) -> float:
    """Of an update."""
    training = _with(config, microbatch).training
    trainer = Trainer(model, training, images, seed=config.seed)
    found = []
    with contextlib.closing(trainer):
        state, made = trainer.run(trainer.init(), 0, 0, 1)  # compiles
        for _ in range(TURNS):
            jax.block_until_ready(state)
            began = time.monotonic()
            state, made = trainer.run(state, 0, 0, 1)
            jax.block_until_ready(state)
            found.append((time.monotonic() - began) / made)
    return min(found)


def _with(config: Config, microbatch: int) -> Config:
    training = dataclasses.replace(config.training, microbatch_size=microbatch)
    return dataclasses.replace(config, training=training)


def _operations(config: Config, model: PixelModel, num_images: int) -> float:
    """Of the training, roughly: two per weight and position, thrice for gradients."""
    weights = sum(x.size for x in to_params(model)[1].values())
    positions = model.config.height * model.config.width
    return 6.0 * weights * positions * num_images * config.training.epochs


def _name(config: Config, images: ImageSet) -> str:
    """Of what decides which microbatch is best."""
    devices = all_devices()
    facts = [
        json.loads(to_json(config))["model"],
        config.training.batch_size,
        images.images.shape,
        str(images.images.dtype),
        (len(devices), devices[0].device_kind, jax.__version__),
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _remembered() -> dict[str, int]:
    """The choices of this machine; none if they can't be read."""
    path = _file()
    try:
        found = json.loads(path.read_text()) if path is not None else {}
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {
        str(name): value
        for name, value in found.items()
        if type(value) is int and 1 <= value <= 2**20
    }


def _remember(name: str, microbatch: int) -> None:
    path = _file()
    if path is None:
        return
    found = {**_remembered(), name: microbatch}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(found, indent=1) + "\n")
    except OSError:  # it will be measured again
        pass


def _file() -> Path | None:
    folder = jax.config.jax_compilation_cache_dir  # pyright: ignore[reportAttributeAccessIssue]
    return None if folder is None else Path(folder) / CHOICES

"""A training that may be killed at any moment, in a process of its own.

The process is a fork of one that has imported everything and computed nothing, so that
a kill costs a second and not ten. It makes one update per call and saves after each.
"""

import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

os.environ["TQDM_DISABLE"] = "1"

import jax
import numpy as np
import tensorboardX  # noqa: F401  so that a fork need not import it
from tqdm import tqdm

import pixelcnn_jax as pj
from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.training import keeping, loop

# Its own lock is a semaphore of the system, which a kill would leave behind.
tqdm.set_lock(threading.RLock())

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["mortal"])

CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")
"""Python's events by which a process changes files."""

PRUNES = ("os.remove", "os.rmdir")
"""Those of dropping an old checkpoint."""


class Death(NamedTuple):
    """The k-th event of some kinds, at which a process kills itself."""

    events: tuple[str, ...]
    number: int


NEVER = Death(CHANGES, 0)


def images_for(model: ModelConfig) -> tuple[pj.ImageSet, pj.ImageSet]:
    """Twenty images to train on, and eight to validate."""
    rng = np.random.default_rng(0)
    shape = (28, model.height, model.width, model.channels)
    images = rng.integers(0, model.levels, shape).astype(np.uint8)
    labels = np.arange(28) % model.num_classes if model.num_classes else None
    whole = pj.ImageSet(images, labels)
    last = dataclasses.replace(
        whole, images=images[20:], labels=None if labels is None else labels[20:]
    )
    return whole.first(20), last


def start(
    config: pj.Config, devices: int, cache: Path, death: Death = NEVER
) -> BaseProcess:
    """Begin a training in ``config.workdir``, or go on with it."""
    process = CONTEXT.Process(target=_train, args=(config, devices, str(cache), death))
    process.start()
    return process


def _train(config: pj.Config, devices: int, cache: str, death: Death) -> None:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)
    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    keeping.CHECKPOINT_SECONDS = -1.0
    loop.DISPATCH_SECONDS = 0.0
    count = _count(Path(config.workdir), death)
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        pj.fit(config, *images_for(config.model), workdir=config.workdir)
    (Path(config.workdir) / "changes").write_text(str(count[0]))


def _count(folder: Path, death: Death) -> list[int]:
    """The number of events in a folder so far; the process ends at the fatal one."""
    count = [0]

    def hear(event: str, arguments: tuple[object, ...]) -> None:
        if event not in death.events or not str(arguments[0]).startswith(str(folder)):
            return
        if event == "open" and str(arguments[1])[:1] not in "wax":  # to read
            return
        count[0] += 1
        if count[0] == death.number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hear)
    return count

"""Our own work, in this process or in a child that runs another checkout.

The other checkout may be of version 0.1.0, whose interface differs in what stands here.
Run as a program this is the child: it takes one request per line, a JSON object, and
answers each with another.
"""

import contextlib
import dataclasses
import importlib
import io
import itertools
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from machine import Contestant, contestant, take_turn, watch_compilation
from report import ROOT

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.training import Trainer

IS_0_1 = not hasattr(pj, "fit")


@dataclasses.dataclass(frozen=True)
class Work:
    """Something that the package does, the same in every version."""

    task: Literal["sampling", "training"]
    network: str
    """The name of its config's class."""
    settings: dict[str, Any]
    """The config's fields."""
    images: int
    """Drawn in one call, or per update."""
    method: Literal["auto", "full", "cached", "wavefront"] = "auto"
    """Of sampling."""
    microbatch: int | None = None
    """`TrainingConfig.microbatch_size`."""
    steps: int = 1
    """Updates of a window, which is timed as a whole."""

    @property
    def images_per_run(self) -> int:
        return self.images * self.steps

    def model(self) -> Any:
        return pj.build_model(getattr(pj, self.network)(**self.settings))

    def prepared(self) -> Callable[[jax.Array], object]:
        """Does the work once, from a key; all its programs are compiled."""
        run = self._sampling() if self.task == "sampling" else self._training()
        jax.block_until_ready(run(jax.random.key(0)))
        return run

    def _sampling(self) -> Callable[[jax.Array], object]:
        model, method = self.model(), self.method
        # In 0.1.0 `sample` itself kept the weights of its last model in place.
        draw = partial(pj.sample, model) if IS_0_1 else pj.Sampler(model)
        return lambda key: draw(key, self.images, method=method)

    def _training(self) -> Callable[[jax.Array], object]:
        model, images = self.model(), self.training_windows()
        images = images.reshape(-1, *images.shape[2:])
        classes = model.config.num_classes
        labels = np.arange(len(images)) % classes if classes else None
        training = TrainingConfig(
            batch_size=self.images, microbatch_size=self.microbatch
        )
        starts = itertools.cycle(range(0, WINDOWS * self.steps, self.steps))
        if IS_0_1:
            trainer: Any = Trainer(model, training, images, labels=labels)  # pyright: ignore[reportCallIssue, reportArgumentType]
            order = trainer.put_order(data.batch_order(0, 0, len(images), self.images))
            update = partial(_update_0_1, trainer, order)
        else:
            found = pj.ImageSet(images, labels)
            trainer = Trainer(model, _settled(model, training, found), found)
            update = partial(_update, trainer)
        state = trainer.init()

        def run(key: jax.Array) -> object:
            nonlocal state
            state = update(state, next(starts), self.steps)
            return state

        return run

    def training_windows(self) -> np.ndarray:
        """Levels ``[WINDOWS, N, H, W, 1]``, at random; N images for one window."""
        c = self.model().config
        shape = (WINDOWS, self.images_per_run, c.height, c.width, c.channels)
        rng = np.random.default_rng(0)
        return rng.integers(0, c.levels, shape, dtype=np.uint8)


WINDOWS = 4
"""Windows of updates with images of their own."""


def _settled(model: Any, training: TrainingConfig, images: pj.ImageSet) -> Any:
    """With the microbatch that `pj.fit` would measure, if this version measures one."""
    try:
        from pixelcnn_jax.training.microbatch import with_microbatch
    except ImportError:
        return training
    config = pj.Config(model=model.config, training=training)
    return with_microbatch(config, model, images).training


def _update(trainer: Any, state: Any, start: int, count: int) -> Any:
    stop = start + count
    while start < stop:
        state, made = trainer.run(state, 0, start, stop - start)
        start += made
    return state


def _update_0_1(trainer: Any, order: Any, state: Any, start: int, count: int) -> Any:
    return trainer.run(state, order, start, count)


def configure() -> None:
    """JAX as the command lines use it, but with every program compiled anew."""
    for name in ("machine", "commands.machine", "cli"):  # by version, newest first
        with contextlib.suppress(ModuleNotFoundError):
            home: Any = importlib.import_module(f"pixelcnn_jax.{name}")
            (home.use_machine_well if IS_0_1 else home.configure_jax)()
            break
    watch_compilation()


def in_this_process(name: str, work: Work) -> Contestant:
    """The work, done here."""
    return contestant(name, work.prepared())


# --- another checkout


class Child:
    """A process of its own, with the package of one checkout, that works on request."""

    def __init__(self, folder: Path, **environment: str):
        self._process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(folder)} | environment,
        )
        found = Path(self._ask({})["package"])
        if not found.is_relative_to(folder):
            raise RuntimeError(f"{folder} must hold the package, got {found}")

    def contestant(self, name: str, work: Work) -> Contestant:
        """The work, done there; it takes the place of the child's last."""
        self._ask({"work": dataclasses.asdict(work)})
        return Contestant(name, lambda number: self._ask({"turn": number})["seconds"])

    def close(self) -> None:
        self._process.communicate()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        sending, receiving = self._process.stdin, self._process.stdout
        if sending is None or receiving is None:
            raise RuntimeError("a child must have pipes to talk through")
        sending.write(json.dumps(request) + "\n")
        sending.flush()
        answer = receiving.readline()
        if not answer:
            raise RuntimeError("a child has failed; its own message stands above")
        return json.loads(answer)


@contextlib.contextmanager
def children(*folders: Path, **environment: str) -> Iterator[list[Child]]:
    """A child for each checkout, with these environment variables."""
    with contextlib.ExitStack() as stack:
        made = (Child(folder, **environment) for folder in folders)
        yield [stack.enter_context(contextlib.closing(child)) for child in made]


def checkout(name: str, scratch: Path) -> Path:
    """The folder of this name; or else that revision of the package in ``scratch``."""
    if Path(name).is_dir():
        return Path(name).resolve()
    command = ["git", "archive", "--format=tar", name]
    archive = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(scratch, filter="data")
    return scratch


def serve() -> None:
    """Answer requests until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed is no answer
    configure()
    run = None
    for line in sys.stdin:
        request, answer = json.loads(line), {"package": pj.__file__}
        if "work" in request:
            run = None  # what it holds goes first
            run = Work(**request["work"]).prepared()
        if "turn" in request and run is not None:
            answer = {"seconds": take_turn(run, request["turn"])}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve()

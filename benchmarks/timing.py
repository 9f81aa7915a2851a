"""What the speed benchmarks share: fair timing, and what the machine can do at best."""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import plain_jax
from flax import nnx
from pixelcnn_jax.cli import use_machine_well

from pixelcnn_jax.config import PixelCNNConfig
from pixelcnn_jax.devices import data_mesh, spread
from pixelcnn_jax.layers import CausalConv

TURN_SECONDS = 0.3
"""A contestant that is done sooner runs again in its turn; the mean counts."""

_traced: list[str] = []


def prepare_process() -> None:
    """JAX as train.py and sample.py use it, but with every program compiled anew."""
    use_machine_well()
    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(_note)


def _note(event: str, duration_secs: float, **_: Any) -> None:
    if event.startswith("/jax/core/compile/"):
        _traced.append(event)


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Something to time, with all its programs compiled."""

    name: str
    run: Callable[[jax.Array], Any]
    """Does the work once, from a fresh key; what it returns is waited for."""
    scale: float = 1.0
    """The whole work as a multiple of what `run` does."""

    @property
    def extrapolated(self) -> bool:
        return self.scale != 1


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a contestant took, round by round."""

    contestant: Contestant
    runs: list[float] = dataclasses.field(default_factory=list)
    """Seconds of a run in each round as measured, not scaled."""

    @property
    def seconds(self) -> float:
        """The median, for the whole work."""
        return statistics.median(self.runs) * self.contestant.scale

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest, for the whole work."""
        scale = self.contestant.scale
        return min(self.runs) * scale, max(self.runs) * scale

    def to_json(self) -> dict[str, Any]:
        low, high = self.spread
        return {
            "seconds": self.seconds,
            "seconds_low": low,
            "seconds_high": high,
            "measured_seconds": self.runs,
            "scale": self.contestant.scale,
            "extrapolated": self.contestant.extrapolated,
        }


def measure(
    contestants: Sequence[Contestant], rounds: int, patience: float
) -> dict[str, Timing]:
    """Times the contestants in turn, round by round, so that drift hits all alike.

    Each round begins with another contestant. One that has run twice and for more than
    ``patience`` seconds in all sits out the rest.

    Raises:
        RuntimeError: a program was traced or compiled in the timed region.
    """
    timings = {c.name: Timing(c) for c in contestants}
    jax.random.key(0)  # compiled here, not in anyone's turn
    for number in range(rounds):
        first = number % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            runs = timings[contestant.name].runs
            if len(runs) < 2 or sum(runs) < patience:
                runs.append(_turn(contestant, number))
    return timings


def _turn(contestant: Contestant, number: int) -> float:
    before, spent, runs = len(_traced), 0.0, 0
    while spent < TURN_SECONDS:
        key = jax.block_until_ready(jax.random.key(10_000 * number + runs))
        spent += seconds_of(partial(contestant.run, key))
        runs += 1
    if len(_traced) > before:
        raise RuntimeError(f"{contestant.name} was compiled again while it was timed")
    return spent / runs


def seconds_of(work: Callable[[], Any]) -> float:
    """Wall-clock seconds until the result of ``work`` is there."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def spread_images(x: Any, devices: int) -> jax.Array:
    """An array with its first axis cut into a part for each of so many devices."""
    return jax.device_put(x, spread(data_mesh(jax.devices()[:devices])))


class Limit:
    """The machine's rate of matrix products, which bounds all contestants.

    Large square products of JAX at its default precision, run among the contestants:
    once on a single device, once spread over all. The faster of the two counts, by the
    median of all its runs.
    """

    def __init__(self, quick: bool, dtype: str = "float32"):
        on_cpu, devices = jax.default_backend() == "cpu", jax.device_count()
        size = 256 if quick else 2048 if on_cpu else 8192
        size = -(-size // devices) * devices
        self._flops = 2 * size**3
        product = jax.jit(jnp.matmul)
        right = jnp.ones((size, size), dtype)
        lefts = {"one device": right}
        if devices > 1:
            lefts["all devices"] = spread_images(right, devices)
        self.contestants = []
        for where, left in lefts.items():
            jax.block_until_ready(product(left, right))
            name = f"{dtype} product, {where}"
            run = partial(lambda left, key: product(left, right), left)
            self.contestants.append(Contestant(name, run))
        self._runs: dict[str, list[float]] = {c.name: [] for c in self.contestants}

    def take(self, timings: dict[str, Timing]) -> None:
        """Takes the limit's own contestants out of what `measure` returned."""
        for name, runs in self._runs.items():
            runs += timings.pop(name).runs

    @property
    def flops_per_second(self) -> float:
        return self._flops / min(map(statistics.median, self._runs.values()))

    def to_json(self) -> dict[str, Any]:
        return {"flops_per_run": self._flops, "measured_seconds": self._runs}


def forward_flops(model: nnx.Module, height: int, width: int) -> int:
    """Floating-point operations of one image pass, per image.

    Two for every weight that a mask leaves open, at every position; nothing else.
    """
    layers = [x for _, x in nnx.iter_modules(model) if isinstance(x, CausalConv)]
    return 2 * height * width * int(sum(layer.mask.sum() for layer in layers))


def book_config(side: int, quick: bool) -> PixelCNNConfig:
    """The book's network; or one that only serves to test a benchmark."""
    if quick:
        return PixelCNNConfig(height=side, width=side, features=8, num_blocks=1)
    return PixelCNNConfig(height=side, width=side)


def import_keras_book() -> Any:
    """The module `keras_book`, or None where Keras or TensorFlow is not installed."""
    try:
        import keras_book
    except ImportError:
        print("no Keras on TensorFlow here: its rows are left out", file=sys.stderr)
        return None
    return keras_book


def require_same_network(model: Any, keras_book: Any) -> None:
    """Makes sure that all contestants compute the same conditional distributions.

    Raises:
        RuntimeError: one doesn't.
    """
    c, params = model.config, plain_jax.params_of(model)
    images = np.random.default_rng(0).integers(0, c.levels, (4, c.height, c.width, 1))
    with jax.default_matmul_precision("highest"):
        expected = jax.nn.softmax(model(images)[..., 0, :])
        plain = jax.nn.softmax(plain_jax.network(params, jnp.asarray(images)))
    found = {plain_jax.NAME: plain}
    if keras_book is not None:
        network = keras_book.build(params, c.height, c.width)
        found[keras_book.NAME] = network.predict(images / c.levels, verbose=0)
    for name, probabilities in found.items():
        worst = float(np.abs(np.asarray(probabilities) - np.asarray(expected)).max())
        if not worst < 1e-4:
            raise RuntimeError(f"{name} is off by {worst:.2g} in some probability")

"""Fair turns for all contestants, and what the machine can do at best."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec

TURN_SECONDS = 0.3
"""A contestant that is done sooner runs again in its turn; the mean counts."""

# --- turns


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Something to time, with all its programs compiled."""

    name: str
    turn: Callable[[int], float]
    """Does the work, in the turn of this number, and returns its seconds."""
    scale: float = 1.0
    """The whole work as a multiple of what a turn times."""
    runs: list[float] = dataclasses.field(default_factory=list)
    """Seconds of each turn so far, not scaled."""

    @property
    def seconds(self) -> float:
        """The median, for the whole work."""
        return statistics.median(self.runs) * self.scale

    def to_json(self) -> dict[str, Any]:
        return {
            "contestant": self.name,
            "seconds": self.seconds,
            "seconds_low": min(self.runs) * self.scale,
            "seconds_high": max(self.runs) * self.scale,
            "measured_seconds": self.runs,
            "scale": self.scale,
        }


def contestant(
    name: str, run: Callable[[jax.Array], object], scale: float = 1.0
) -> Contestant:
    """One that works in this process; ``run`` gets a fresh key each time."""
    return Contestant(name, partial(take_turn, run), scale)


def part_of_loop(
    name: str, draw: Callable[[int, jax.Array], Any], positions: int, longest: float
) -> Contestant:
    """A loop over all positions, or over as many as take a tenth of ``longest``."""
    key = jax.random.key(0)
    jax.block_until_ready(draw(2, key))
    per_position = seconds_of(lambda: draw(2, key)) / 2
    part = positions
    if per_position * positions > longest:
        part = min(positions, max(2, int(longest / 10 / per_position)))
    return contestant(name, partial(draw, part), positions / part)


def take_turn(run: Callable[[jax.Array], object], number: int) -> float:
    """Mean seconds of a run, over as many as fill a turn.

    Raises:
        RuntimeError: a program was traced or compiled in the timed region.
    """
    jax.block_until_ready(jax.random.key(0))  # compiled here, not in anyone's turn
    before, spent, runs = len(_compiled), 0.0, 0
    while spent < TURN_SECONDS:
        key = jax.block_until_ready(jax.random.key(10_000 * number + runs))
        spent += seconds_of(partial(run, key))
        runs += 1
    if len(_compiled) > before:
        raise RuntimeError("a program was compiled again while it was timed")
    return spent / runs


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds until the result of ``work`` is there."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def measure(contestants: Sequence[Contestant], rounds: int, patience: float) -> None:
    """Lets the contestants take turns, so that drift hits all alike.

    Each round begins with another contestant. One that has run twice and for more than
    ``patience`` seconds in all sits out the rest.
    """
    for number in range(rounds):
        first = number % len(contestants)
        for one in (*contestants[first:], *contestants[:first]):
            if len(one.runs) < 2 or sum(one.runs) < patience:
                one.runs.append(one.turn(number))


def watch_compilation() -> None:
    """Every program is compiled anew in this process, and noted."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(_note)


_compiled: list[str] = []


def _note(event: str, duration_secs: float, **_: object) -> None:
    if event.startswith("/jax/core/compile/"):
        _compiled.append(event)


# --- the limit


def spread(x: object, devices: int) -> jax.Array:
    """An array with its first axis cut into a part for each of so many devices."""
    mesh = jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=jax.devices()[:devices],
    )
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))


class Limit:
    """The machine's rate of matrix products, which bounds all contestants.

    Large square products of JAX at its default precision, with float32 results, run
    among the contestants: once on a single device, once spread over all. The faster of
    the two counts.
    """

    def __init__(self, dtype: str, quick: bool):
        on_cpu, devices = jax.default_backend() == "cpu", jax.device_count()
        size = 256 if quick else 2048 if on_cpu else 8192
        size = -(-size // devices) * devices
        self._flops = 2 * size**3
        product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
        right = jnp.ones((size, size), dtype)
        lefts = [right, spread(right, devices)] if devices > 1 else [right]
        self.contestants = []
        for left in lefts:
            jax.block_until_ready(product(left, right))
            run = partial(lambda left, key: product(left, right), left)
            self.contestants.append(contestant(f"{dtype} product", run))

    @property
    def flops_per_second(self) -> float:
        return self._flops / min(one.seconds for one in self.contestants)

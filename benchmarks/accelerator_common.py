"""What the parts of the accelerator's benchmark share: settings, bounds, networks."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import jax
import machine
from machine import Contestant
from worker import Work

import pixelcnn_jax as pj
from pixelcnn_jax.errors import UserError

T = TypeVar("T")

Name = Literal[
    "equality",
    "limits",
    "sampling",
    "training",
    "phases",
    "threshold",
    "convolutions",
]


@dataclasses.dataclass(frozen=True)
class Settings:
    minutes: float = 9.0
    """For everything; what is under way then is finished."""
    parts: tuple[Name, ...] = get_args(Name)
    """Those to measure, in the order as they stand here."""
    data_dir: str | None = None
    """Folder of MNIST's files, for the training at the end."""
    output: Path = Path("docs/benchmarks/accelerator")
    """Folder for the tables, the plots and the JSON files."""
    quick: bool = False
    """Tiny networks and few images: a test of this program, not of any machine."""


class Bounds:
    """What is left of the minutes, and what the machine can do at best."""

    def __init__(self, minutes: float):
        self._end = time.monotonic() + 60 * minutes
        self.flops_per_second: dict[str, float] = {}
        """Of large products, by number type, once it was measured."""

    @property
    def seconds(self) -> float:
        return self._end - time.monotonic()

    def share(self, flops_per_second: float, dtype: str) -> str:
        """A rate by that of large products."""
        limit = self.flops_per_second.get(dtype)  # none if that could not be measured
        return "?" if limit is None else f"{flops_per_second / limit:.1%}"


@dataclasses.dataclass(frozen=True)
class Part:
    """A table of the report."""

    name: str
    note: str
    columns: tuple[str, ...]
    rows: list[list[str]]
    names: int = 1
    """How many of the first cells say what was measured; the plot is of the last."""


# --- networks

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "book": ("PixelCNNConfig", {}),
    "gated": ("GatedPixelCNNConfig", {"height": 28, "width": 28}),
    "pp": ("PixelCNNPPConfig", {"filters": 64, "num_resnets": 2}),
    "snail": (
        "PixelSNAILConfig",
        {"filters": 64, "num_blocks": 4, "num_resnets": 2},
    ),
}
"""The config's class and the fields that are not by default."""


def work(settings: Settings, network: str, task: Any, images: int, **fields: Any):
    """A work of the benchmark of speed."""
    kind, own = NETWORKS[network]
    if settings.quick:
        own = dataclasses.asdict(getattr(pj, kind).tiny(height=4, width=4))
    dtype = fields.pop("dtype", "float32")
    return Work(task, kind, own | {"dtype": dtype}, images, **fields)


def networks(settings: Settings) -> tuple[str, ...]:
    return ("book",) if settings.quick else tuple(NETWORKS)


def methods(network: str) -> tuple[Any, ...]:
    lag = NETWORKS[network][0] == "PixelCNNConfig"
    return ("cached", "wavefront") if lag else ("cached",)


def all_seconds(
    settings: Settings, bounds: Bounds, makes: Sequence[Callable[[], Contestant]]
) -> list[float | None]:
    """The median seconds of each work; None if there is no time or no memory for it.

    Programs are compiled side by side, in threads, and measured one after the other:
    compiling is most of the time, and takes one core for each.
    """
    if bounds.seconds < 0:
        return [None] * len(makes)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        prepared = list(threads.map(lambda make: _if_it_fits(make), makes))

    def measured(one: Contestant | None) -> float | None:
        if one is None or bounds.seconds < 0:
            return None
        rounds = 2 if settings.quick else 3
        machine.measure([one], rounds=rounds, patience=5.0)
        return one.seconds

    return [_if_it_fits(partial(measured, one)) for one in prepared]


def _if_it_fits(work: Callable[[], T]) -> T | None:
    """What the work returns; None, with a word, if there is no memory for it."""
    try:
        return work()
    except UserError as error:  # refused before it began
        print(f"left out: {error}")
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        print("left out: no memory")
    return None

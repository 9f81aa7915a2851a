"""Where does the time of an update go? A profile of a network in training.

    python benchmarks/profile_training.py
    python benchmarks/profile_training.py --model pp --filters 32 --num-resnets 1

Sums the run times of XLA's operations by kind, as shares of the devices' wall-clock
time. On a CPU, products are the operations named dot and ynn_fusion.
"""

import collections
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Literal

import jax
import report
import speed_settings
import tyro
import worker
from machine import seconds_of
from report import table

KINDS = {
    "matrix products": ("dot", "ynn", "gemm", "cublas", "__cublas"),
    "gathering taps": ("concatenate",),
    "transposing for products": ("copy", "transpose"),
    "between devices": ("all-reduce", "psum", "Rendezvous", "Wait"),
}
REST = "element by element, sums"


@dataclasses.dataclass(frozen=True)
class Settings:
    model: Literal["book", "gated", "pp", "snail"] = "book"
    """As in speed.py: pp and snail are in colour, with a mixture of logistics."""
    filters: int | None = None
    """Width of pp and snail, if not the model's own."""
    num_resnets: int | None = None
    """Of pp and snail, if not the model's own."""
    batch_size: int = 128
    """Images per update."""
    updates: int = 4
    """Updates to profile."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Number type of products."""
    quick: bool = False
    """A tiny network and few images: a test of this program, not of any speed."""


def kind_of(name: str) -> str:
    for kind, prefixes in KINDS.items():
        if name.startswith(prefixes):
            return kind
    return REST


def operations(trace: Path) -> collections.Counter[str]:
    """Nanoseconds of each operation, all devices together."""
    found = next(trace.rglob("*.xplane.pb"))
    times = collections.Counter()
    for plane in jax.profiler.ProfileData.from_file(str(found)).planes:
        for line in plane.lines:
            for event in line.events:
                # Python's own events, and those that hold others.
                if "$" not in event.name and not event.name.startswith(
                    (
                        "while",
                        "Thunk",
                        "Pjit",
                        "CommonPjRt",
                        "tsl",
                        "Await",
                        "call",
                        "shard",
                    )
                ):
                    times[event.name] += int(event.duration_ns)
    return times


def share(number: float) -> str:
    return f"{number:.1%}"


def main(settings: Settings) -> None:
    worker.configure()
    size, steps = settings.batch_size, settings.updates
    asked = speed_settings.Settings(
        "training",
        settings.model,
        filters=settings.filters,
        num_resnets=settings.num_resnets,
        layers=1 if settings.quick else None,
        sides=(6,) if settings.quick else (),
        dtypes=(settings.dtype,),
        batch_size=8 if settings.quick else size,
        steps=steps,
        quick=settings.quick,
    )
    ((_, work),) = speed_settings.works(asked)
    size = work.images
    began = time.monotonic()
    run = work.prepared()
    compiling = time.monotonic() - began
    key = jax.random.key(0)
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            seconds = seconds_of(lambda: run(key))
        times = operations(Path(folder))
    total = seconds * 1e9 * min(jax.device_count(), size)
    shares = dict.fromkeys((*KINDS, REST), 0.0)
    for name, nanoseconds in times.items():
        shares[kind_of(name)] += nanoseconds / total
    shares["waiting, starting operations"] = max(0.0, 1 - sum(shares.values()))
    print(report.source_line(report.environment()), "\n")
    print(
        f"{steps * size / seconds:.0f} images/s while profiled;"
        f" {compiling:.0f} s until the first update was done, compilation included.\n"
    )
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    rows = [(kind, share(value)) for kind, value in ranked]
    print(table(("where the time goes", "share"), rows), "\n")
    top = [(name, share(t / total)) for name, t in times.most_common(3)]
    print(table(("the three longest operations", "share"), top))


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

"""Where does the time of an update go? A profile of the book's network in training.

    python benchmarks/profile_training.py

Sums the run times of XLA's operations by kind, as shares of the devices' wall-clock
time. On a CPU, products are the operations named dot and ynn_fusion.
"""

import collections
import dataclasses
import sys
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

import report

import pixelcnn_jax as pj
from pixelcnn_jax import cli, data
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.training import Trainer

KINDS = {
    "matrix products": ("dot", "ynn", "gemm", "cublas", "__cublas"),
    "gathering taps": ("concatenate",),
    "transposing for products": ("copy", "transpose"),
    "between devices": ("all-reduce", "psum", "Rendezvous", "Wait"),
}
REST = "element by element, sums"


@dataclasses.dataclass(frozen=True)
class Settings:
    batch_size: int = 128
    """Images per update."""
    updates: int = 4
    """Updates to profile."""


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
                    ("while", "Thunk", "Pjit", "tsl", "Await", "call", "shard")
                ):
                    times[event.name] += int(event.duration_ns)
    return times


def main(settings: Settings) -> None:
    size = settings.batch_size
    images = np.random.default_rng(0).integers(
        0, 4, (4 * size, 16, 16, 1), dtype=np.uint8
    )
    training = TrainingConfig(batch_size=size)
    trainer = Trainer(pj.build_model(pj.PixelCNNConfig()), training, images)
    order = trainer.put_order(
        np.resize(data.batch_order(0, 0, 4 * size, size), (settings.updates, size))
    )
    state = jax.block_until_ready(
        trainer.run(trainer.init(), order, 0, settings.updates)
    )
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            began = time.perf_counter()
            jax.block_until_ready(trainer.run(state, order, 0, settings.updates))
            seconds = time.perf_counter() - began
        times = operations(Path(folder))
    total = seconds * 1e9 * trainer.num_devices
    shares = dict.fromkeys((*KINDS, REST), 0.0)
    for name, nanoseconds in times.items():
        shares[kind_of(name)] += nanoseconds / total
    shares["waiting, starting operations"] = max(0.0, 1 - sum(shares.values()))
    print(report.heading("Profile of training", report.environment()), "\n")
    speed = settings.updates * size / seconds
    print(f"{speed:.0f} images/s while profiled.\n")
    ranked = sorted(shares.items(), key=lambda item: -item[1])
    rows = [(kind, report.share(share)) for kind, share in ranked]
    print(report.table(("where the time goes", "share"), rows), "\n")
    top = [(name, report.share(t / total)) for name, t in times.most_common(3)]
    print(report.table(("the three longest operations", "share"), top))


if __name__ == "__main__":
    cli.use_machine_well()
    main(tyro.cli(Settings, description=__doc__))

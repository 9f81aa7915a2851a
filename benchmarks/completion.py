"""What do known rows cost? Completing the lower halves beside drawing whole images.

    python benchmarks/completion.py
    python benchmarks/completion.py --workdir runs/mine --images 64

The two take turns. A step is a step in both, so completing takes half the time and what
the known half costs. Beside other work, the processor's time says more than the
clock's: both are printed.
"""

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import tyro
import worker

import pixelcnn_jax as pj


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run's folder, or a shipped model."""
    images: int = 64
    """How many are drawn, and completed."""
    rounds: int = 15
    """Turns of each."""
    quick: bool = False
    """Few images, few turns: a test of this program, not of any speed."""


def timed(run: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock, and of the processors."""
    clock, processor = time.perf_counter(), time.process_time()
    jax.block_until_ready(run())
    return time.perf_counter() - clock, time.process_time() - processor


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, images=2, rounds=2)
    worker.configure()
    model, key = pj.load(settings.workdir), jax.random.key(0)
    count, classes = settings.images, model.config.num_classes
    labels = np.arange(count) % classes if classes else None
    images = np.asarray(pj.sample(model, key, count, labels=labels))
    known = np.zeros(images.shape[1:3], bool)
    known[: len(known) // 2] = True
    draw: dict[str, Callable[[], object]] = {
        "sample": lambda: pj.sample(model, key, count, labels=labels),
        "complete": lambda: pj.complete(model, key, images, known, labels=labels),
    }
    for run in draw.values():
        timed(run)  # compiles it
    turns = [
        {name: timed(run) for name, run in draw.items()} for _ in range(settings.rounds)
    ]
    for index, kind in enumerate(("clock", "processors")):
        found = {
            name: statistics.median(turn[name][index] for turn in turns)
            for name in draw
        }
        print(
            f"{kind}: {count} images {found['sample']:.4f} s, their lower halves"
            f" {found['complete']:.4f} s, ratio"
            f" {found['complete'] / found['sample']:.3f}"
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

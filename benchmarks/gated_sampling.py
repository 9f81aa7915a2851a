"""Does cached sampling pay for the Gated PixelCNN too?

    python benchmarks/gated_sampling.py

Times "cached" against H * W image passes, as the full method makes, at 28x28, and a
position of "cached" at twice the side: that should not grow but for the row pass.
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

import report

import pixelcnn_jax as pj
from pixelcnn_jax import cli


@dataclasses.dataclass(frozen=True)
class Settings:
    num_images: int = 64
    """Images drawn together."""
    side: int = 28
    """Rows and columns."""
    levels: int = 4
    """Levels of a pixel."""
    features: int = 32
    """Width of each stack."""
    num_layers: int = 14
    """Gated layers after the first."""
    repeats: int = 5
    """Timed calls, of which the median counts."""


def seconds(work: Callable[[], Any], repeats: int) -> list[float]:
    """Times of calls, the first one, which compiles, left out."""
    jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - began)
    return times


def main(settings: Settings) -> None:
    environment = report.environment()
    print(report.heading("Sampling the Gated PixelCNN", environment), "\n")
    medians, key = {}, jax.random.key(0)
    for side in (settings.side, 2 * settings.side):
        config = pj.GatedPixelCNNConfig(
            height=side,
            width=side,
            levels=settings.levels,
            features=settings.features,
            num_layers=settings.num_layers,
        )
        model = pj.build_model(config)
        times = seconds(
            lambda model=model: pj.sample(model, key, settings.num_images),
            settings.repeats,
        )
        medians[side] = statistics.median(times)
        spread = f"{min(times):.3f} - {max(times):.3f}"
        print(
            f"{side}x{side}, cached, {settings.num_images} images:"
            f" {medians[side]:.3f} s ({spread}),"
            f" {medians[side] / side**2 * 1e6:.0f} us a position"
        )
        if side == settings.side:
            images = np.zeros((settings.num_images, side, side, 1), np.int32)
            one_pass = statistics.median(
                seconds(
                    lambda model=model, images=images: pj.log_prob(model, images),
                    settings.repeats,
                )
            )
            full = one_pass * side**2
            print(
                f"{side}x{side}, full, extrapolated from one warm pass of"
                f" {one_pass:.3f} s: {full:.0f} s, {full / medians[side]:.0f} x cached"
            )
    growth = medians[2 * settings.side] / medians[settings.side] / 4
    print(f"a position at twice the side: {growth:.2f} times the time")


if __name__ == "__main__":
    cli.use_machine_well()
    main(tyro.cli(Settings, description=__doc__))

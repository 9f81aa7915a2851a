"""What does a position cost in the cached sampling of PixelCNN++ and PixelSNAIL?

    python benchmarks/levels.py

A coarser level of PixelCNN++ works only once per cell, so a position should cost what
the finest level does, a quarter of the second and a sixteenth of the third. What a
level costs is told by networks of one level: of so many blocks, and of twice as many,
whose difference is the blocks'. What comes before and after all blocks counts once. And
a position should cost the same on larger images, but for PixelSNAIL's attention to all
that was drawn before, whose share is what the time has grown by since the smallest.
"""

import dataclasses
from pathlib import Path
from typing import Any

import machine
import report
import tyro
import worker
from machine import Contestant
from matplotlib.figure import Figure
from report import digits
from worker import Work


@dataclasses.dataclass(frozen=True)
class Settings:
    sides: tuple[int, ...] = (8, 16, 32, 64)
    """Rows and columns of the images."""
    images: tuple[int, ...] = (1, 16)
    """Drawn in one call."""
    filters: int = 64
    """Of both networks."""
    num_resnets: int = 2
    """Of both networks."""
    rounds: int = 5
    """Turns of each contestant."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    quick: bool = False
    """Tiny networks and images: a test of this program, not of any speed."""


QUICK: dict[str, Any] = dict(
    sides=(4,), images=(1,), filters=8, num_resnets=1, rounds=2
)


def pp(settings: Settings, side: int, images: int, resolutions: int, n: int) -> Work:
    fields = dict(height=side, width=side, resolutions=resolutions)
    fields |= dict(filters=settings.filters, num_resnets=n)
    return Work("sampling", "PixelCNNPPConfig", fields, images, "cached")


def snail(settings: Settings, side: int, images: int) -> Work:
    fields = dict(height=side, width=side, num_blocks=2)
    fields |= dict(filters=settings.filters, num_resnets=settings.num_resnets)
    return Work("sampling", "PixelSNAILConfig", fields, images, "cached")


def per_position(one: Contestant, side: int) -> float:
    """Microseconds of a position, for all images of a batch together."""
    return one.seconds / side**2 * 1e6


def ideal(settings: Settings, once: float, twice: float) -> float:
    """A position of three levels, from networks of one with so many and twice the
    blocks.

    A level of n pairs of blocks on the way down has n on the way up, or, if there is a
    coarser one, n + 1.
    """
    n = settings.num_resnets
    pair = (twice - once) / (2 * n)
    rest = once - 2 * n * pair
    return rest + pair * ((2 * n + 1) * (1 + 1 / 4) + 2 * n / 16)


def measure_pp(settings: Settings, side: int, images: int) -> dict[str, Any]:
    """PixelCNN++ of three levels, and two of one."""
    n = settings.num_resnets
    works = [
        pp(settings, side, images, resolutions, blocks)
        for resolutions, blocks in ((3, n), (1, n), (1, 2 * n))
    ]
    found = [worker.in_this_process("pp", work) for work in works]
    machine.measure(found, settings.rounds, patience=60.0)
    whole, once, twice = (per_position(one, side) for one in found)
    return {
        "network": "PixelCNN++",
        "side": side,
        "images": images,
        "microseconds": whole,
        "level": once,
        "level_of_twice_the_blocks": twice,
        "ideal": ideal(settings, once, twice),
    }


def measure_snail(settings: Settings, side: int, images: int) -> dict[str, Any]:
    one = worker.in_this_process("snail", snail(settings, side, images))
    machine.measure([one], settings.rounds, patience=60.0)
    return {
        "network": "PixelSNAIL",
        "side": side,
        "images": images,
        "microseconds": per_position(one, side),
    }


COLUMNS = (
    "network, images",
    "side",
    "us per position",
    "a level alone, us",
    "with twice the blocks, us",
    "by the ideal",
    "by the smallest side",
    "share of attention's growth",
)


def cells(found: dict[str, Any], all_found: list[dict[str, Any]]) -> list[str]:
    """A row of the table."""
    same = ("network", "images")
    first = next(x for x in all_found if all(x[k] == found[k] for k in same))
    alone = found.get("level")
    ratio = None if alone is None else found["microseconds"] / found["ideal"]
    grown = found["microseconds"] / first["microseconds"]
    return [
        f"{found['network']}, {found['images']}",
        str(found["side"]),
        digits(found["microseconds"]),
        "" if alone is None else digits(alone),
        "" if alone is None else digits(found["level_of_twice_the_blocks"]),
        "" if ratio is None else f"{ratio:.2f}",
        f"{grown:.2f}",
        f"{max(0.0, 1 - 1 / grown):.0%}" if alone is None else "",
    ]


def draw(found: list[dict[str, Any]]) -> Figure:
    """Time per position over the side."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys((x["network"], x["images"]) for x in found):
        mine = [x for x in found if (x["network"], x["images"]) == name]
        sides = [x["side"] for x in mine]
        label = f"{name[0]}, {name[1]} image{'' if name[1] == 1 else 's'}"
        axes.plot(sides, [x["microseconds"] for x in mine], "o-", label=label)
    axes.set_xlabel("side of the images")
    axes.set_ylabel("microseconds per position")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    return figure


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, **QUICK)
    worker.configure()
    found = [
        measure(settings, side, images)
        for measure in (measure_pp, measure_snail)
        for images in settings.images
        for side in settings.sides
    ]
    results = {
        **report.environment(),
        "title": "What a position costs",
        "note": f"RGB, mixtures, {settings.filters} filters, {settings.num_resnets}"
        " resnets; PixelSNAIL of two blocks. The ideal is the finest level, a quarter"
        " of the second and a sixteenth of the third, each from networks of one level.",
        "columns": COLUMNS,
        "rows": [cells(x, found) for x in found],
        "measurements": found,
    }
    report.write(settings.output, "levels", results, draw(found))


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))

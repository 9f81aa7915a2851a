"""What the benchmark of speed can be asked for, and the work that follows from it."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import tyro
from worker import Work


class Network(NamedTuple):
    config: str
    """The name of its class."""
    side: int
    """Of its images."""
    methods: tuple[str, ...]
    """How it can be sampled; "full" comes last."""
    width: str
    """The field that says how wide it is."""
    depth: str
    """The field that says how deep it is."""


NETWORKS = {
    "book": Network(
        "PixelCNNConfig",
        16,
        ("auto", "wavefront", "cached", "full"),
        "features",
        "num_blocks",
    ),
    "gated": Network(
        "GatedPixelCNNConfig", 28, ("auto", "full"), "features", "num_layers"
    ),
    "pp": Network("PixelCNNPPConfig", 32, ("cached", "full"), "filters", "num_resnets"),
    "snail": Network(
        "PixelSNAILConfig", 32, ("cached", "full"), "filters", "num_blocks"
    ),
}


@dataclasses.dataclass(frozen=True)
class Settings:
    task: Annotated[Literal["sampling", "training"], tyro.conf.Positional] = "sampling"
    model: Literal["book", "gated", "pp", "snail"] = "book"
    """The book's network at 16x16, the Gated PixelCNN at 28x28, or PixelCNN++ or
    PixelSNAIL in colour at 32x32."""
    against: str | None = None
    """A revision or a folder of this repository to compare with."""
    check: str | None = None
    """A revision or a folder to compare with at both tasks; more than 5 % slower ends
    with status 1."""
    images: tuple[int, ...] = (1, 10, 64, 1000)
    """Numbers of images to draw in one call."""
    sides: tuple[int, ...] = ()
    """Rows and columns of an image, if not the model's own."""
    layers: int | None = None
    """Residual blocks, gated layers, pairs of blocks per resolution (pp) or blocks
    (snail), if not the model's own."""
    filters: int | None = None
    """Width of pp and snail, if not the model's own."""
    num_resnets: int | None = None
    """Of pp and snail, if not the model's own."""
    batch_size: int = 128
    """Images per update."""
    microbatches: tuple[int, ...] = ()
    """Images whose gradients are computed at once, if not as many as by default."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Number types of products."""
    steps: int = 20
    """Updates in a window, which is timed as a whole."""
    rounds: int = 5
    """Turns of each contestant."""
    patience: float = 60.0
    """Seconds after which a contestant that had two turns gets no other."""
    longest: float = 60.0
    """Seconds of the longest turn. What would take longer is done for some positions
    only, and its time extrapolated to all."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    quick: bool = False
    """A tiny network and few images: a test of this program, not of any speed."""

    @property
    def name(self) -> str:
        """Of the files that are written."""
        return f"{self.task}_{self.model}" + "_against" * (self.against is not None)


QUICK: dict[str, Any] = dict(
    images=(1, 3), sides=(6,), layers=1, batch_size=8, steps=2, rounds=2, longest=0.4
)


def works(settings: Settings) -> Iterator[tuple[str, Work]]:
    """All that is to be done, each with its name."""
    network = NETWORKS[settings.model]
    for side in settings.sides or (network.side,):
        for dtype in settings.dtypes:
            fields: dict[str, Any] = dict(height=side, width=side, dtype=dtype)
            fields |= asked_fields(settings)
            work = Work(settings.task, network.config, fields, settings.batch_size)
            where = f"{side}x{side}, {dtype}"
            if settings.task == "sampling":
                for images in settings.images:
                    yield (
                        f"{images:,} image{'s' * (images > 1)}, {where}",
                        dataclasses.replace(work, images=images),
                    )
            else:
                for microbatch in settings.microbatches or (None,):
                    yield (
                        f"microbatch {microbatch or 'by default'}, {where}",
                        dataclasses.replace(
                            work, microbatch=microbatch, steps=settings.steps
                        ),
                    )


def asked_fields(settings: Settings) -> dict[str, int]:
    """The model's fields that differ from its own.

    Raises:
        SystemExit: the model has no such field.
    """
    network = NETWORKS[settings.model]
    # Pairs: the depth of PixelCNN++ is its num_resnets, by either flag.
    asked = (
        (network.depth, settings.layers),
        (network.width, 8 if settings.quick else settings.filters),
        ("num_resnets", settings.num_resnets),
    )
    found = {field: value for field, value in asked if value is not None}
    if "num_resnets" in found and settings.model in ("book", "gated"):
        raise SystemExit(
            "error: --num-resnets is for pp and snail, got --model"
            f" {settings.model}; pass --layers"
        )
    return found

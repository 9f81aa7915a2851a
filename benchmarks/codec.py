"""How small do images get, and how fast? The model's codec beside general ones.

    python benchmarks/codec.py digits
    python benchmarks/codec.py digits runs/fashion-mnist --images 1000

Each is a run's folder or a shipped model, whose own test images are compressed. The
bound is their negative log-likelihood: no coder that uses the model's probabilities
gets below. All other formats get all images at once, image formats as one picture, so
that none pays for a header per image. JPEG XL takes part if pillow-jxl-plugin is
installed.
"""

import dataclasses
import math
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import report
import tyro
import worker
from formats import Coder, general
from matplotlib.figure import Figure
from report import digits

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    runs: Annotated[tuple[str, ...], tyro.conf.Positional] = ("digits",)
    """Folders of runs, or shipped models."""
    images: int = 10_000
    """Test images of each, at most."""
    data_dir: str | None = None
    """Folder of the data, if not where the runs found them."""
    output: Path = Path("docs/benchmarks")
    """Folder for the table, the plot and the JSON file."""
    name: str = "codec"
    """Of the files that are written."""
    quick: bool = False
    """Few images: a test of this program, not of any codec."""


def measure(run: str, settings: Settings) -> list[dict[str, Any]]:
    """Every coder on a run's test images; the first row is the bound."""
    found = Run.named(run)
    config, model = found.config(), found.load()
    named = config.data
    if settings.data_dir is not None:
        named = dataclasses.replace(named, data_dir=settings.data_dir)
    test = data.load(named, config.model).test.first(settings.images)
    labels = test.for_model(config.model).labels
    images = np.asarray(test.images[:], np.uint8)  # no format has more than 256 levels
    nats = evaluate(model, images, labels).nats.sum()
    if labels is not None:  # which a file holds too
        nats += len(labels) * math.log(config.model.num_classes)
    bound = float(nats) / math.log(256)
    ours = Coder(
        lambda: pj.compress(model, images, labels), lambda x: pj.decompress(model, x)
    )
    set_ = f"{named.source}, {len(images):,} images {images.shape[1]}x{images.shape[2]}"
    rows = [{"set": set_, "coder": "likelihood", "bytes": bound, "values": images.size}]
    for name, coder in ({"ours": ours} | general(images, config.model.levels)).items():
        rows.append(rows[0] | {"coder": name, **timed(coder, images)})
    for row in rows:
        row["bits_per_dim"] = 8 * row["bytes"] / row["values"]
        row["of_likelihood"] = row["bytes"] / bound
    return rows


def timed(coder: Coder, images: np.ndarray) -> dict[str, float]:
    """Size and speed of a coder, which must be lossless."""
    coder.unpack(coder.pack())  # compiles what there is to compile
    began = time.perf_counter()
    packed = coder.pack()
    middle = time.perf_counter()
    back = coder.unpack(packed)
    end = time.perf_counter()
    if not np.array_equal(back, images):
        raise RuntimeError("the images did not come back")
    return {
        "bytes": len(packed),
        "packed_per_second": len(images) / (middle - began),
        "unpacked_per_second": len(images) / (end - middle),
    }


COLUMNS = (
    "images",
    "coder",
    "bytes",
    "bits/dim",
    "bytes / likelihood",
    "images/s in",
    "images/s out",
)


def cells(row: dict[str, Any]) -> list[str]:
    """A row of the table."""
    speeds = [row.get(f"{way}_per_second") for way in ("packed", "unpacked")]
    return [
        row["set"],
        row["coder"],
        f"{row['bytes']:,.0f}",
        f"{row['bits_per_dim']:.4f}",
        f"{row['of_likelihood']:.3f}",
        *("" if speed is None else digits(speed) for speed in speeds),
    ]


def draw(results: dict[str, Any]) -> Figure:
    """Bits per dimension of each coder, a panel per set."""
    found = results["measurements"]
    sets = list(dict.fromkeys(row["set"] for row in found))
    figure = Figure(figsize=(7, 0.5 + 2.2 * len(sets)), layout="constrained")
    panels = figure.subplots(len(sets), squeeze=False)[:, 0]
    for axes, name in zip(panels, sets, strict=True):
        rows = [row for row in found if row["set"] == name]
        axes.barh([r["coder"] for r in rows], [r["bits_per_dim"] for r in rows])
        axes.invert_yaxis()
        axes.set_title(name, fontsize=9)
        axes.set_xlabel("bits/dim")
    return figure


def beside(environment: dict[str, Any]) -> str:
    """A warning of speeds that were measured beside other work."""
    hardware = environment["hardware"]
    load = hardware["load_average_1_minute"]
    if load < 1.5 * hardware["cores"]:
        return ""
    return f" Other work ran beside (load {load:.0f}): the speeds are too low."


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, images=3)
    worker.configure()
    rows = [row for run in settings.runs for row in measure(run, settings)]
    environment = report.environment()
    results = {
        **environment,
        "title": "Lossless compression",
        "note": "Bytes of all images in one file, labels included if the model knows"
        f" classes. Each coder runs once, compiled before.{beside(environment)}",
        "columns": COLUMNS,
        "rows": [cells(row) for row in rows],
        "measurements": rows,
    }
    report.write(settings.output, settings.name, results, draw(results))


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))

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
import importlib
import io
import lzma
import math
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import report
import tyro
import worker
from matplotlib.figure import Figure
from PIL import Image
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


class Coder(NamedTuple):
    """Compresses a set of images, and gives it back."""

    pack: Callable[[], bytes]
    unpack: Callable[[bytes], np.ndarray]


# --- general formats


def mosaic(images: np.ndarray) -> np.ndarray:
    """All images beside and below each other, ``[rows, columns, C]``."""
    count, height, width, channels = images.shape
    across = math.ceil(math.sqrt(count))
    down = -(-count // across)
    # Filled up with the last image, which costs a good coder next to nothing.
    tiles = images[np.minimum(np.arange(across * down), count - 1)]
    tiles = tiles.reshape(down, across, height, width, channels).swapaxes(1, 2)
    return tiles.reshape(down * height, across * width, channels)


def apart(pixels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The images of this shape that `mosaic` has put together."""
    count, height, width, channels = shape
    tiles = pixels.reshape(len(pixels) // height, height, -1, width, channels)
    return tiles.swapaxes(1, 2).reshape(-1, height, width, channels)[:count]


def picture(images: np.ndarray, kind: str, bits: int, **options: Any) -> Coder:
    """An image format, whose one picture shows all images.

    Its pixels are the levels as they are, so that what they look like is nothing to
    look at.
    """
    channels = images.shape[-1]

    def pack() -> bytes:
        pixels = mosaic(images)
        shown = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        if kind == "PNG" and channels == 1 and bits < 8:
            # Grey has 8 bits in Pillow's PNG, a palette as few as there are colours.
            shown = Image.frombytes("P", shown.size, shown.tobytes())
            shown.putpalette(bytes(range(256)) * 3)
            options["bits"] = bits
        file = io.BytesIO()
        shown.save(file, kind, **options)
        return file.getvalue()

    def unpack(packed: bytes) -> np.ndarray:
        pixels = np.asarray(Image.open(io.BytesIO(packed)))
        # Some formats have colours only.
        pixels = pixels.reshape(*pixels.shape[:2], -1)[..., :channels]
        return apart(pixels, images.shape)

    return Coder(pack, unpack)


def general(images: np.ndarray, levels: int) -> dict[str, Coder]:
    """The formats that know nothing of the images, by name."""

    def of_bytes(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]):
        raw = images.tobytes()

        def back(packed: bytes) -> np.ndarray:
            return np.frombuffer(unpack(packed), np.uint8).reshape(images.shape)

        return Coder(lambda: pack(raw), back)

    bits = next(b for b in (1, 2, 4, 8) if levels <= 2**b)
    found = {
        "PNG": picture(images, "PNG", bits, optimize=True),
        "WebP lossless": picture(images, "WEBP", 8, lossless=True, quality=100),
    }
    try:
        importlib.import_module("pillow_jxl")
        found["JPEG XL"] = picture(images, "JXL", 8, lossless=True, effort=9)
    except ImportError:
        print("JPEG XL is left out: pip install pillow-jxl-plugin")
    return found | {
        "zlib": of_bytes(lambda raw: zlib.compress(raw, 9), zlib.decompress),
        "lzma": of_bytes(
            lambda raw: lzma.compress(raw, preset=9 | lzma.PRESET_EXTREME),
            lzma.decompress,
        ),
    }


# --- measuring


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
    main(tyro.cli(Settings, description=__doc__))

"""Readers of bytes under a fuzzer that looks for inputs which reach new code.

    pip install atheris
    python -m tests.fuzz sampler --seconds 75

It ends with a trace, and with the input in a file, as soon as a reader does anything
but succeed or refuse in one line. It knows the tests' contents to begin with; what it
finds should become one of theirs.
"""

import argparse
import gzip
import hashlib
import json
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(
    include=["pixelcnn_jax", "numpy.lib", "zipfile", "PIL"]
):
    import pixelcnn_jax as pj
    from pixelcnn_jax.commands import image_files
    from pixelcnn_jax.container import Container
    from pixelcnn_jax.data import array_files, decoding, idx
    from pixelcnn_jax.runs import manifests, tables
    from pixelcnn_jax.sampler_file import SamplerFile

from tests import test_hostile as hostile


def survives(read: Callable[[], object]) -> None:
    """Success, or one line; the fuzzer itself watches memory and time."""
    try:
        read()
    except pj.UserError as error:
        if not str(error).isprintable():
            raise


def container(data: bytes, place: Path) -> None:
    survives(lambda: Container.from_bytes(data))
    signed = hostile.PACKED[:4] + zlib.crc32(data).to_bytes(4, "little") + data
    survives(lambda: Container.from_bytes(signed))


def sampler(data: bytes, place: Path) -> None:
    signed = hostile.SAMPLER[:4] + hashlib.sha256(data).digest() + data
    survives(lambda: SamplerFile.from_bytes(signed))


def idx_file(data: bytes, place: Path) -> None:
    for content in (data, gzip.compress(data, 1)):
        survives(lambda content=content: idx.decode(content, Path("x"), 3))


def arrays(data: bytes, place: Path) -> None:
    for suffix in (".npy", ".npz"):
        path = place / f"x{suffix}"
        path.write_bytes(data)
        survives(lambda path=path: image_files.read_images("input", str(path)))
        survives(lambda path=path: image_files.read_mask("known", str(path)))
        survives(lambda path=path: array_files.open_arrays(path)[0]())


def picture(data: bytes, place: Path) -> None:
    for suffix in (".png", ".tiff"):
        path = place / f"x{suffix}"
        path.write_bytes(data)
        survives(lambda path=path: decoding.read_header(path))
        survives(lambda path=path: decoding.read_pixels(path))


def manifest(data: bytes, place: Path) -> None:
    (place / "a").write_bytes(b"")
    (place / "manifest.json").write_bytes(data)
    survives(lambda: manifests.read(place))
    survives(lambda: manifests.damage(place))


def table(data: bytes, place: Path) -> None:
    (place / "metrics.csv").write_bytes(data)
    survives(lambda: tables.read_metrics(place))
    survives(lambda: tables.keep(place, 5))


READERS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {
    "container": (container, [hostile.PACKED, hostile.PACKED[8:]]),
    "sampler": (sampler, [hostile.SAMPLER[36:]]),
    "idx": (idx_file, [hostile.IDX, gzip.compress(hostile.IDX)]),
    "arrays": (arrays, hostile.ARRAYS),
    "picture": (picture, [content for content, _ in hostile.PICTURES]),
    "manifest": (manifest, [json.dumps(hostile.MANIFEST).encode()]),
    "table": (table, [hostile.TABLE]),
}
"""By name, what reads, and contents to begin with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    chosen = parser.parse_args()
    read, contents = READERS[chosen.reader]
    # Not removed: the fuzzer ends the process itself.
    folder = Path(tempfile.mkdtemp())
    seeds, place = folder / "seeds", folder / "place"
    seeds.mkdir()
    place.mkdir()
    for number, content in enumerate(contents):
        (seeds / str(number)).write_bytes(content)
    limits = (f"-max_total_time={chosen.seconds}", "-rss_limit_mb=2500", "-timeout=10")
    atheris.Setup(["fuzz", str(seeds), *limits], lambda data: read(bytes(data), place))
    atheris.Fuzz()


if __name__ == "__main__":
    main()

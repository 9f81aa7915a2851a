"""Readers of bytes under a fuzzer that looks for inputs which reach new code.

    pip install atheris
    python -m tests.fuzz sampler --seconds 75

It ends with a trace, and with the input in a file, as soon as a reader does anything
but succeed or refuse in one line. It knows the tests' contents to begin with; what it
finds should become one of theirs.
"""

import argparse
import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris  # pyright: ignore[reportMissingImports]

with atheris.instrument_imports(
    include=["pixelcnn_jax", "numpy.lib", "zipfile", "PIL"]
):
    from pixelcnn_jax.container import Container
    from pixelcnn_jax.data import decoding, idx
    from pixelcnn_jax.runs import manifests
    from pixelcnn_jax.sampler_file import SamplerFile
    from tests import test_hostile as hostile
    from tests.test_hostile import survives


def container(data: bytes, place: Path) -> None:
    survives(lambda: Container.from_bytes(data))
    survives(lambda: Container.from_bytes(hostile.signed_container(data)))


def sampler(data: bytes, place: Path) -> None:
    survives(lambda: SamplerFile.from_bytes(hostile.signed_sampler(data)))


def idx_file(data: bytes, place: Path) -> None:
    for content in (data, gzip.compress(data, 1)):
        survives(lambda content=content: idx.decode(content, Path("x"), 3))


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


READERS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {
    "container": (container, [hostile.PACKED, hostile.PACKED[8:]]),
    "sampler": (sampler, [hostile.SAMPLER[36:]]),
    "idx": (idx_file, [hostile.IDX, gzip.compress(hostile.IDX)]),
    "arrays": (hostile.read_arrays, hostile.ARRAYS),
    "picture": (picture, [content for content, _ in hostile.PICTURES]),
    "manifest": (manifest, [json.dumps(hostile.MANIFEST).encode()]),
    "table": (hostile.read_table, [hostile.TABLE]),
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

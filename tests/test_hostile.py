"""Whatever a file or a command line holds: success, or one line. Never a traceback.

Each reader is given what it might meet, changed at random by Hypothesis: always the
same changes, 2,000 in all. More are tried by

    PIXELCNN_HOSTILE_CASES=20000 pytest -n 0 tests/test_hostile.py
"""

import gzip
import hashlib
import io
import json
import os
import resource
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import config
from pixelcnn_jax.commands import flags, image_files
from pixelcnn_jax.commands.sample_settings import Settings as SampleSettings
from pixelcnn_jax.container import Container
from pixelcnn_jax.data import array_files, catalogue, decoding, idx
from pixelcnn_jax.runs import manifests, tables
from pixelcnn_jax.sampler_file import Header, SamplerFile

CASES = int(os.environ.get("PIXELCNN_HOSTILE_CASES", "2000"))
MEMORY = 2**29
"""Bytes by which no reader may make the process grow: inputs are far smaller."""


def cases(share: float) -> Callable:
    """That share of all cases, always the same ones."""
    return settings(
        max_examples=max(1, int(CASES * share)),
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


def survives(read: Callable[[], object]) -> None:
    """Success, or one line; within the bound of memory."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refusal = ""
    try:
        read()
    except pj.UserError as error:
        refusal = str(error)
    assert refusal == "" or refusal.isprintable()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown * 1024 < MEMORY


edits = st.lists(
    st.tuples(
        st.floats(0, 1), st.sampled_from("set insert cut drop".split()), st.binary()
    ),
    min_size=1,
    max_size=4,
)
"""Where in a content, what is done there, and with which bytes."""


def edited(content: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for share, kind, data in changes:
        place = int(share * len(content))
        after = {
            "set": data + content[place + len(data) :],
            "insert": data + content[place:],
            "cut": b"",
            "drop": content[place + 1 + len(data) :],
        }
        content = content[:place] + after[kind]
    return content


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("hostile")


# --- settings and command lines

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from(["~nobody/x", "a\0b", "\ud800", -1, 2**63, 0.5, 8.0])
    | st.sampled_from([10**30, 10**400]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)
PRESETS = [preset for _, preset in config.PRESETS.values()]


@cases(0.1)
@given(st.sampled_from(PRESETS), st.data())
def test_settings_of_any_values(preset: pj.Config, data):
    fields = json.loads(config.to_json(preset))
    del fields["sha256"]
    for _ in range(data.draw(st.integers(1, 3))):
        group = data.draw(st.sampled_from(["", "model", "data", "training"]))
        target = fields if group == "" else fields.get(group)
        if isinstance(target, dict):
            names = st.sampled_from(sorted(target) or ["x"]) | st.text(max_size=5)
            target[data.draw(names)] = data.draw(json_values)
    survives(lambda: config.from_json(json.dumps(fields)))


@cases(0.1)
@given(st.sampled_from(PRESETS), edits)
def test_settings_of_any_bytes(preset: pj.Config, changes):
    text = edited(config.to_json(preset).encode(), changes).decode(errors="replace")
    survives(lambda: config.from_json(text))


WORDS = """
--model.height --model.levels --training.epochs --workdir --seed --training.clip-norm
--data.source --model.dtype --nothing -x -- digits 0 -1 1e30 nan inf 8.5 None true
99999999999999999999 bfloat16 --num-images --temperature --labels --size 3x3 0-9
--output a.png
""".split()
words = st.sampled_from(WORDS) | st.text(max_size=8)


@cases(0.02)
@given(st.lists(words, max_size=6), st.booleans())
def test_command_lines_of_any_words(args: list[str], trains: bool):
    if "-h" in args or "--help" in args:
        return
    kind, default = (
        (config.Config, config.preset("digits"))
        if trains
        else (SampleSettings, SampleSettings())
    )
    survives(lambda: flags.parse(kind, default, args, "program", ""))


# --- data


def array(images: np.ndarray, compressed: bool) -> bytes:
    file = io.BytesIO()
    if compressed:
        np.savez(file, images=images, labels=np.arange(len(images)), known=images > 1)
    else:
        np.save(file, images)
    return file.getvalue()


ARRAYS = [
    array(np.arange(24, dtype=dtype).reshape(2, 3, 4, 1), compressed)
    for dtype in (np.uint8, np.int64, np.float32)
    for compressed in (False, True)
]


def picture(mode: str, kind: str) -> bytes:
    file = io.BytesIO()
    Image.new(mode, (5, 4)).save(file, format=kind)
    return file.getvalue()


PICTURES = [
    *((picture(mode, "PNG"), ".png") for mode in ("L", "P", "RGBA", "I;16", "1")),
    *((picture(mode, "TIFF"), ".tiff") for mode in ("L", "RGB", "I;16")),
    *((picture("RGB", kind), f".{kind.lower()}") for kind in ("JPEG", "BMP", "GIF")),
]


@cases(0.15)
@given(st.sampled_from(ARRAYS), edits)
def test_arrays_of_any_bytes(place: Path, content: bytes, changes):
    read_arrays(edited(content, changes), place)


def read_arrays(content: bytes, place: Path) -> None:
    for suffix in (".npy", ".npz"):
        path = place / f"array{suffix}"
        path.write_bytes(content)
        survives(lambda path=path: image_files.read_images("input", str(path)))
        survives(lambda path=path: image_files.read_mask("known", str(path)))
        survives(lambda path=path: array_files.open_arrays(path)[0]())


@cases(0.15)
@given(st.sampled_from(PICTURES), edits)
def test_pictures_of_any_bytes(place: Path, content, changes):
    path = place / f"picture{content[1]}"
    path.write_bytes(edited(content[0], changes))
    survives(lambda: decoding.read_header(path))
    survives(lambda: decoding.read_pixels(path))
    survives(lambda: image_files.read_mask("known", str(path)))


IDX = b"\0\0\x08\x03" + np.array([2, 3, 4], ">u4").tobytes() + bytes(24)


@cases(0.08)
@given(edits, st.booleans(), st.sampled_from([1, 3]))
def test_idx_files_of_any_bytes(changes, packed: bool, axes: int):
    content = gzip.compress(IDX)
    content = (
        gzip.compress(edited(IDX, changes)) if packed else edited(content, changes)
    )
    survives(lambda: idx.decode(content, Path("x"), axes))


PREPARED = Path(__file__).parent / "data"
TINY = "tiny_array_record"
SHARD = f"{TINY}-test.array_record-00000-of-00001"


def parts(value) -> list[tuple]:
    """Each place in a JSON value: what holds it, and its name or number there."""
    many = {dict: lambda: value.items(), list: lambda: enumerate(value)}
    found = []
    for key, inner in list(many.get(type(value), list)()):
        found += [(value, key), *parts(inner)]
    return found


@pytest.fixture
def prepared(place: Path):
    """A prepared set, fresh, to be damaged."""

    def fresh() -> Path:
        shutil.rmtree(place / TINY, ignore_errors=True)
        return Path(shutil.copytree(PREPARED / TINY, place / TINY)) / "1.0.0"

    return fresh


@cases(0.03)
@given(st.sampled_from(["features.json", "dataset_info.json"]), st.data())
def test_prepared_sets_of_any_values(prepared, place: Path, name: str, data):
    path = prepared() / name
    fields = json.loads(path.read_text())
    for _ in range(data.draw(st.integers(1, 2))):
        holder, key = data.draw(st.sampled_from(parts(fields) or [({}, "x")]))
        holder[key] = data.draw(json_values | st.sampled_from(["7", "this.x", []]))
    path.write_text(json.dumps(fields))
    survives(lambda: catalogue.load(TINY, str(place)))


@cases(0.03)
@given(st.sampled_from(["features.json", "dataset_info.json", SHARD]), edits)
def test_prepared_sets_of_any_bytes(prepared, place: Path, name: str, changes):
    path = prepared() / name
    # A shard's records are at its beginning; the rest is mostly padding.
    content, head = path.read_bytes(), 2**11
    path.write_bytes(edited(content[:head], changes) + content[head:])
    survives(lambda: catalogue.load(TINY, str(place)))


@cases(0.03)
@given(edits)
def test_prepared_images_of_any_bytes(prepared, place: Path, changes):
    """Written by whoever can compute the check sums of records."""
    records = pytest.importorskip("array_record.python.array_record_module")
    path = prepared() / SHARD
    reader = records.ArrayRecordReader(str(path))
    examples = reader.read_all()
    reader.close()
    writer = records.ArrayRecordWriter(str(path), "group_size:1")
    for example in [edited(examples[0], changes), *examples[1:]]:
        writer.write(example)
    writer.close()
    survives(lambda: catalogue.load(TINY, str(place)))


def test_a_prepared_set_imports_nothing(prepared, place: Path, monkeypatch):
    path = prepared() / "features.json"
    text = path.read_text()
    (place / "sprung.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(place)
    path.write_text(text.replace("tensorflow_datasets.core.features.image", "sprung"))
    path.write_text(path.read_text().replace("sprung_feature.", "sprung."))
    with pytest.raises(pj.UserError, match="got 'sprung.Image', which would be"):
        catalogue.load(TINY, str(place))


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", SHARD])
def test_a_pipe_in_a_prepared_set_is_named(prepared, place: Path, name: str):
    path = prepared() / name
    path.unlink()
    os.mkfifo(path)  # to open it would never end
    with pytest.raises(pj.UserError, match=f"{name} must be a file, got a pipe"):
        catalogue.load(TINY, str(place))


# --- run folders

MANIFEST = {
    "format": 2,
    "bits_per_dim": 1.0,
    "sha256": {"a": hashlib.sha256(b"").hexdigest()},
}


@cases(0.08)
@given(st.data())
def test_manifests_of_any_values(place: Path, data):
    (place / "a").write_bytes(b"")
    names = st.sampled_from([*MANIFEST, "sizes", "config", "checksum"])
    files = st.dictionaries(st.sampled_from(["a", "", "a\0b", "\ud800"]), st.just("1"))
    fields = MANIFEST | {data.draw(names): data.draw(json_values | files)}
    (place / "manifest.json").write_text(json.dumps(fields))
    survives(lambda: manifests.read(place))
    survives(lambda: manifests.damage(place))


@cases(0.05)
@given(edits)
def test_manifests_of_any_bytes(place: Path, changes):
    content = json.dumps(MANIFEST).encode()
    (place / "manifest.json").write_bytes(edited(content, changes))
    survives(lambda: manifests.damage(place))


TABLE = (
    b"epoch,step,train_bits_per_dim,validation_bits_per_dim\n1,5,0.5,0.6\n2,10,0.4,\n"
)


@cases(0.05)
@given(edits)
def test_tables_of_any_bytes(place: Path, changes):
    read_table(edited(TABLE, changes), place)


def read_table(content: bytes, place: Path) -> None:
    (place / "metrics.csv").write_bytes(content)
    survives(lambda: tables.read_metrics(place))
    survives(lambda: tables.keep(place, 5))


# --- compressed images and exported samplers, by whoever can compute a check sum

PACKED = Container(
    (2, 3, 4, 1), "cpu", b"1234", b"123456", b"abcdef", np.arange(9)
).to_bytes()
SAMPLER = SamplerFile(
    Header(2, 3, 4, 1, 4, 0, "x"), b"program", [np.ones((2, 3))]
).to_bytes()


def signed_container(body: bytes) -> bytes:
    return PACKED[:4] + zlib.crc32(body).to_bytes(4, "little") + body


def signed_sampler(body: bytes) -> bytes:
    return SAMPLER[:4] + hashlib.sha256(body).digest() + body


def with_header(sampler: bytes, change: Callable[[dict], None]) -> bytes:
    """The file with other fields in its header, and the sum of that."""
    body = sampler[36:]
    size = int.from_bytes(body[:4], "little")
    fields = json.loads(body[4 : 4 + size])
    change(fields)
    text = json.dumps(fields).encode()
    return signed_sampler(len(text).to_bytes(4, "little") + text + body[4 + size :])


@cases(0.05)
@given(edits, st.booleans())
def test_compressed_images_of_any_bytes(changes, signed: bool):
    content = edited(PACKED, changes)
    if signed:
        content = signed_container(edited(PACKED[8:], changes))
    survives(lambda: Container.from_bytes(content))


@cases(0.05)
@given(edits, st.booleans())
def test_samplers_of_any_bytes(changes, signed: bool):
    content = edited(SAMPLER, changes)
    if signed:
        content = signed_sampler(edited(SAMPLER[36:], changes))
    survives(lambda: SamplerFile.from_bytes(content))


@cases(0.04)
@given(st.data())
def test_samplers_of_any_values(data):
    """The header of a file whose sum is right, as anybody can write it."""

    def change(fields: dict) -> None:
        holder, key = data.draw(st.sampled_from(parts(fields)))
        holder[key] = data.draw(
            json_values | st.sampled_from([")f4,", "O", "f4,f4", -1])
        )

    content = with_header(SAMPLER, change)
    survives(lambda: SamplerFile.from_bytes(content))


class Trap:
    """Unpickled, it would leave a file behind."""

    def __init__(self, path: Path):
        self._path = path

    def __reduce__(self):
        return (Path.touch, (self._path,))


def test_nothing_is_unpickled(tmp_path: Path):
    trap, sprung = tmp_path / "trap.npy", tmp_path / "sprung"
    np.save(trap, np.array([Trap(sprung)], object), allow_pickle=True)
    for read in (
        lambda: image_files.read_images("input", str(trap)),
        lambda: image_files.read_mask("known", str(trap)),
        lambda: array_files.open_arrays(trap),
    ):
        with pytest.raises(pj.UserError):
            read()
    assert not sprung.exists()
    np.load(trap, allow_pickle=True)
    assert sprung.exists()

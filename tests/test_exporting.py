"""An exported sampler draws the same images elsewhere, or says why it can't."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.export
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import drawing, exporting, jobs
from pixelcnn_jax.commands import export, sample
from pixelcnn_jax.exported import ExportedSampler
from pixelcnn_jax.sampler_file import Header, SamplerFile
from tests.conftest import refused, run_of, some_conditions, tiny_model
from tests.family import member
from tests.test_hostile import with_header

ROOT = Path(__file__).parents[1]
KEY = jax.random.key(5)


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    """A model with classes, drawn by a wavefront."""
    path = tmp_path_factory.mktemp("exported") / "x.pxs"
    pj.export_sampler(member("book-wide"), path, 3)
    return path


def assert_draws_the_same(name: str, path: Path) -> None:
    model = member(name)
    options = dict(temperature=0.8, **some_conditions(model, 3))
    expected = pj.sample(model, KEY, 3, **options)
    found = pj.load_sampler(path)(KEY, **options)
    assert found.dtype == expected.dtype and (found == expected).all()


def test_an_exported_sampler_draws_the_same_images(exported: Path):
    assert_draws_the_same("book-wide", exported)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gated-mixture", "pp", "snail", "gated-wide"])
def test_every_kind_of_model_can_be_exported(name: str, tmp_path: Path):
    given, path = some_conditions(member(name), 3), tmp_path / "x.pxs"
    cells = given["condition_map"].shape[1:3] if "condition_map" in given else None
    pj.export_sampler(member(name), path, 3, map_size=cells)
    assert_draws_the_same(name, path)
    if cells is not None:
        given["condition_map"] = given["condition_map"][:, :, :1]
        with pytest.raises(pj.UserError, match="as was exported, got 1 by 1; export"):
            pj.load_sampler(path)(KEY, **given)


@pytest.mark.slow
def test_a_method_and_a_size_are_kept(tmp_path: Path):
    model = tiny_model()
    path = tmp_path / "x.pxs"
    pj.export_sampler(model, path, 2, method="full", size=(3, 8))
    found = jax.jit(pj.load_sampler(path))(KEY)
    assert (found == pj.sample(model, KEY, 2, size=(3, 8))).all()


@pytest.mark.parametrize(
    "changed", [{"num_classes": 0}, {"height": 7}, {"condition_features": 2}]
)
def test_a_header_is_of_its_program(changed: dict, exported: Path):
    file = SamplerFile.from_bytes(exported.read_bytes())
    other = file._replace(header=file.header._replace(**changed))
    rule = "must hold a program of what its header says, got one of other shapes"
    with pytest.raises(pj.UserError, match=rule):
        ExportedSampler(other)
    with pytest.raises(pj.UserError, match=rule):
        ExportedSampler(file._replace(weights=file.weights[1:]))


def test_an_export_draws_by_the_method_of_each_platform(tmp_path: Path, monkeypatch):
    model, taken, draw = tiny_model(), set(), jobs.draw_batch
    expected = pj.sample(model, KEY, 3)

    def note(model, way, *rest):
        taken.add(way.method)
        return draw(model, way, *rest)

    monkeypatch.setattr(jobs, "draw_batch", note)
    monkeypatch.setitem(drawing.WAVEFRONT_IMAGES, "cpu", range(1, 3))
    pj.export_sampler(model, tmp_path / "x.pxs", 3)
    assert taken == {"cached", "wavefront"}
    drawn = pj.load_sampler(tmp_path / "x.pxs")(KEY)
    assert (np.asarray(drawn) == np.asarray(expected)).all()


def test_a_program_that_leads_elsewhere_is_refused():
    def draw(weights: list, key: jax.Array, temperature: jax.Array) -> jax.Array:
        shape = jax.ShapeDtypeStruct((2, 3, 4, 1), np.int32)
        return jax.ffi.ffi_call("xla_ffi_python_cpu_callback", shape)(key, index=1)

    arguments = (
        [],
        jax.ShapeDtypeStruct((2,), np.uint32),
        jax.ShapeDtypeStruct((), "f4"),
    )
    allowed = jax.export.DisabledSafetyCheck.custom_call("xla_ffi_python_cpu_callback")
    program = jax.export.export(jax.jit(draw), disabled_checks=[allowed])(*arguments)
    header = Header(2, 3, 4, 1, 4, 0, "somebody's")
    file = SamplerFile(header, bytes(program.serialize()), [])
    with pytest.raises(pj.UserError, match="one that calls other programs; do not use"):
        ExportedSampler(file)


def test_what_would_be_refused_is_not_written(tmp_path: Path):
    jax.config.update("jax_threefry_gpu_kernel_lowering", True)
    try:
        with pytest.raises(pj.UserError, match="unset jax_threefry_gpu_kernel_lower"):
            pj.export_sampler(tiny_model(height=3, width=2), tmp_path / "x.pxs", 1)
    finally:
        jax.config.update("jax_threefry_gpu_kernel_lowering", False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("path", "reason"),
    [(".", "Is a directory"), ("/", "Is a directory"), ("no/x.pxs", "No such file")],
)
def test_what_cannot_be_written_costs_no_program(path: str, reason: str, monkeypatch):
    monkeypatch.setattr(exporting, "_program", None)
    with pytest.raises(pj.UserError, match=f"be written, got {path} .{reason}"):
        pj.export_sampler(tiny_model(), path, 1)


READER = """
import sys
import pixelcnn_jax as pj

sampler = pj.load_sampler(sys.argv[1])
print(sampler.header.num_images, *(m for m in sys.modules if m in sys.argv[2:]))
"""


def test_a_reader_imports_no_model(exported: Path):
    parts = [path.stem for path in (ROOT / "pixelcnn_jax").iterdir()]
    banned = [f"pixelcnn_jax.{p}" for p in parts if p not in ALLOWED] + ["flax", "PIL"]
    command = [sys.executable, "-c", READER, str(exported), *banned]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.stdout == "3\n", done.stderr


ALLOWED = (
    "__init__",
    "exported",
    "sampler_file",
    "arguments",
    "arrays",
    "keys",
    "files",
    "errors",
)


@pytest.fixture
def small() -> SamplerFile:
    header = Header(2, 3, 4, 1, 4, 0, "PixelCNN; jax 9")
    return SamplerFile(header, b"program", [np.arange(3.0), np.ones((2, 2), np.uint8)])


def test_a_file_comes_back(small: SamplerFile):
    found = SamplerFile.from_bytes(small.to_bytes())
    assert found.header == small.header and found.program == small.program
    for given, back in zip(small.weights, found.weights, strict=True):
        assert back.dtype == given.dtype and (back == given).all()


def test_damaged_files_are_refused(small: SamplerFile):
    whole = small.to_bytes()
    damaged = [whole[:length] for length in range(len(whole))]
    for place in range(len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1 << place % 8
        damaged.append(bytes(flipped))
    for data in damaged:
        with pytest.raises(pj.UserError, match="a sampler's file must") as error:
            SamplerFile.from_bytes(data)
        assert "\n" not in str(error.value)


def test_foreign_files_are_refused(small: SamplerFile, tmp_path: Path):
    path = tmp_path / "x.pxs"
    with pytest.raises(pj.UserError, match="a file that can be read, got .*x.pxs"):
        pj.load_sampler(path)
    path.write_bytes(b"PK\3\4")
    with pytest.raises(pj.UserError, match="must begin with PXS, got b'PK"):
        pj.load_sampler(path)
    path.write_bytes(b"PXS2" + small.to_bytes()[4:])
    with pytest.raises(pj.UserError, match="format 1, got b'2'; a newer pixelcnn_jax"):
        pj.load_sampler(path)
    objects = small._replace(weights=[np.array([None])])
    with pytest.raises(pj.UserError, match="got ValueError"):  # nothing is unpickled
        SamplerFile.from_bytes(objects.to_bytes())
    path.write_bytes(small.to_bytes())
    with pytest.raises(pj.UserError, match="got one of PixelCNN; jax 9"):
        pj.load_sampler(path)


@pytest.mark.parametrize("name", [")f4,", "f4,f4", "O", "V8", "<f4 ", "x" * 9, 4, None])
def test_weights_have_the_types_of_numbers(small: SamplerFile, name):
    """NumPy evaluates a text with a comma that is to be a type."""

    def change(fields: dict) -> None:
        fields["weights"][0][0] = name

    file = with_header(small.to_bytes(), change)
    with pytest.raises(
        pj.UserError, match="what export_sampler writes, got ValueError"
    ):
        SamplerFile.from_bytes(file)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("book-wide", dict(num_images=0), "num_images must be an integer"),
        ("book-wide", dict(method="fast"), "method must be one of auto, full"),
        ("book-wide", dict(size=(3, 0)), "size must be"),
        ("gated-mixture", dict(method="wavefront"), "rows can run side by side"),
    ],
)
def test_an_export_that_makes_no_sense_is_refused(name, arguments, message, tmp_path):
    arguments = dict(num_images=2) | arguments
    with pytest.raises(pj.UserError, match=message):
        pj.export_sampler(member(name), tmp_path / "x.pxs", **arguments)
    assert not list(tmp_path.iterdir())


def test_calls_that_make_no_sense_are_refused(exported: Path):
    sampler = pj.load_sampler(exported)
    with pytest.raises(pj.UserError, match=r"classes: integers \[3\], got none"):
        sampler(KEY)
    with pytest.raises(pj.UserError, match="labels must lie in 0 to 2, got 3 to 3"):
        sampler(KEY, labels=np.full(3, 3))
    labels = np.zeros(3, int)
    with pytest.raises(pj.UserError, match="temperature must be a number"):
        sampler(KEY, labels=labels, temperature=-1)
    with pytest.raises(pj.UserError, match="one key of jax.random.key"):
        sampler(0, labels=labels)


def test_a_missing_flatbuffers_is_named(tmp_path: Path, monkeypatch):
    class Exported:
        def mlir_module(self) -> str:
            return ""

        def serialize(self) -> bytes:
            raise ImportError("flatbuffers")

    monkeypatch.setattr(jax.export, "export", lambda *_, **__: lambda *_: Exported())
    with pytest.raises(pj.UserError, match="pip install flatbuffers"):
        pj.export_sampler(tiny_model(), tmp_path / "x.pxs", 1)


def test_the_commands_export_and_draw(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = str(run_of(tmp_path / "run", tiny_model()))
    export.run([folder, "x.pxs", "--num-images", "2", "--size", "4x3"], "export")
    size = Path("x.pxs").stat().st_size
    assert f"2 images per call, {size} bytes" in capsys.readouterr().out
    sample.run(["--sampler", "x.pxs", "--seed", "3", "--output", "x.npz"], "sample")
    assert np.load("x.npz")["images"].shape == (2, 4, 3, 1)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("export", ["digits"], "the run and the output must both be named"),
        ("export", ["digits", "x.zip"], "output must end in .pxs, got x.zip"),
        ("export", ["digits", "x.pxs", "--num-images", "0"], "--num-images must be"),
        ("export", ["digits", "x.pxs", "--size", "3"], "--size must be height x"),
        ("export", ["nowhere", "x.pxs"], "and nowhere does not"),
        (
            "sample",
            ["--sampler", "no.pxs"],
            "--sampler must be a file that export has written, got no.pxs (",
        ),
        ("sample", ["--sampler", "no.pxs", "--size", "3x3"], "got size; leave"),
    ],
)
def test_the_commands_refuse(
    command, arguments, message, tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert message in refused(command, arguments, capsys)
    assert not list(tmp_path.iterdir())

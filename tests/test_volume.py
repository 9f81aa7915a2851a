"""Any number of images: the same ones, whatever interrupts the job."""

import json
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax
import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import pictures
from pixelcnn_jax.commands import sample, sample_files, sample_jobs
from pixelcnn_jax.commands.background import in_background
from pixelcnn_jax.commands.progress import Progress, duration, progress_line
from pixelcnn_jax.commands.sample_settings import is_folder
from pixelcnn_jax.files import scratch_name
from pixelcnn_jax.training.stopping import Stopped, StopRequest
from tests.conftest import refused, some_labels
from tests.family import member

MODEL = "book-wide"
COUNT = 8


@pytest.fixture(scope="module")
def whole() -> np.ndarray:
    """All images of the job, drawn at once."""
    labels = some_labels(member(MODEL), COUNT)
    drawn = pj.sample(member(MODEL), jax.random.key(0), COUNT, labels=labels)
    return np.asarray(drawn)


@pytest.fixture
def draw(tmp_path: Path):
    """The command that fills a folder, two images at a time."""
    pj.save(member(MODEL), tmp_path / "model")

    def run(*arguments: str, count: int = COUNT) -> Path:
        fixed = ["--workdir", str(tmp_path / "model"), "--batch-size", "2"]
        output = ["--output", f"{tmp_path}/out/", "--num-images", str(count)]
        sample.run([*fixed, *output, *arguments], "sample")
        return tmp_path / "out"

    return run


def shards(folder: Path) -> np.ndarray:
    return np.concatenate([np.load(p)["images"] for p in sorted(folder.glob("*.npz"))])


def test_a_stream_is_the_sample_from_any_image_on(whole: np.ndarray):
    labels = some_labels(member(MODEL), COUNT)
    for start, sizes in ((0, [2, 2, 2, 2]), (3, [2, 2, 1])):
        parts = list(
            pj.stream(
                member(MODEL),
                jax.random.key(0),
                COUNT,
                start=start,
                batch_size=2,
                labels=labels,
            )
        )
        assert [len(part) for part in parts] == sizes
        assert (np.concatenate(parts) == whole[start:]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(start=8), "an integer of at least 0 and below num_images, 8, got 8"),
        (dict(start=-1), "got -1"),
        (dict(batch_size=0), "batch_size must be an integer of at least 1"),
        (dict(labels=np.zeros(2, int)), "labels"),
        (dict(size=(0, 3)), "size must be"),
        (dict(method="nope"), "the method must be one of"),
        (dict(temperature=-1), "the temperature must be"),
        (dict(key=3), "the key must be one key"),
    ],
)
def test_a_stream_refuses_at_once(options: dict, message: str):
    given = {"labels": some_labels(member(MODEL), 8), "key": jax.random.key(0)}
    with pytest.raises(pj.UserError, match=message):
        pj.stream(member(MODEL), num_images=8, **given | options)


def test_a_stream_refuses_a_wavefront_of_a_model_without():
    model = member("snail")
    assert model.wavefront_lag is None
    with pytest.raises(pj.UserError, match="use cached"):
        pj.stream(model, jax.random.key(0), 8, method="wavefront")


def test_a_folder_fills_in_shards_and_can_be_filled_further(
    draw, whole: np.ndarray, monkeypatch
):
    monkeypatch.setattr(sample_files, "SHARD_IMAGES", 3)
    draw(count=4)
    folder = draw()
    assert (shards(folder) == whole).all()
    files = {p.name: np.load(p) for p in folder.glob("*.npz")}
    assert {name: len(file["images"]) for name, file in files.items()} == {
        "images_0000000.npz": 3,
        "images_0000003.npz": 3,
        "images_0000006.npz": 2,
    }
    labels = np.concatenate([files[name]["labels"] for name in sorted(files)])
    assert labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]
    assert whole.max() < files["images_0000000.npz"]["levels"]
    assert files["images_0000000.npz"]["images"].dtype == np.uint8
    # What is lost of it is drawn anew, and only that.
    stamps = {p.name: p.stat().st_mtime_ns for p in folder.glob("*.npz")}
    (folder / "images_0000003.npz").unlink()
    draw()
    assert (shards(folder) == whole).all()
    for name in ("images_0000000.npz", "images_0000006.npz"):
        assert (folder / name).stat().st_mtime_ns == stamps[name]


def test_a_stopped_job_says_what_it_has_and_goes_on(
    draw, whole: np.ndarray, monkeypatch, tmp_path: Path
):
    add = Progress.add

    def stop(self, count: int) -> None:
        add(self, count)
        if self.done == 4:
            signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Progress, "add", stop)
        with pytest.raises(Stopped, match="^4 of 8 images are in") as stopped:
            draw()
    assert stopped.value.number == signal.SIGTERM
    assert (shards(tmp_path / "out") == whole[:4]).all()
    assert (shards(draw()) == whole).all()


def test_a_full_disk_costs_what_is_not_yet_written(
    draw, whole: np.ndarray, monkeypatch, tmp_path: Path
):
    monkeypatch.setattr(sample_files, "SHARD_IMAGES", 4)
    write = sample_files.write_images

    def full(path: Path, *rest) -> None:
        if path.name == "images_0000004.npz":
            path.with_name(scratch_name(path.name)).write_bytes(b"half")
            raise pj.UserError(f"{path} could not be written: No space left on device")
        write(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(sample_files, "write_images", full)
        with pytest.raises(pj.UserError, match="0000004.npz could not be written: No"):
            draw()
    assert (shards(tmp_path / "out") == whole[:4]).all()
    assert (shards(draw()) == whole).all()
    assert not list((tmp_path / "out").glob(".images*"))


def test_png_is_a_file_per_image_in_a_folder_per_class(draw, whole: np.ndarray):
    folder = draw("--format", "png")
    paths = sorted(folder.rglob("*.png"), key=lambda path: path.name)
    assert [path.parent.name for path in paths] == list("01201201")
    shown = pictures.to_pixels(whole, member(MODEL).config.levels)[..., 0]
    paths[5].unlink()
    half = paths[4].with_name(scratch_name(paths[4].name))
    half.touch()
    draw("--format", "png")
    assert not half.exists()
    for path, expected in zip(paths, shown, strict=True):
        assert (np.asarray(Image.open(path)) == expected).all()


def test_a_folder_that_lacks_nothing_says_so(draw, capsys):
    draw(count=2)
    assert "/out: 2 images in " in capsys.readouterr().out
    draw(count=2)
    assert "/out: all 2 images are there already\n" in capsys.readouterr().out


def test_samples_of_other_settings_are_not_mixed(draw, monkeypatch, tmp_path: Path):
    def none(*_, **__):
        yield from ()  # a stream that draws nothing before it is asked
        raise AssertionError("drawn")

    draw()
    monkeypatch.setattr(sample_jobs, "stream", none)
    draw(count=5)  # there are more already
    for arguments, message in (
        (["--seed", "1"], "seed 0 .now 1."),
        (["--temperature", "0.5"], "temperature 1.0 .now 0.5."),
        (["--labels", "1"], r"classes \[0, 1, 2\] .now \[1\]."),
        (["--size", "3x4"], "shape"),
        (["--format", "npy"], "format 'npz' .now 'npy'."),
    ):
        with pytest.raises(pj.UserError, match=f"same samples, .*{message}"):
            draw(*arguments)
    settings = tmp_path / "out" / "samples.json"
    other = json.loads(settings.read_text()) | {"weights": "00"}
    settings.write_text(json.dumps(other))
    with pytest.raises(pj.UserError, match="weights '00'"):
        draw()
    settings.write_text("{")
    with pytest.raises(pj.UserError, match="must be readable"):
        draw()
    settings.unlink()
    with pytest.raises(pj.UserError, match="a new folder, an empty one or .* holds im"):
        draw()


def test_what_a_large_job_lacks_is_found_from_what_it_has(tmp_path: Path):
    count = 2**31 - 1
    kept = sample_files.Shards(tmp_path, ".npy", (1, 1, 1), 2, None)
    assert kept.gaps(count) == [(0, count)]
    for first, number in ((0, kept.size), (2 * kept.size, 3)):
        np.save(kept.path(first), np.zeros((number, 1, 1, 1), np.uint8))
    (tmp_path / "images_x.npy").touch()
    assert kept.gaps(count) == [
        (kept.size, 2 * kept.size),
        (2 * kept.size + 3, count),
    ]
    assert kept.gaps(kept.size) == []
    files = sample_files.Pictures(tmp_path, 2, None)
    for index in (0, 1, 7):
        files.path(index).touch()
    assert files.gaps(count) == [(2, 7), (8, count)]
    assert files.gaps(4) == [(2, 4)]


def test_a_damaged_shard_is_named(draw):
    folder = draw()
    (folder / "images_0000000.npz").write_bytes(b"PK half")
    with pytest.raises(pj.UserError, match="0000000.npz .*; move it elsewhere, to dr"):
        draw()
    np.savez(folder / "images_0000000.npz", images=np.zeros((8, 2, 2, 1), np.uint8))
    with pytest.raises(pj.UserError, match=r"uint8 images .2, 13, 1., got uint8 .2, 2"):
        draw()


def test_one_process_fills_a_folder(draw, tmp_path: Path):
    (tmp_path / "out").mkdir()
    refusal = pytest.raises(pj.UserError, match="no other process fills")
    with filelock.FileLock(tmp_path / "out" / ".lock"), refusal:
        draw()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "png"], "--format must be left out if the output is a file"),
        (["--output", "x/", "--complete", "y.npz"], "must be a file with --complete"),
        (["--output", "x/", "--format", "gif"], "'gif'"),
    ],
)
def test_sample_refuses_contradictions(arguments, message, capsys):
    assert message in refused("sample", arguments, capsys)


def test_an_output_is_a_folder_by_its_name_or_if_it_is_one(tmp_path: Path):
    (tmp_path / "a.b").mkdir()
    assert is_folder("x/") and is_folder("x") and is_folder(str(tmp_path / "a.b"))
    assert not is_folder("x.npz")


def test_a_stop_is_obeyed_whatever_a_program_does():
    """As if a program ran for ever: the thread that runs it never comes back."""
    running = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        # Not SIGINT, which a shell's background jobs ignore.
        os.kill(os.getpid(), signal.SIGTERM)
        running.wait()

    with StopRequest() as stop:
        assert list(in_background(items(), stop)) in ([], [1])
        with pytest.raises(Stopped):
            stop.obey("")
    running.set()


def test_what_goes_wrong_in_the_background_is_told():
    def items() -> Iterator[int]:
        yield 1
        raise pj.UserError("rule")

    with StopRequest() as stop, pytest.raises(pj.UserError, match="^rule$"):
        list(in_background(items(), stop))


def test_progress_tells_the_time_left():
    line = progress_line(3_000, 1_000_000, 1_000, 2.0)
    assert line == "3,000 of 1,000,000 images, 500.0/s, 33 min left"
    assert [duration(x) for x in (42, 720, 11_100)] == ["42 s", "12 min", "3 h 05 min"]

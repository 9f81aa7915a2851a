"""Images as they fill in, and where the model hesitated."""

import io
import os
import signal
import threading

import jax
import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import animation, completion, pictures
from pixelcnn_jax.commands import sample, sample_jobs
from pixelcnn_jax.commands.known_pixels import drawn_strips
from pixelcnn_jax.drawing import Method, Way
from pixelcnn_jax.jobs import Drawer
from pixelcnn_jax.training.stopping import Stopped
from tests.conftest import refused, some_conditions, tiny_model
from tests.family import each_model, small_member
from tests.test_likelihood import all_images

# --- entropy


@each_model
def test_expected_entropies_add_up_to_that_of_images(name: str):
    """The chain rule of entropy, over all images of a small model."""
    model = small_member(name)
    every = all_images(model)
    # The same for all of them: a law of images is that of one condition.
    given = {
        name: array.repeat(len(every), axis=0)
        for name, array in some_conditions(model, 1).items()
    }
    nats = np.float64(pj.log_prob(model, every, **given))
    maps = pj.entropy_map(model, every, **given)
    assert maps.shape == every.shape[:3] and maps.dtype == np.float32
    assert (np.asarray(maps) >= 0).all()
    expected = -(np.exp(nats) * nats).sum()
    found = (np.exp(nats)[:, None, None] * maps).sum()
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_entropy_of_a_mixture_takes_the_memory_of_a_row():
    fields = dict(height=32, width=32, channels=3, levels=256, num_mixtures=10)
    model = tiny_model(distribution="logistic_mixture", **fields)
    shape = jax.ShapeDtypeStruct((4, 32, 32, 3), "int32")
    program = jax.jit(lambda x: pj.entropy_map(model, x)).lower(shape).compile()
    row = 4 * 32 * 256 * 10 * 4  # a number for each level and component
    assert program.memory_analysis().temp_size_in_bytes < 10 * row


def test_images_that_do_not_fit_have_no_entropy():
    with pytest.raises(pj.UserError, match=r"images must be \[B, H, W, 1\]"):
        pj.entropy_map(tiny_model(), np.zeros((6, 5), int))


# --- steps


def test_steps_are_those_of_the_method():
    model = tiny_model()
    raster = pj.visit_steps(model, 64, method="cached")
    assert (raster == np.arange(30).reshape(6, 5)).all()
    rows, columns = np.mgrid[:6, :5]
    wavefront = pj.visit_steps(model, 64, method="wavefront")
    assert (wavefront == columns + rows * model.wavefront_lag).all()
    assert (pj.visit_steps(model, 64, method="full") == raster).all()
    # "auto" goes by how many each of the devices draws.
    devices = len(jax.devices())
    one, few, many = (pj.visit_steps(model, n * devices) for n in (1, 2, 60))
    assert (few == wavefront).all() and (one == raster).all() and (many == raster).all()
    batches = pj.visit_steps(model, 999, batch_size=2 * devices)
    assert (batches == wavefront).all()
    wide = pj.visit_steps(model, 64, method="cached", size=(2, 9))
    assert (wide == np.arange(18).reshape(2, 9)).all()


def test_known_pixels_have_no_step():
    known = np.zeros((2, 6, 5), bool)
    known[:, :2] = True
    known[1, 4, 3] = True
    steps = pj.visit_steps(tiny_model(), 8, known=known, method="cached")
    assert (steps[known] == -1).all()
    assert (steps[0, 2:] == np.arange(20).reshape(4, 5)).all()
    strips = drawn_strips(steps, 3).reshape(2, 5, 6, 5)
    assert (strips[:, :2] == -1).all() and (strips[:, 2:] == steps[:, None]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(num_images=0), "num_images must be an integer of at least 1"),
        (dict(method="fast"), "one of auto"),
        (dict(known=np.zeros((6, 5))), r"bool \[H, W\] or .*, got float64 \[6, 5\]"),
        (dict(size=(0, 5)), r"got \(0, 5\)"),
        (dict(batch_size=0), "batch_size must be"),
    ],
)
def test_steps_of_nothing_are_refused(arguments: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.visit_steps(tiny_model(), **dict(num_images=2) | arguments)


# --- animations


def test_a_frame_shows_what_its_step_has_drawn():
    levels = np.array([[[3, 0], [1, 2]]])[..., None]
    steps = np.array([[-1, 0], [1, 1]])
    first, second, last = animation.frames(levels, steps, 4)
    assert (last == pictures.grid(levels, 4)).all()
    places = np.array([1, 3]) * first.shape[0] // 4
    shown = [frame[np.ix_(places, places)] for frame in (first, second)]
    white, black = np.full(3, 255), np.zeros(3)
    mark = animation.FRONT // 2
    assert (shown[0][0] == [white, black + mark]).all()
    assert (shown[0][1] == animation.BLANK).all()
    assert (shown[1][0] == [white, black]).all()
    assert (shown[1][1] == [85 // 2 + mark, 170 // 2 + mark]).all()


def test_many_steps_share_frames(monkeypatch):
    monkeypatch.setattr(animation, "MAX_FRAMES", 4)
    levels, steps = np.ones((1, 1, 10, 4), int), np.arange(10)[None]
    frames = list(animation.frames(levels, steps, 2))
    assert len(frames) == 5  # of 3, 3, 3 and 1 steps, and the end
    blank = [(frame == animation.BLANK).all(-1).sum() for frame in frames]
    assert blank[3] == blank[4] == 0 and blank[0] * 4 == blank[1] * 7 == blank[2] * 28


@pytest.mark.parametrize("suffix", [".gif", ".webp"])
def test_animations_are_read_back(suffix: str):
    levels = np.arange(12).reshape(3, 2, 2, 1) % 4
    frames = list(animation.frames(levels, np.arange(4).reshape(2, 2), 4))
    film = Image.open(io.BytesIO(animation.to_animation(iter(frames), suffix)))
    assert film.n_frames == 5  # type: ignore[attr-defined]
    for index, frame in enumerate(frames):
        film.seek(index)
        assert (np.asarray(film.convert("RGB")) == frame).all()


def test_heat_rises():
    heat = pictures.to_heat(np.array([[0, 0.5, 1]]), 1)
    assert heat.dtype == np.uint8 and heat.shape == (1, 3, 3)
    assert (np.diff(heat.astype(int).sum(-1)) > 0).all()
    assert (heat[0, 0] == pictures.HEAT[0]).all()


# --- the command


def test_sample_shows_how_images_came_about(plain, image_file, tmp_path, capsys):
    names = [str(tmp_path / name) for name in ("a.npz", "a.gif", "a.png")]
    where = ["--output", names[0], "--animate", names[1], "--entropy", names[2]]
    usual = ["--workdir", str(plain), *where]
    sample.run([*usual, "--num-images", "3", "--method", "wavefront"], "sample")
    model, drawn = tiny_model(), np.load(names[0])["images"]
    steps = pj.visit_steps(model, 3, method="wavefront")
    assert f"a.gif: {1 + steps.max()} steps" in capsys.readouterr().out
    film = Image.open(names[1])
    assert film.n_frames == steps.max() + 2  # type: ignore[attr-defined]
    film.seek(steps.max() + 1)
    end = np.asarray(film.convert("RGB"))
    assert (end == pictures.grid(drawn, 4)).all()
    nats = np.asarray(pj.entropy_map(model, drawn))
    heat = pictures.arrange(pictures.to_heat(nats, nats.max()))
    assert (np.asarray(Image.open(names[2])) == heat).all()

    completes = ["--complete", str(image_file), "--known-rows", "2"]
    sample.run([*usual, *completes, "--num-completions", "2"], "sample")
    shown = capsys.readouterr().out
    known = np.arange(6)[:, None] + np.zeros(5) < 2
    steps = pj.visit_steps(model, 6, known=known)
    assert f"a.gif: {1 + steps.max()} steps" in shown and "nats per pixel" in shown
    first = np.asarray(Image.open(names[1]).convert("RGB"))
    picture = np.asarray(Image.open(names[2]))
    assert first.shape == picture.shape
    # Known pixels are there from the beginning, and in grey.
    tall = first.shape[0] // 3
    assert (first[: tall // 3, -40:] == picture[: tall // 3, -40:]).all()


@pytest.mark.parametrize("completes", [False, True])
def test_the_steps_that_are_shown_are_those_of_the_batches_that_drew(
    completes: bool, plain, image_file, tmp_path, monkeypatch
):
    """12 images: `stream` draws 6 and 6 of them, and `complete` 10 and 2."""
    seen, batches = [], []
    method = Drawer.method

    def choose(self, count: int, way: Way, batch_size: int | None = None) -> Method:
        batches.append(count if batch_size is None else batch_size)
        return method(self, count, way, batch_size)

    monkeypatch.setattr(Drawer, "method", choose)
    monkeypatch.setattr(sample_jobs, "write_watched", lambda *x: seen.append(x[-1]))
    drawn = np.zeros((3, 4, 6, 5, 1), np.int32)
    monkeypatch.setattr(completion, "complete", lambda *_, **__: drawn)
    monkeypatch.setattr(sample_jobs, "stream", lambda *_, **__: iter(drawn))
    job = ["--num-images", "12"]
    if completes:
        job = ["--complete", str(image_file), "--known-rows", "2"]
    where = ["--output", str(tmp_path / "a.npy"), "--entropy", str(tmp_path / "a.png")]
    sample.run(["--workdir", str(plain), "--batch-size", "10", *where, *job], "sample")
    assert batches == [10 if completes else 6] and len(seen) == 1


@pytest.mark.parametrize("completes", [False, True])
def test_a_stop_is_obeyed_while_pictures_are_written(
    completes: bool, plain, image_file, tmp_path, monkeypatch
):
    """As if a picture took for ever: the thread that writes it never comes back."""
    writing = threading.Event()

    def write(*_) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        writing.wait(5)

    monkeypatch.setattr(sample_jobs, "write_watched", write)
    output = tmp_path / "a.npy"
    job = ["--num-images", "3"]
    if completes:
        job = ["--complete", str(image_file), "--known-rows", "2"]
    where = ["--output", str(output), "--entropy", str(tmp_path / "a.png")]
    with pytest.raises(Stopped):
        sample.run(["--workdir", str(plain), *where, *job], "sample")
    writing.set()
    assert output.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--animate", "x.mp4"], "--animate must end in .gif or .webp, got x.mp4"),
        (["--entropy", "x.jpg"], "--entropy must end in .png, got x.jpg; try x.png"),
        (["--entropy", "no/x.png"], "--entropy must be a file that can be written"),
        (["--animate", "x.gif", "--output", "x/"], "into a file, got a folder"),
        (
            ["--entropy", "x.png", "--sampler", "x.pxs"],
            "into a file, got an exported sampler",
        ),
        (
            ["--animate", "x.gif", "--num-images", "2000"],
            "--animate shows at most 1024 images, got 2000",
        ),
    ],
)
def test_what_cannot_be_watched_is_refused(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    line = refused("sample", arguments, capsys)
    assert message in line
    assert not list(tmp_path.iterdir())

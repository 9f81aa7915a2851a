"""The demo's page: what it computes, what it refuses, and that a browser shows it."""

import io
import shutil
import socket
import sys
import threading

import jax
import numpy as np
import pytest
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import pictures
from pixelcnn_jax.commands import demo, demo_page
from pixelcnn_jax.commands.playground import COMPLETIONS, Playground
from tests.conftest import random_images, refused, tiny_model
from tests.test_jax_settings import jax_set


@pytest.mark.parametrize("levels", [2, 4, 37, 256])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_canvas_holds_its_image(levels: int, channels: int):
    model = tiny_model(levels=levels, channels=channels, features=12)
    images = random_images(model, 3)
    playground = Playground(model, images)
    for image in images:
        canvas = playground.to_canvas(image)
        assert canvas.shape == playground.blank.shape and canvas.dtype == np.uint8
        assert (playground.from_canvas(canvas) == image).all()


def test_the_first_rows_are_kept_and_the_others_drawn():
    model = tiny_model(num_classes=3)
    images = random_images(model, 1)
    playground = Playground(model, images)
    canvas, known = playground.to_canvas(images[0]), np.zeros((6, 5), bool)
    for rows in (2, 4):
        known[:rows] = True
        found = playground.complete(canvas, rows, 0.9, 2, seed=7)
        drawn = pj.complete(
            model,
            jax.random.key(7),
            images,
            known,
            num_completions=COMPLETIONS,
            temperature=0.9,
            labels=np.array([2]),
        )[0]
        assert (found.completions == pictures.grid(np.asarray(drawn), 4)).all()
        nats = np.asarray(pj.entropy_map(model, drawn, np.full(COMPLETIONS, 2)))
        assert found.most == pytest.approx(nats[:, rows:].max(), rel=1e-5)
        assert found.entropies.shape == found.completions.shape
    with jax_set("jax_default_prng_impl"):
        again = playground.complete(canvas, 4, 0.9, 2, seed=7)
    assert (again.completions == found.completions).all()
    whole = playground.complete(canvas, 6, 1.0, 0, seed=0)
    assert whole.most == 0 and (whole.entropies == whole.completions).all()


def test_suggestions_know_their_class():
    """Those of the shipped digits are at hand; other models draw some."""
    model = tiny_model(num_classes=3)
    images = random_images(model, 2)
    assert Playground(model, images, np.array([2, 1])).classes.tolist() == [2, 1]
    config = pj.preset("digits-gated")
    shown, classes = demo._suggestions(config)
    assert shown is not None and shown.shape[1:] == (16, 16, 1)
    assert classes is not None and len(classes) == len(shown)
    assert demo._suggestions(pj.preset("mnist")) == (None, None)


def test_conditions_that_no_page_can_ask_for_are_refused():
    model = tiny_model(condition_features=2)
    with pytest.raises(pj.UserError, match="without conditions.* 2 condition_features"):
        Playground(model, random_images(model, 1))


def test_a_taken_port_is_refused():
    with demo_page.listen(0) as place:
        port = place.getsockname()[1]
        assert place.getsockname()[0] == "127.0.0.1"
        with pytest.raises(pj.UserError, match=f"port must be free, got {port}"):
            demo_page.listen(port)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--port", "70000"], "--port must be from 0 to 65535, got 70000; try 7860"),
        (["--port", "x"], "must be a whole number, got x"),
        ([], "demo needs gradio, which is not installed; pip install"),
    ],
)
def test_demo_refuses(arguments, message, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    assert message in refused("demo", arguments, capsys)


def test_runs_that_are_none_are_refused(capsys, monkeypatch):
    monkeypatch.setattr("pixelcnn_jax.commands.demo.require_gradio", lambda: None)
    line = refused("demo", ["--workdir", "no-such-run", "--port", "0"], capsys)
    assert "no-such-run" in line


@pytest.fixture
def browser():
    """A browser without a window; skips where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium is installed: apt-get install chromium")
    with playwright.sync_playwright() as started:
        # A container's root has no sandbox to start it in.
        found = started.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.mark.slow
def test_the_page_is_for_itself():
    pytest.importorskip("gradio")
    client = pytest.importorskip("fastapi.testclient").TestClient
    demo_page.require_gradio()
    model = tiny_model()
    app = demo_page.make_app(Playground(model, random_images(model, 3)))
    page = client(app, base_url="http://127.0.0.1:7860")
    assert page.get("/").status_code == 200
    assert page.get("/", headers={"host": "localhost:7860"}).status_code == 200
    # A name of somebody else's that leads here, and a page of theirs that posts here.
    assert page.get("/", headers={"host": "else.where"}).status_code == 400

    def upload(size: int, **headers: str) -> int:
        files = {"files": ("x.png", b"x" * size)}
        return page.post("/gradio_api/upload", files=files, headers=headers).status_code

    assert upload(9) == upload(9, origin="http://127.0.0.1:7860") == 200
    assert upload(9, origin="http://else.where") == upload(9, origin="null") == 403
    assert upload(demo_page.LARGEST_UPLOAD + 1) == 413


@pytest.mark.slow
def test_a_browser_picks_draws_and_completes(browser, monkeypatch):
    pytest.importorskip("gradio")
    demo_page.require_gradio()
    hosts = set()
    connect = socket.socket.connect

    def watched(self, address):
        hosts.add(address[0] if isinstance(address, tuple) else "local")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", watched)
    model = tiny_model()
    playground = Playground(model, random_images(model, 3))
    server = demo_page.make_server(demo_page.make_app(playground))
    with demo_page.listen(0) as place:
        thread = threading.Thread(target=server.run, kwargs=dict(sockets=[place]))
        thread.start()
        try:
            asked = _play(browser, place.getsockname()[1], playground)
        finally:
            server.should_exit = True
            thread.join(30)
    # Nothing is asked for elsewhere, neither by the page nor by its server.
    assert all(x.startswith(("http://127.0.0.1:", "data:", "blob:")) for x in asked)
    assert hosts <= {"127.0.0.1", "::1", "localhost", "local"}


def _play(browser, port: int, playground: Playground) -> list[str]:
    """Use the page as a person does; what the browser asked for."""
    page, asked = browser.new_page(), []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"http://127.0.0.1:{port}/")
    button = page.get_by_role("button", name="Complete")
    shown = page.locator("#completions img")

    def completed() -> np.ndarray:
        before = shown.get_attribute("src") if shown.count() else None
        button.click()
        page.wait_for_function(
            "before => { const x = document.querySelector('#completions img');"
            " return x && x.src !== before }",
            arg=before,
        )
        content = page.request.get(shown.get_attribute("src")).body()
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))

    page.locator("#suggestions img").nth(1).click()
    canvas = page.locator("#canvas canvas").first
    canvas.wait_for()
    picked = playground.to_canvas(playground.suggestions[1])

    def as_picked(seed: int) -> bool:
        expected = playground.complete(picked, 3, 1.0, 0, seed).completions
        return bool((completed() == expected).all())

    # The page takes in a moment later what has been picked, or drawn.
    assert any(as_picked(seed) for seed in range(20))
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.7, box["y"] + box["height"] * 0.3)
    page.mouse.up()
    kept = pictures.grid(playground.suggestions[1:2].repeat(COMPLETIONS, 0), 4)
    tall = len(kept) // 5  # of the first completion's known rows
    assert any((completed()[:tall] != kept[:tall]).any() for _ in range(20))
    return asked

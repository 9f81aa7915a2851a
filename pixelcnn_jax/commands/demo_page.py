"""The demo's page, and the server that shows it to this machine only."""

import os
import socket
from collections.abc import Callable
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import numpy as np

from pixelcnn_jax.commands.playground import Playground
from pixelcnn_jax.errors import UserError

HOST = "127.0.0.1"

NAMES = (HOST, "localhost")
"""By which a browser may ask for the page, and from whose pages."""

LARGEST_UPLOAD = 2**25
"""Bytes of a file, such as a drawing."""

POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:;"
    " frame-ancestors 'none'"
)
"""What the browser may load: nothing from elsewhere, whatever gradio asks for."""

App: TypeAlias = Any
"""What the packages of a web page make. Any, since they are optional."""


def listen(port: int) -> socket.socket:
    """A socket for this machine's own programs at a port; 0: at any free one.

    Raises:
        UserError: the port is taken.
    """
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        place.bind((HOST, port))
        place.listen()
    except OSError as error:
        place.close()
        raise UserError(
            f"port must be free, got {port} ({error.strerror}); try 0, which finds one"
        ) from error
    return place


def require_gradio() -> None:
    """Raise unless the packages of the page are installed."""
    # Before it is imported: gradio, and what it brings, report their use otherwise.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import gradio  # noqa: F401 # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "demo needs gradio, which is not installed; pip install"
            " 'pixelcnn_jax[demo]'"
        ) from error


def make_app(playground: Playground) -> App:
    """The page as an application for a server."""
    import fastapi  # pyright: ignore[reportMissingImports]
    import gradio  # pyright: ignore[reportMissingImports]
    from gradio.themes import Base  # pyright: ignore[reportMissingImports]
    from starlette.middleware.trustedhost import (  # pyright: ignore[reportMissingImports]
        TrustedHostMiddleware,
    )

    app = fastapi.FastAPI()

    @app.middleware("http")
    async def stay_here(request: App, call_next: Callable[[App], App]) -> App:
        origin = request.headers.get("origin")
        if origin is not None and urlsplit(origin).hostname not in NAMES:
            return fastapi.Response("this page is for itself", status_code=403)
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = POLICY
        return response

    # A name of somebody else's may lead here.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(NAMES))
    # The theme's own fonts would be asked for elsewhere.
    theme = Base(font=["system-ui", "sans-serif"], font_mono="monospace")
    return gradio.mount_gradio_app(
        app,
        _page(playground),
        "",
        theme=theme,
        footer_links=[],
        ssr_mode=False,
        max_file_size=LARGEST_UPLOAD,
    )


def make_server(app: App) -> App:
    """A server of the page; ``run(sockets=[listen(port)])`` starts it."""
    import uvicorn  # pyright: ignore[reportMissingImports]

    return uvicorn.Server(uvicorn.Config(app, log_level="warning"))


def _page(playground: Playground) -> App:
    """Gradio's blocks."""
    import gradio  # pyright: ignore[reportMissingImports]

    c, name = playground.model.config, type(playground.model).__name__
    canvases = [playground.to_canvas(image) for image in playground.suggestions]

    def pick(event: gradio.SelectData) -> tuple[App, int]:
        return _on_canvas(canvases[event.index]), int(playground.classes[event.index])

    with gradio.Blocks(title="pixelcnn_jax", analytics_enabled=False) as page:
        gradio.Markdown(
            "## The model completes what you begin\n\n"
            f"A {name} of {c.height}x{c.width} pixels. Pick an image or draw: the rows"
            " at the top are kept, and the model draws the others."
        )
        with gradio.Row():
            with gradio.Column():
                canvas = _canvas(playground)
                gallery = gradio.Gallery(
                    [(shown, None) for shown in canvases],
                    label="Or pick one",
                    columns=4,
                    allow_preview=False,
                    buttons=[],
                    elem_id="suggestions",
                )
            with gradio.Column():
                rows, temperature, label, seed = _settings(playground)
                button = gradio.Button("Complete", variant="primary")
                outputs = [
                    gradio.Image(
                        label=label, format="png", buttons=["download"], elem_id=name
                    )
                    for label, name in (
                        ("Completions", "completions"),
                        ("Where the model hesitated", "entropies"),
                    )
                ]
                note = gradio.Markdown()
        gallery.select(pick, None, [canvas, label])
        answer = _answer(playground)
        inputs = [canvas, rows, temperature, label, seed]
        # The seed goes on, so that another click draws others.
        button.click(answer, inputs, [*outputs, note, seed])
    return page


def _on_canvas(picture: np.ndarray) -> App:
    """A picture as gradio's editor takes it."""
    return {"background": picture, "layers": [], "composite": picture}


def _canvas(playground: Playground) -> App:
    import gradio  # pyright: ignore[reportMissingImports]

    blank = playground.blank
    height, width = blank.shape[:2]
    return gradio.ImageEditor(
        value=_on_canvas(blank),
        label="Begin here",
        type="numpy",
        image_mode="RGB",
        sources=[],
        transforms=[],
        layers=False,
        canvas_size=(width, height),
        brush=gradio.Brush(
            default_size=2 * playground.scale,
            colors=["#ffffff", "#000000"],
            default_color="#ffffff",
        ),
        elem_id="canvas",
    )


def _settings(playground: Playground) -> list[App]:
    """What `Playground.complete` takes besides the picture."""
    import gradio  # pyright: ignore[reportMissingImports]

    c = playground.model.config
    some = c.num_classes > 1
    return [
        gradio.Slider(0, c.height, c.height // 2, step=1, label="Rows that are kept"),
        gradio.Slider(0, 2, 1, step=0.05, label="Temperature"),
        gradio.Slider(
            0, max(1, c.num_classes - 1), 0, step=1, label="Class", visible=some
        ),
        gradio.Number(0, precision=0, visible=False),
    ]


def _answer(playground: Playground) -> Callable[..., tuple[object, ...]]:
    """What the button does."""

    def answer(
        canvas: dict[str, np.ndarray] | None,
        rows: float,
        temperature: float,
        label: float,
        seed: int,
    ) -> tuple[object, ...]:
        picture = playground.blank if canvas is None else canvas["composite"]
        found = playground.complete(picture, int(rows), temperature, int(label), seed)
        note = f"Black: sure. Brightest: {found.most:.2f} nats in a pixel."
        return found.completions, found.entropies, note, seed + 1

    return answer

"""The examples do what they say."""

import importlib.util
import itertools
import re
import runpy
from pathlib import Path
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image

import pixelcnn_jax as pj
from tests.conftest import run_of, tiny_model

EXAMPLES = Path(__file__).parents[1] / "examples"
NOTEBOOKS = EXAMPLES / "notebooks"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small():
    """A model of few images, all of them, and their probabilities."""
    model = tiny_model(height=2, width=2, levels=2, scale=2.6)
    every = np.array(list(itertools.product((0, 1), repeat=4)))
    probs = np.exp(pj.log_prob(model, every.reshape(-1, 2, 2, 1)))
    return nnx.split(model), every, probs


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> str:
    return str(run_of(tmp_path_factory.mktemp("examples") / "run", tiny_model()))


def shares(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each image is met, in the order of `small`."""
    number = values @ (8, 4, 2, 1)
    return np.bincount(number, weights, minlength=16) / weights.sum()


def test_constrained_images_are_those_of_the_model_given_the_number(small):
    (graph, params), every, probs = small
    key, bright = jax.random.key(0), jnp.int32(2)
    images, log_weights = example("constrained").draw(graph, params, key, 4000, bright)
    assert (images.sum((1, 2, 3)) == 2).all()
    expected = np.where(every.sum(1) == 2, probs, 0)
    values = np.asarray(images).reshape(-1, 4)
    found = shares(values, np.exp(log_weights))
    np.testing.assert_allclose(found, expected / expected.sum(), atol=0.03)
    # Without the weights they would not be.
    forced = shares(values, np.ones(4000))
    assert abs(forced - expected / expected.sum()).max() > 0.06


def test_metropolis_draws_what_comes_before_given_what_follows(small):
    (graph, params), every, probs = small
    chains = 4000
    known = np.zeros((4, chains), bool)
    known[2:] = True
    values = np.ones((4, chains), np.int32)
    start, end, accepted = example("metropolis").sample(
        graph, params, jax.random.key(0), values, known, 20, 2
    )
    expected = np.where(every[:, 2:].all(1), probs, 0)
    expected /= expected.sum()
    alike = np.ones(chains)
    found = shares(np.asarray(end.values_TB).T, alike)
    np.testing.assert_allclose(found, expected, atol=0.03)
    # The start can't look ahead.
    assert abs(shares(np.asarray(start.values_TB).T, alike) - expected).max() > 0.06
    assert 0.2 < accepted < 1


@pytest.mark.slow
def test_the_stepper_examples_print_and_draw(run: str, tmp_path: Path, capsys):
    constrained, metropolis = example("constrained"), example("metropolis")
    constrained.main(constrained.Settings(run, bright=7, candidates=4))
    shown = capsys.readouterr().out
    assert "bright pixels: 7\n" in shown and len(shown.splitlines()) == 2 + 6
    picture = tmp_path / "chains.png"
    settings = metropolis.Settings(run, chains=3, steps=2, length=4, output=picture)
    metropolis.main(settings)
    assert "end: -" in capsys.readouterr().out
    assert Image.open(picture).size[0] > 300


def test_lower_halves_are_compared(run: str, capsys):
    lower_halves = example("lower_halves")
    lower_halves.main(lower_halves.Settings(run, images=20))
    found = re.findall(
        r"(\w+) lower halves: (\S+) \+- \S+ nats", capsys.readouterr().out
    )
    assert [name for name, _ in found] == ["true", "drawn"]
    assert all(float(nats) < 0 for _, nats in found)


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.py")), ids=lambda x: x.stem)
def test_notebooks_run_and_draw_their_pictures(path: Path, tmp_path, monkeypatch):
    """On small numbers; each has the cells of a notebook."""
    text = path.read_text()
    cells = re.split(r"^# %%", text, flags=re.MULTILINE)
    assert "format_name: percent" in cells[0] and len(cells) > 6
    assert sum(cell.startswith(" [markdown]\n#") for cell in cells) > 2
    monkeypatch.setenv("QUICK", "1")
    monkeypatch.setenv("PICTURES", str(tmp_path))
    runpy.run_path(str(path))
    drawn = {picture.stem for picture in tmp_path.glob("*.png")}
    named = re.findall(r'^show.*"(\w+)"\)$|"(\w+)\.png"', text, flags=re.MULTILINE)
    assert drawn == {a or b for a, b in named} and drawn
    for picture in tmp_path.glob("*.png"):
        assert np.asarray(Image.open(picture)).std() > 1

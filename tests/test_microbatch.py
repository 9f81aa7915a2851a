"""The number of images whose gradients are computed at once."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training import microbatch
from tests.conftest import assert_same_weights, whole_and_resumed, with_training

SECONDS = {1: 4.0, 2: 2.0, 4: 3.0, 8: 5.0}
"""Of an update, by microbatch, as the tests pretend."""


@pytest.fixture
def config() -> pj.Config:
    model = pj.PixelCNNConfig.tiny(height=16, width=16, num_blocks=1)
    return pj.Config(model=model, training=TrainingConfig(epochs=2, batch_size=16))


@pytest.fixture
def images() -> pj.ImageSet:
    rng = np.random.default_rng(0)
    return pj.ImageSet(rng.integers(0, 4, (32, 16, 16, 1)).astype(np.uint8))


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """What was timed, in an own folder of compiled programs; `SECONDS` is found."""
    found = []

    def seconds(config, model, images, size: int) -> float:
        found.append(size)
        return SECONDS[size]

    monkeypatch.setattr(microbatch, "_seconds", seconds)
    monkeypatch.setattr(microbatch, "WORTH", 0.0)
    monkeypatch.setattr(microbatch, "_file", lambda: tmp_path / "microbatches.json")
    return found


def settled(config: pj.Config, images: pj.ImageSet) -> int | None:
    found = microbatch.with_microbatch(config, pj.build_model(config.model), images)
    return found.training.microbatch_size


def test_the_fastest_is_found_and_remembered(config, images, tried, tmp_path):
    assert settled(config, images) == 2
    assert tried == [4, 2, 1, 8]  # 4 by default, and on as long as it is faster
    assert settled(config, images) == 2 and len(tried) == 4
    other = dataclasses.replace(config, model=pj.PixelCNNConfig.tiny(features=6))
    settled(other, images)
    assert len(tried) == 8
    many = "[" * 100_000
    for damage in ("", "[1]", json.dumps({"x": "2"}), '{"x": 1e999}', many):
        (tmp_path / "microbatches.json").write_text(damage)
        assert settled(config, images) == 2


def test_what_is_given_or_short_is_not_measured(config, images, tried, monkeypatch):
    assert settled(with_training(config, microbatch_size=8), images) == 8
    monkeypatch.setattr(microbatch, "WORTH", 1e12)
    assert settled(config, images) is None
    assert tried == []
    # Of batches from elsewhere, these are the first of many.
    model = pj.build_model(config.model)
    found = microbatch.with_microbatch(config, model, images, 10**9)
    assert found.training.microbatch_size == 2


def test_no_more_is_tried_once_time_is_up(config, images, tried, monkeypatch):
    monkeypatch.setattr(microbatch, "BUDGET_SECONDS", 0.0)
    monkeypatch.setattr(microbatch, "BUDGET_SHARE", 0.0)
    assert settled(config, images) == 4 and tried == [4]


@pytest.mark.slow
def test_a_run_goes_on_with_the_microbatch_that_it_began_with(
    config, images, tried, monkeypatch, tmp_path
):
    whole, _ = whole_and_resumed(config, images, tmp_path / "run")
    assert Run(tmp_path / "run").config().training.microbatch_size == 2
    # Another machine's choice would be 8; the run keeps its own.
    monkeypatch.setattr(microbatch, "_remembered", lambda: dict.fromkeys("x", 8))
    pj.fit(with_training(config, epochs=1), images, workdir=str(tmp_path / "other"))
    monkeypatch.setitem(SECONDS, 8, 0.1)
    resumed = pj.fit(config, images, workdir=str(tmp_path / "other"))
    assert Run(tmp_path / "other").config().training.microbatch_size == 2
    assert_same_weights(whole.model, resumed.model)


@pytest.mark.slow
def test_an_update_is_timed(config, images):
    model = pj.build_model(config.model)
    assert 0 < microbatch._seconds(config, model, images, 4) < 60
    assert jax.default_backend() == "cpu"

"""All cores of a CPU are used, or the user is told."""

import os
import subprocess
import sys
import warnings

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import machine
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.training import Trainer
from tests.family import member


@pytest.fixture
def undecided(monkeypatch: pytest.MonkeyPatch):
    """Three cores, of whose use nobody has decided anything."""
    monkeypatch.setattr(machine, "_decided", lambda: False)
    monkeypatch.setattr(machine, "usable_cores", lambda: 3)
    monkeypatch.setattr(
        "pixelcnn_jax.devices.devices_for", lambda tree: jax.local_devices()[:1]
    )
    machine.__dict__.pop("__warningregistry__", None)


@pytest.mark.slow
def test_all_cores_become_devices():
    program = "import pixelcnn_jax as pj; print(pj.use_all_cores())"
    command = [sys.executable, "-c", program]
    settings = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(command, env=settings, capture_output=True, text=True)
    assert done.stdout.split() == [str(machine.usable_cores())], done.stderr


def test_what_the_user_has_decided_stays():
    assert pj.use_all_cores() == len(jax.devices()) == 2


def test_devices_that_meet_wait_for_a_process_that_was_stopped(monkeypatch):
    """XLA knows the option, and updates are compiled with it."""
    patient = {"xla_cpu_collective_call_terminate_timeout_seconds": machine.PATIENCE}
    assert machine.for_updates("cpu") == patient and machine.PATIENCE >= 24 * 3600
    assert machine.for_updates("gpu") == machine.deterministic("gpu")
    compiled = []
    jit = jax.jit
    monkeypatch.setattr(
        jax,
        "jit",
        lambda f, **options: compiled.append(options) or jit(f, **options),
    )
    images = np.zeros((8, 6, 5, 1), np.uint8)
    model = pj.build_model(pj.PixelCNNConfig.tiny())
    trainer = Trainer(model, TrainingConfig(batch_size=8), pj.ImageSet(images))
    trainer.run(trainer.init(), 0, 0, 1)
    assert {"donate_argnums": 0, "compiler_options": patient} in compiled


@pytest.mark.usefixtures("undecided")
def test_it_is_an_error_to_ask_for_cores_too_late():
    with pytest.raises(pj.UserError, match="before JAX .*2 of 3 cores.*right after"):
        pj.use_all_cores()


@pytest.mark.usefixtures("undecided")
def test_idle_cores_are_told_once():
    model, key = member("book-wide"), jax.random.key(0)
    labels = np.array([0, 1])
    with pytest.warns(pj.IdleCoresWarning, match="2 of 3 cores.*use_all_cores"):
        pj.sample(model, key, 2, labels=labels)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("default")
        for _ in range(2):
            machine.warn_of_idle_cores("cpu")
    assert len(told) == 1


@pytest.mark.usefixtures("undecided")
def test_a_single_image_leaves_nothing_to_spread(recwarn: pytest.WarningsRecorder):
    pj.sample(member("book-wide"), jax.random.key(0), 1, labels=np.array([0]))
    assert not recwarn.list

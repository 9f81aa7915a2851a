"""The examples on data of one's own run, and what they call exact is."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.test_benchmarks import run

EXAMPLES = Path(__file__).parents[1] / "examples"


def module(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.mark.parametrize("beta", [0.3, 0.44, 0.6])
def test_the_free_energy_of_spins_is_that_of_all_states(beta: float):
    ising = module("ising")
    states = (np.arange(2**16)[:, None] >> np.arange(16)) & 1
    spins = states.reshape(-1, 4, 4) * 2 - 1
    energies = ising.energy(spins)
    weights = np.exp(-beta * (energies - energies.min()))
    log_z = np.log(weights.sum()) - beta * energies.min()
    assert ising.free_energy(4, beta) == pytest.approx(-log_z / 16, abs=1e-12)
    # A large torus is nearly infinite.
    infinite = ising.free_energy_of_infinite_lattice(beta)
    assert ising.free_energy(64, beta) == pytest.approx(infinite, abs=3e-4)
    drawn = ising.wolff(4, beta, 2000, seed=0)
    error = energies.std() / 2000**0.5
    expected = (weights * energies).sum() / weights.sum()
    assert abs(ising.energy(drawn).mean() - expected) < 5 * error


@pytest.mark.slow
def test_the_example_of_spins_runs():
    printed = run("examples", "ising.py", "--quick")
    assert "Onsager, infinite lattice         -0.92" in printed


@pytest.mark.slow
def test_the_example_of_codes_runs(tmp_path: Path):
    printed = run("examples", "vq_codes.py", "--quick", "--folder", str(tmp_path))
    assert 4 < float(re.findall(r"test codes: ([\d.]+) bits", printed)[0]) < 8
    assert (tmp_path / "digits.png").stat().st_size > 1000


@pytest.mark.slow
def test_the_example_of_super_resolution_runs(tmp_path: Path, capsys):
    example, output = module("super_resolution"), tmp_path / "x.png"
    settings = example.Settings(quick=True, show=3, samples=2, output=str(output))
    example.main(settings)
    printed = capsys.readouterr().out
    bits = [float(x) for x in re.findall(r"map: +([\d.]+) bits/dim", printed)]
    assert len(bits) == 2 and all(0 < x < 3 for x in bits)
    width, height = Image.open(output).size
    assert width > height  # three rows of four tiles
    levels = np.arange(32).reshape(2, 4, 4, 1)
    means = example.coarse(levels, levels=32)
    np.testing.assert_allclose(means.ravel(), [7.5 / 31, 23.5 / 31], rtol=1e-6)

"""A model of spins: the Ising model near its critical temperature, learnt from samples.

A Wolff cluster sampler (U. Wolff, Phys. Rev. Lett. 62, 361, 1989) draws lattices of
spins on a torus. A Gated PixelCNN learns them. Its likelihood q is exact, so its
samples bound the free energy F from above, true lattices from below, and weights p/q
estimate it:

    mean over q of (beta E + log q)  >=  beta F  >=  mean over p of (beta E + log q)

The true value is Kaufman's sum for the finite torus (Phys. Rev. 76, 1232, 1949), beside
Onsager's for the infinite lattice (Phys. Rev. 65, 117, 1944).

    python examples/ising.py [--quick]
"""

import dataclasses
import math

import jax
import numpy as np
import tyro

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig


@dataclasses.dataclass(frozen=True)
class Settings:
    side: int = 16
    """Of the square lattice."""
    temperature: float = 2.27
    """Critical is 2.2692, in units of the coupling."""
    lattices: int = 30000
    """To train on; a tenth as many more are compared with."""
    epochs: int = 16
    """Passes over them."""
    seed: int = 0
    """Of all that is drawn."""
    workdir: str | None = None
    """A folder to keep the run in."""
    quick: bool = False
    """A small network on few lattices: tries the program out."""


# --- the true model


def wolff(side: int, beta: float, count: int, seed: int) -> np.ndarray:
    """Lattices of spins -1 and 1, int8 ``[count, side, side]``.

    Ten clusters are flipped from one to the next, and 500 before the first.
    """
    rng = np.random.default_rng(seed)
    neighbours = _neighbours(side)
    spins = rng.choice([-1, 1], side * side).tolist()
    bond = 1 - math.exp(-2 * beta)
    found = np.empty((count, side * side), np.int8)
    for _ in range(500):
        _flip_cluster(spins, neighbours, bond, rng)
    for lattice in found:
        for _ in range(10):
            _flip_cluster(spins, neighbours, bond, rng)
        lattice[:] = spins
    return found.reshape(count, side, side)


def _neighbours(side: int) -> list[list[int]]:
    """The four neighbours of each site of a torus."""
    sites = np.arange(side * side).reshape(side, side)
    shifts = [np.roll(sites, step, axis) for step in (1, -1) for axis in (0, 1)]
    return np.stack(shifts, axis=-1).reshape(-1, 4).tolist()


def _flip_cluster(
    spins: list[int], neighbours: list[list[int]], bond: float, rng: np.random.Generator
) -> None:
    """Flip the cluster of a random site; plain Python, since it goes site by site."""
    site = int(rng.integers(len(spins)))
    draws = rng.random(4 * len(spins)).tolist()
    spin = spins[site]
    spins[site] = -spin
    waiting = [site]
    while waiting:
        for other in neighbours[waiting.pop()]:
            if spins[other] == spin and draws.pop() < bond:
                spins[other] = -spin
                waiting.append(other)


def energy(spins: np.ndarray) -> np.ndarray:
    """Minus the sum over neighbours on the torus: ``[N]``, of spins ``[N, H, W]``."""
    spins = spins.astype(np.int64)
    pairs = spins * (np.roll(spins, 1, axis=1) + np.roll(spins, 1, axis=2))
    return -pairs.sum(axis=(1, 2))


def free_energy(side: int, beta: float) -> float:
    """``beta F`` per spin of a ``side x side`` torus, exact."""
    row = np.arange(side)
    cosine = math.cosh(2 * beta) / math.tanh(2 * beta)

    def gamma(number: np.ndarray) -> np.ndarray:
        return np.arccosh(cosine - np.cos(number * math.pi / side))

    odd, even = gamma(2 * row + 1), gamma(2 * row)
    # Of this one the sign counts: it changes at the critical temperature.
    even[0] = 2 * beta + math.log(math.tanh(beta))
    half = side / 2
    logs = [
        np.logaddexp(half * odd, -half * odd).sum(),
        _log_sinh(half * odd).sum(),
        np.logaddexp(half * even, -half * even).sum(),
        _log_sinh(half * np.abs(even)).sum(),
    ]
    signs = [1, 1, 1, math.copysign(1, even[0])]
    highest = max(logs)
    total = sum(s * math.exp(x - highest) for s, x in zip(signs, logs, strict=True))
    log_z = highest + math.log(total / 2)
    log_z += side**2 / 2 * math.log(2 * math.sinh(2 * beta))
    return -log_z / side**2


def _log_sinh(x: np.ndarray) -> np.ndarray:
    """``log(2 sinh x)`` of positive x."""
    return x + np.log(-np.expm1(-2 * x))


def free_energy_of_infinite_lattice(beta: float) -> float:
    """``beta F`` per spin, Onsager's integral."""
    modulus = 1 / math.sinh(2 * beta) ** 2
    angles = (np.arange(100_000) + 0.5) * (math.pi / 100_000)
    root = np.sqrt(np.maximum(1 + modulus**2 - 2 * modulus * np.cos(2 * angles), 0))
    inner = np.log(math.cosh(2 * beta) ** 2 + root / modulus)
    return -(math.log(2) / 2 + inner.mean() / 2)


# --- the learnt model

# Thirteen layers see all spins above and to the left.
NETWORK = pj.GatedPixelCNNConfig(features=24, num_layers=13, head_features=48, levels=2)
QUICK = pj.GatedPixelCNNConfig(features=8, num_layers=3, head_features=8, levels=2)


def learn(settings: Settings, train: np.ndarray, held_out: np.ndarray) -> pj.PixelModel:
    """A Gated PixelCNN on levels ``[N, side, side, 1]``."""
    side = {"height": settings.side, "width": settings.side}
    config = pj.Config(
        seed=settings.seed,
        model=dataclasses.replace(QUICK if settings.quick else NETWORK, **side),
        training=TrainingConfig(
            epochs=settings.epochs,
            batch_size=64,
            learning_rate=2e-3,
            schedule="cosine",
            warmup_steps=100,
            clip_norm=1.0,
            ema_decay=0.995,
        ),
    )
    return pj.fit(config, train, held_out, workdir=settings.workdir).model


def to_levels(spins: np.ndarray) -> np.ndarray:
    return (spins[..., None] > 0).astype(np.uint8)


def to_spins(levels: np.ndarray) -> np.ndarray:
    return levels[..., 0].astype(np.int8) * 2 - 1


def mean(values: np.ndarray) -> str:
    """The mean and its standard error."""
    return f"{values.mean():.5f} +- {values.std(ddof=1) / math.sqrt(len(values)):.5f}"


def main(settings: Settings) -> None:
    if settings.quick:
        settings = dataclasses.replace(settings, lattices=500, epochs=1)
    beta, sites = 1 / settings.temperature, settings.side**2
    count = max(100, settings.lattices // 10)
    spins = wolff(settings.side, beta, settings.lattices + count, settings.seed)
    train, true = spins[:-count], spins[-count:]
    model = learn(settings, to_levels(train), to_levels(true))
    key = jax.random.key(settings.seed)
    levels, log_q = pj.sample(model, key, count, with_log_prob=True)
    drawn, log_q = to_spins(np.asarray(levels)), np.float64(log_q).sum((1, 2))
    log_q_true = np.concatenate(
        [np.float64(pj.log_prob(model, to_levels(x))) for x in np.split(true, 10)]
    )
    print(f"{count} lattices each, {settings.side} x {settings.side}, per spin")
    for name, lattices in (("true", true), ("model", drawn)):
        magnetisation = np.abs(lattices.mean(axis=(1, 2)))
        print(
            f"  {name:6} energy {mean(energy(lattices) / sites)}"
            f"  |magnetisation| {mean(magnetisation)}"
        )
    weights = -beta * energy(drawn) - log_q
    highest = weights.max()
    log_z = highest + math.log(np.exp(weights - highest).mean())
    share = np.exp(weights - highest).sum() ** 2 / np.exp(2 * (weights - highest)).sum()
    print("beta F per spin")
    print(f"  from above, the model's lattices  {mean(-weights / sites)}")
    print(f"  weighted                          {-log_z / sites:.5f}")
    below = (beta * energy(true) + log_q_true) / sites
    print(f"  from below, true lattices         {mean(below)}")
    print(f"  exact, this torus                 {free_energy(settings.side, beta):.5f}")
    infinite = free_energy_of_infinite_lattice(beta)
    print(f"  Onsager, infinite lattice         {infinite:.5f}")
    print(f"effective sample size of the weights: {share / count:.3f}")


if __name__ == "__main__":
    pj.use_all_cores()
    main(tyro.cli(Settings))

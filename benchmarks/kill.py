"""Is nothing lost, whenever a training is killed? SIGKILL at many moments.

    python benchmarks/kill.py
    python benchmarks/kill.py --kills 3 --models book --devices 2

Chains of processes train one run each. A process is killed at a random time, at its
k-th change of a file, or while it drops an old checkpoint, in turns; the last one of a
chain may end. The run must then hold, to the bit, what one holds that nobody killed:
weights, EMA weights, the optimizer's moments, tables, pictures. Meanwhile a reader
loads the model over and over, and must never be turned away.
"""

import dataclasses
import itertools
import json
import random
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import jax
import mortal
import numpy as np
import tyro
from mortal import CHANGES, PRUNES, Death

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training import Trainer
from pixelcnn_jax.training.keeping import to_items

SIZE = dict(height=4, width=5)
MODELS = {
    "book": pj.PixelCNNConfig.tiny(**SIZE),
    "gated": pj.GatedPixelCNNConfig.tiny(num_classes=3, dropout=0.1, **SIZE),
    "pp": pj.PixelCNNPPConfig.tiny(**SIZE),
    "snail": pj.PixelSNAILConfig.tiny(**SIZE),
}

PER_CHAIN = 5
"""Kills of one run, at most."""


@dataclasses.dataclass(frozen=True)
class Settings:
    kills: int = 50
    """In all."""
    models: tuple[str, ...] = tuple(MODELS)
    devices: tuple[int, ...] = (1, 2)
    """Of the CPU, on which the runs train."""
    seed: int = 0
    """Of the moments."""
    output: Path | None = None
    """A JSON file for the figures."""


@dataclasses.dataclass
class Figures:
    """What happened."""

    kills: Counter[str] = dataclasses.field(default_factory=Counter)
    """By kind; "none": a process that ended before its time."""
    runs: int = 0
    loads: int = 0
    """Models that the reader got."""
    faults: list[str] = dataclasses.field(default_factory=list)
    """What should not have happened."""


class Reader(threading.Thread):
    """Loads the latest model of a run, over and over."""

    def __init__(self, run: Path, figures: Figures):
        super().__init__(daemon=True)
        self._run, self._figures, self._end = run, figures, threading.Event()

    def run(self) -> None:
        while not self._end.wait(0.02):
            try:
                pj.load(self._run, "latest")
                self._figures.loads += 1
            except Exception as error:  # whatever it is, it is to be told
                # At first there is nothing to load yet.
                if "must hold" not in str(error):
                    self._figures.faults.append(f"reader: {error!r}")

    def close(self) -> None:
        self._end.set()
        self.join()


def settings_of(model: str, run: Path) -> pj.Config:
    """Three epochs of five updates, with all that a state can hold."""
    training = TrainingConfig(
        epochs=3, batch_size=4, learning_rate=3e-3, ema_decay=0.9, microbatch_size=2
    )
    return pj.Config(workdir=str(run), model=MODELS[model], training=training)


def state_of(run: Path) -> dict[str, bytes]:
    """All that must be the same at the end, by name."""
    config = Run(run).config()
    model = pj.build_model(config.model, config.seed)
    images = mortal.images_for(config.model)[0].for_model(config.model)
    like = to_items(Trainer(model, config.training, images).init())
    items = Run(run).restore("latest", like, model)
    leaves = jax.tree_util.tree_flatten_with_path(items)[0]
    found = {jax.tree_util.keystr(k): np.asarray(x).tobytes() for k, x in leaves}
    files = [run / "metrics.csv", *sorted((run / "samples").iterdir())]
    return found | {path.name: path.read_bytes() for path in files}


def reference(model: str, devices: int, folder: Path) -> tuple[Path, float]:
    """A run that nobody killed, and the seconds that its process takes."""
    seconds = 0.0
    # The second one finds its programs in the cache, as all that follow do.
    for name in ("warm-up", "whole"):
        run, began = folder / f"{model}-{devices}-{name}", time.monotonic()
        process = mortal.start(settings_of(model, run), devices, folder / "cache")
        process.join()
        if process.exitcode != 0:
            raise SystemExit(f"{model} does not train on {devices} devices")
        seconds = time.monotonic() - began
    return run, seconds


def chain(
    run: Path, whole: Path, seconds: float, kinds: list[str], devices: int, seed: int
) -> Figures:
    """Train a run by processes that are killed, all but the last one."""
    rng, figures = random.Random(seed), Figures(runs=1)
    config = settings_of(run.name.split("-")[0], run)
    changes = int((whole / "changes").read_text())
    reader = Reader(run, figures)
    reader.start()
    for kind in kinds:
        death = {
            "time": mortal.NEVER,
            "change": Death(CHANGES, rng.randint(1, max(2, changes // PER_CHAIN))),
            "prune": Death(PRUNES, rng.randint(1, 60)),
        }[kind]
        process = mortal.start(config, devices, run.parent / "cache", death)
        process.join(rng.uniform(0, seconds) if kind == "time" else None)
        process.kill()
        process.join()
        figures.kills["none" if process.exitcode == 0 else kind] += 1
    last = mortal.start(config, devices, run.parent / "cache")
    last.join()
    reader.close()
    if last.exitcode != 0:
        figures.faults.append(f"{run.name}: the last process ended {last.exitcode}")
        return figures
    ours, theirs = state_of(run), state_of(whole)
    wrong = [k for k in ours.keys() | theirs.keys() if ours.get(k) != theirs.get(k)]
    figures.faults += [f"{run.name}: {name} is another" for name in wrong]
    return figures


def main(settings: Settings) -> Figures:
    """Kill, and print the figures."""
    total = Figures()
    kinds = itertools.islice(itertools.cycle(("time", "change", "prune")), 10**9)
    places = list(itertools.product(settings.models, settings.devices))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        wholes = {place: reference(*place, folder) for place in places}
        for number, place in enumerate(itertools.cycle(places)):
            left = settings.kills - sum(total.kills.values()) + total.kills["none"]
            if left <= 0 or total.faults:
                break
            model, devices = place
            run = folder / f"{model}-{devices}-{number}"
            asked = list(itertools.islice(kinds, min(left, PER_CHAIN)))
            seed = settings.seed * 1000 + number
            found = chain(run, *wholes[place], asked, devices, seed)
            total.kills += found.kills
            total.runs, total.loads = total.runs + 1, total.loads + found.loads
            total.faults += found.faults
    report(settings, total)
    return total


def report(settings: Settings, figures: Figures) -> None:
    kills = {kind: figures.kills[kind] for kind in ("time", "change", "prune")}
    models, devices = ", ".join(settings.models), map(str, settings.devices)
    print(
        f"{sum(kills.values())} kills ({kills['time']} at random times,"
        f" {kills['change']} at changes of files, {kills['prune']} in the middle of"
        f" pruning) of {figures.runs} runs of {models} on {' and '.join(devices)}"
        f" devices; {figures.loads} loads beside them; {len(figures.faults)} faults"
    )
    for fault in figures.faults:
        print(f"  {fault}")
    if settings.output is not None:
        found = {**dataclasses.asdict(figures), "kills": kills}
        settings.output.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", 1)
    if main(tyro.cli(Settings)).faults:
        raise SystemExit(1)

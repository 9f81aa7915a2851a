"""Checkpoints of a run: save, verify, restore.

A run is a folder. ``config.json`` says what model it trains, and
``checkpoints/<step>/`` holds, as Orbax writes them, the item ``params`` (all that
sampling and evaluation need) and the item ``training`` (what going on needs besides).
Orbax does not notice damaged files, so each checkpoint gets a ``manifest.json`` with
the SHA-256 of every file, written last: a folder without one is an interrupted save and
is passed over, and one whose files differ is refused.
"""

import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import jax
from flax import nnx
from orbax.checkpoint import v1

from pixelcnn_jax import config as configs
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.models import build_model
from pixelcnn_jax.params import from_params, to_params

ocp: Any = v1  # its annotations do not hold for its own policies and paths

Which = Literal["best", "latest"]
CONFIG = "config.json"
MANIFEST = "manifest.json"
PRETRAINED = Path(__file__).parent / "pretrained"
"""Runs that ship with the package."""


class Writer:
    """Saves checkpoints into a run's folder; a context manager.

    Keeps the latest two and the one with the fewest validation bits per dimension.
    """

    def __init__(self, run: Path):
        self._folder = run / "checkpoints"
        for step in _all_steps(self._folder):
            if not (self._folder / str(step) / MANIFEST).exists():
                shutil.rmtree(self._folder / str(step))
        training = ocp.training
        keep = training.preservation_policies
        self._checkpointer = training.Checkpointer(
            self._folder.resolve(),
            save_decision_policy=training.save_decision_policies.FixedIntervalPolicy(1),
            preservation_policy=keep.AnyPreservationPolicy(
                [
                    keep.LatestN(2),
                    keep.BestN(
                        get_metric_fn=lambda metrics: metrics["bits_per_dim"],
                        reverse=True,
                        n=1,
                        keep_checkpoints_without_metrics=False,
                    ),
                ]
            ),
            cleanup_tmp_directories=True,
        )

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *exception: object) -> None:
        self._checkpointer.close()

    def save(
        self, step: int, items: Mapping[str, Any], bits_per_dim: float | None
    ) -> None:
        """Save and wait until all is on disk.

        Args:
            step: updates made so far; names the checkpoint.
            items: pytrees of arrays by name; "params" among them.
            bits_per_dim: on the validation images, if it was measured at this step.
        """
        metrics = None if bits_per_dim is None else {"bits_per_dim": bits_per_dim}
        self._checkpointer.save_checkpointables(step, dict(items), metrics=metrics)
        folder = self._folder / str(step)
        manifest = {"bits_per_dim": bits_per_dim, "sha256": _checksums(folder)}
        write_text(folder / MANIFEST, json.dumps(manifest, indent=1))


def steps(run: Path) -> list[int]:
    """The steps of the run's whole checkpoints, ascending."""
    folder = run / "checkpoints"
    return [s for s in _all_steps(folder) if (folder / str(s) / MANIFEST).exists()]


def choose(run: Path, which: Which = "best") -> int:
    """The step of the best or latest checkpoint; the latest if none was validated.

    Raises:
        UserError: the run has none.
    """
    found = steps(run)
    require(
        bool(found),
        f"the run's folder must hold a checkpoint, and {run} has none;"
        " train it first: python train.py --help",
    )
    scores = {step: _score(run, step) for step in found}
    if which == "latest" or all(score == math.inf for score in scores.values()):
        return found[-1]
    return min(found, key=lambda step: (scores[step], step))


def restore(run: Path, step: int, items: Mapping[str, Any]) -> dict[str, Any]:
    """Some items of a checkpoint, once its files have passed their checksums.

    Args:
        items: by name, a pytree like the one saved; shapes and types are what counts.

    Raises:
        UserError: a file is missing or differs from what was saved. The message names
            the checkpoint before it that is whole.
    """
    folder = run / "checkpoints" / str(step)
    problem = damage(folder)
    if problem:
        whole = [
            s for s in steps(run) if s != step and not damage(folder.parent / str(s))
        ]
        earlier = [s for s in whole if s < step] or whole
        cure = (
            f"the checkpoint of step {earlier[-1]} is good: delete {folder} to use it"
            if earlier
            else "no other checkpoint is good: start the run anew"
        )
        raise UserError(f"checkpoint {folder} is damaged: {problem}; {cure}")
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    abstract = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), dict(items)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ocp.load_checkpointables(folder.resolve(), abstract)


def damage(folder: Path) -> str | None:
    """What is wrong with the files of a checkpoint; None if nothing is."""
    try:
        expected = json.loads((folder / MANIFEST).read_text())["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"its {MANIFEST} is missing or unreadable"
    try:
        found = _checksums(folder)
    except OSError as error:
        return f"file {error.filename} can't be read ({error.strerror})"
    for name in expected:
        if name not in found:
            return f"file {name} is missing"
        if found[name] != expected[name]:
            return f"file {name} differs from what was saved"
    extra = sorted(set(found) - set(expected))
    return f"file {extra[0]} was added" if extra else None


def read_config(run: Path) -> configs.Config:
    """The settings of a run.

    Raises:
        UserError: the folder is none of a run, or its config is unreadable.
    """
    require(
        (run / CONFIG).is_file(),
        f"the run's folder must hold {CONFIG}, and {run} does not; pass the --workdir"
        " of a training run",
    )
    try:
        text = (run / CONFIG).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{run / CONFIG} must be a readable text file, got {error}; restore it"
        ) from error
    return configs.from_json(text)


def load(run: str | Path, checkpoint: Which = "best") -> Any:
    """A trained model.

    Args:
        run: a run's folder, or the name of a model that ships with the package:
            "digits".
        checkpoint: "best" on the validation images, or "latest".

    Raises:
        UserError: there is no such run, it has no checkpoint, or the checkpoint's files
            are damaged.
    """
    folder = run_folder(run)
    config = read_config(folder)
    step = choose(folder, checkpoint)
    shapes = nnx.eval_shape(lambda: build_model(config.model))
    graph, params = to_params(shapes)
    return from_params(graph, restore(folder, step, {"params": params})["params"])


def untrained(config: configs.Config) -> Any:
    """The model with which a run of this config begins."""
    return build_model(config.model, config.seed)


def run_folder(run: str | Path) -> Path:
    """The folder of a run, given as a path or as the name of a shipped model."""
    try:
        folder = Path(run).expanduser()
    except RuntimeError as error:
        raise UserError(
            f"a run must be an existing folder, got {run} ({error})"
        ) from error
    shipped = PRETRAINED / str(run)
    if not folder.exists() and shipped.is_dir() and shipped.parent == PRETRAINED:
        return shipped
    return folder


def write_text(path: Path, text: str) -> None:
    """Write a file whole or not at all, even if the machine stops."""
    scratch = path.with_name(f".{path.name}.tmp")
    with open(scratch, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(scratch, path)


def _all_steps(folder: Path) -> list[int]:
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal())


def _score(run: Path, step: int) -> float:
    try:
        manifest = json.loads((run / "checkpoints" / str(step) / MANIFEST).read_text())
        score = manifest["bits_per_dim"]
    except (OSError, ValueError, KeyError, TypeError):
        return math.inf
    return math.inf if score is None else float(score)


def _checksums(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(
            path.read_bytes()
        ).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST and not path.name.startswith(".")
    }

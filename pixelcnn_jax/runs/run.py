"""The folder of a run."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import filelock
from flax import nnx

from pixelcnn_jax import hosts, locks
from pixelcnn_jax.config import (
    Config,
    flatten,
    read_json,
    settings_digest,
    to_json,
)
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import read_text, remove_scratch, write_text
from pixelcnn_jax.models import build_model
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.params import from_params, to_params, unbound
from pixelcnn_jax.runs import tables
from pixelcnn_jax.runs.checkpoints import Checkpoints, Which
from pixelcnn_jax.runs.storage import Items
from pixelcnn_jax.runs.tables import Row

CONFIG = "config.json"
SAMPLES = "samples"
FILES = (CONFIG, *tables.NAMES, "curves.png")
"""Of the folder itself."""

PRETRAINED = Path(__file__).parents[1] / "pretrained"
"""Runs that ship with the package."""

MAY_CHANGE = (
    "training.epochs",
    "data.data_dir",
    "data.path",
    "data.classes",
    "data.fingerprint",
    "workdir",
)
"""Settings in which a resumed run may differ from what it was.

The names of classes and the images' fingerprint only from none, of runs before 0.2.0.
"""

READS = 3
"""How often a reader tries anew if a training drops the checkpoint under its hands."""


class Run:
    """A run's folder: what stands in it, and who may write there.

    To make one creates nothing; who writes holds the folder (`hold`).

    Raises:
        UserError: it is no path, or one that no folder can have.
    """

    def __init__(self, folder: str | Path):
        rule = "workdir must be a folder"
        # An empty text would be the current folder.
        named = isinstance(folder, str | os.PathLike) and folder != ""
        require(named, f"{rule}, got {folder!r:.80}")
        try:
            self.path = Path(folder).expanduser()
            # Settings and logs are text: other bytes would only fail there.
            str(self.path).encode()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                self.path.stat()
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"{rule}, got {folder} ({reason}); pass another workdir"
            ) from error
        self.checkpoints = Checkpoints(self.path / "checkpoints")

    @classmethod
    def named(cls, run: str | Path) -> "Run":
        """The run of a folder, or one that ships with the package, such as "digits"."""
        found, shipped = cls(run), PRETRAINED / str(run)
        # Only a plain name can mean a shipped model: paths with several parts can't.
        if not found.path.exists() and shipped.parent == PRETRAINED:
            return cls(shipped) if shipped.is_dir() else found
        return found

    # --- settings

    def config(self) -> Config:
        """The settings of the run.

        Raises:
            UserError: the folder is not a run, or its config is unreadable or damaged.
        """
        return self._read_config()[0]

    def _read_config(self) -> tuple[Config, bool]:
        """The settings, and whether a check sum guards them."""
        path = self.path / CONFIG
        require(
            path.is_file(),
            f"the run's folder must hold {CONFIG}, and {self.path} does not; pass the"
            " workdir of a training run",
        )
        try:
            text = read_text(path)
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"{path} must be a readable text file, got {error}; restore it"
            ) from error
        return read_json(text)

    def write_config(self, config: Config) -> None:
        """Write down the settings; to be called once nothing can be wrong with them."""
        write_text(self.path / CONFIG, to_json(config))

    # --- what was learnt

    def load(self, checkpoint: Which = "best") -> PixelModel:
        """The model of a checkpoint; see `pixelcnn_jax.load`."""
        return self.load_with_step(checkpoint)[0]

    def load_with_step(self, checkpoint: Which = "best") -> tuple[PixelModel, int]:
        """The model of a checkpoint, and the updates behind its weights.

        Both of the same one, though a training beside may save another meanwhile.
        """
        config = self.config()
        # Only shapes: no weights are drawn that the checkpoint would replace.
        shapes = nnx.eval_shape(lambda: build_model(config.model))
        graph, params = to_params(shapes)
        step, items = self._restore(checkpoint, {"params": params}, shapes)
        return from_params(graph, unbound(items["params"])), step

    def restore(
        self, which: Which, items: Mapping[str, object], model: PixelModel
    ) -> Items:
        """Some items of a checkpoint; see `Checkpoints.restore`.

        A training beside may drop the checkpoint meanwhile; then the next is taken.
        """
        return self._restore(which, items, model)[1]

    def _restore(
        self, which: Which, items: Mapping[str, object], model: PixelModel
    ) -> tuple[int, Items]:
        """The step of the checkpoint as well."""
        config, guarded = self._read_config()
        settings = settings_digest(config, MAY_CHANGE) if guarded else None
        for _ in range(READS - 1):
            step = self.checkpoints.choose(which)
            try:
                return step, self.checkpoints.restore(step, items, model, settings)
            except (UserError, OSError, ValueError):
                # Still there, so it was not dropped meanwhile: the error is its own.
                if step in self.checkpoints.steps():
                    raise
        step = self.checkpoints.choose(which)
        return step, self.checkpoints.restore(step, items, model, settings)

    def rows(self) -> list[Row]:
        """The figures of the epochs so far."""
        return tables.read_metrics(self.path)

    # --- writing

    def save(
        self,
        step: int,
        items: Mapping[str, object],
        bits_per_dim: float | None,
        config: Config,
        position: str | None = None,
    ) -> None:
        """Save a checkpoint made with these settings; see `Checkpoints.save`."""
        settings = settings_digest(config, MAY_CHANGE)
        self.checkpoints.save(step, items, bits_per_dim, settings, position)

    @contextlib.contextmanager
    def hold(self, config: Config) -> Iterator[None]:
        """The folder, made if it is missing, held by this process only.

        Raises:
            UserError: the folder is a file or can't be written, another process holds
                it, or it holds checkpoints of another configuration.
        """
        held = hosts.by_first(lambda: self._lock(config))
        with held or contextlib.nullcontext():
            hosts.require_everywhere(
                (self.path / SAMPLES).is_dir(),
                f"workdir must be a folder that all processes share, and {self.path} is"
                " not; pass one on a file system of all hosts",
            )
            # Another process may have trained there meanwhile.
            self._require_places()
            self._require_same(config)
            # Only once the folder is held: what looks like an interrupted save may
            # until then be another process's save under way.
            hosts.by_first(self._remove_interrupted)
            yield

    def _require_places(self) -> None:
        """Raise if something stands in the way, which would cost work later."""
        folders = [self.path / name for name in ("checkpoints", "tensorboard")]
        files = [self.path / name for name in FILES]
        files += [self.path / tables.aside(name) for name in tables.NAMES]
        wrong = [
            *(path for path in folders if _exists(path) and not path.is_dir()),
            *(path for path in files if _exists(path) and not path.is_file()),
            *self.checkpoints.in_the_way(),
        ]
        if wrong:
            raise UserError(
                f"the run's folder must have room for its own, and {wrong[0]} stands in"
                " its way; move it elsewhere or pass another workdir"
            )

    def _remove_interrupted(self) -> None:
        """Delete what writers that were killed have left; the folder must be held."""
        self.checkpoints.remove_interrupted()
        remove_scratch(self.path, FILES)
        remove_scratch(self.path / SAMPLES, ["epoch_*"])

    def _lock(self, config: Config) -> contextlib.AbstractContextManager[object]:
        try:
            # Before anything is made in a folder that may be somebody else's.
            self._require_places()
            self._require_same(config)
            (self.path / SAMPLES).mkdir(parents=True, exist_ok=True)
            return locks.hold(self.path / "lock")
        except filelock.Timeout as error:
            raise UserError(
                "only one process may train in a folder, and another one holds"
                f" {self.path}; wait for it, end it, or pass another workdir"
            ) from error
        except (OSError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"workdir must be a folder that can be written, got {self.path}"
                f" ({reason}); pass another workdir"
            ) from error

    def as_begun(self, config: Config) -> Config:
        """The config, with what it leaves open as the run found it when it began."""
        training = config.training
        if training.microbatch_size is not None:
            return config
        former = self.config().training.microbatch_size
        training = dataclasses.replace(training, microbatch_size=former)
        return dataclasses.replace(config, training=training)

    def _require_same(self, config: Config) -> None:
        if not self.checkpoints.steps():
            return
        former = self.config()
        old, new = flatten(former), flatten(self.as_begun(config))
        differences = [
            f"{name} {old.get(name)!r} (now {new.get(name)!r})"
            # Of both, since models of two kinds have different fields.
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name) and name not in MAY_CHANGE
        ]
        if former.training.epochs > config.training.epochs:
            differences.append(
                f"training.epochs {former.training.epochs}, which may only grow"
                f" (now {config.training.epochs})"
            )
        if former.data.classes not in ((), config.data.classes):
            differences.append(
                f"data.classes {', '.join(former.data.classes)} (now"
                f" {', '.join(config.data.classes) or 'none'})"
            )
        if former.data.fingerprint not in (None, config.data.fingerprint):
            differences.append(
                f"other images: data.fingerprint {former.data.fingerprint} (now"
                f" {config.data.fingerprint or 'none'})"
            )
        require(
            not differences,
            "a run goes on only with its own settings, and"
            f" {self.path} has {', '.join(differences)};"
            " pass those or another workdir",
        )


def _exists(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def shipped_models() -> list[str]:
    """The names of the models that ship with the package."""
    return sorted(path.name for path in PRETRAINED.iterdir() if path.is_dir())


def load(run: str | Path, checkpoint: Which = "best") -> PixelModel:
    """A trained model.

    Args:
        run: a run's folder, or the name of a model that ships with the package, such
            as "digits".
        checkpoint: "best" on the validation images (the latest if there were none), or
            "latest".

    Raises:
        UserError: there is no such run, it has no such checkpoint, or the checkpoint's
            files are damaged.
    """
    return Run.named(run).load(checkpoint)

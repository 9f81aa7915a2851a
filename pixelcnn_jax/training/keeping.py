"""What a training keeps: everything, in a run's folder; or nothing."""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Protocol

from pixelcnn_jax import hosts
from pixelcnn_jax.config import Config
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.runs import Items, Row, Run, tables
from pixelcnn_jax.training.reports import Report, Result, folder_reports
from pixelcnn_jax.training.stopping import StopRequest
from pixelcnn_jax.training.update import TrainState

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 300.0
"""Longest time between checkpoints, in epochs that take longer."""


Position = Callable[[], str | None]
"""`Trainer.position`: where a source of batches stands, or how many images there
are."""


class Keeper(Protocol):
    """Where the states of a training go; a context manager around its epochs."""

    keeps: bool
    """Whether anything can go on from what it has."""

    def __enter__(self) -> object: ...

    def __exit__(self, *exception: object) -> None: ...

    def settled(self, config: Config, settle: Callable[[Config], Config]) -> Config:
        """The config with what it leaves open: as ``settle`` finds it, or as it was
        found when the training began."""
        ...

    def restore(self, start: TrainState, model: PixelModel) -> TrainState:
        """The state that was kept last; ``start`` if none was."""
        ...

    def rows(self) -> list[Row]:
        """The figures of the epochs that were kept."""
        ...

    def position(self, state: TrainState) -> str | None:
        """The `Position` that was kept with the state; None if none was."""
        ...

    def begin(self, state: TrainState, position: Position) -> list[Row]:
        """The figures of the epochs before ``state``, from which training goes on.

        Args:
            state: of `restore`, or the first.
            position: tells what is to be kept with states.
        """
        ...

    def on_the_way(self, state: TrainState) -> None:
        """After some updates of an epoch that has more.

        Raises:
            Stopped: the user asked for it, and the state is kept.
        """
        ...

    def after_epoch(self, state: TrainState, result: Result) -> None:
        """After an epoch. What it returned from is safe."""
        ...

    def obey(self, kept: str) -> None:
        """Raise `Stopped` if the user asked for it."""
        ...


class InMemory:
    """Keeps nothing: a training that ends with the process."""

    keeps = False

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass

    def settled(self, config: Config, settle: Callable[[Config], Config]) -> Config:
        return settle(config)

    def restore(self, start: TrainState, model: PixelModel) -> TrainState:
        return start

    def rows(self) -> list[Row]:
        return []

    def position(self, state: TrainState) -> str | None:
        return None

    def begin(self, state: TrainState, position: Position) -> list[Row]:
        return []

    def on_the_way(self, state: TrainState) -> None:
        pass

    def after_epoch(self, state: TrainState, result: Result) -> None:
        pass

    def obey(self, kept: str) -> None:
        pass


class InFolder:
    """Keeps checkpoints, tables and pictures in the folder of a run, which is held."""

    keeps = True

    def __init__(self, run: Run, config: Config):
        self._run, self._config = run, config
        self._stop, self._stack = StopRequest(), contextlib.ExitStack()
        self._reports: list[Report] = []
        self._saved = time.monotonic()
        self._position: Position = lambda: None

    def __enter__(self) -> None:
        # Signals are noted only around epochs: before them there is nothing to save.
        self._stack.enter_context(self._stop)

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def settled(self, config: Config, settle: Callable[[Config], Config]) -> Config:
        if self._run.checkpoints.steps():
            self._config = self._run.as_begun(config)
        else:
            self._config = settle(config)
        return self._config

    def restore(self, start: TrainState, model: PixelModel) -> TrainState:
        found = self._run.checkpoints.steps()
        latest = found[-1] if found else 0
        hosts.require_everywhere(
            latest == hosts.first_says(latest),
            f"workdir must be a folder that all processes share, and {self._run.path}"
            " has other checkpoints in one than in another; pass another workdir",
        )
        if not found:
            return start
        return from_items(self._run.restore("latest", to_items(start), model))

    def rows(self) -> list[Row]:
        return self._run.rows()

    def position(self, state: TrainState) -> str | None:
        return self._run.checkpoints.position(int(state.step))

    def begin(self, state: TrainState, position: Position) -> list[Row]:
        self._position = position
        rows = hosts.by_first(lambda: self._begin(int(state.step)))
        self._saved = time.monotonic()
        return self._run.rows() if rows is None else rows

    def _begin(self, step: int) -> list[Row]:
        self._run.write_config(self._config)
        # Rows of epochs after this state are dropped: those epochs will be run again.
        rows = tables.keep(self._run.path, step)
        self._reports = folder_reports(self._run.path, rows, self._stack)
        return rows

    def on_the_way(self, state: TrainState) -> None:
        due = time.monotonic() - self._saved > CHECKPOINT_SECONDS
        # All save if one has reason to: its clock says so, or a signal has reached it.
        self._stop.hear(hosts.highest(self._stop.number))
        if self._stop.asked or hosts.highest(due):
            # Not validated, so it is never the best while there is one that was.
            self._save(state, None)
            self._stop.obey(f"saved at step {int(state.step)}")

    def after_epoch(self, state: TrainState, result: Result) -> None:
        # Tables and pictures come first: what they say of later than the checkpoint is
        # dropped when a run goes on, but what they lack would be lacking for ever.
        for report in self._reports:
            try:
                report(result)
            # What stands in a picture's way, or fills the disk, costs no epoch.
            except OSError as error:
                log.warning(
                    "epoch %d is not reported whole: %s", result.row.epoch, error
                )
        self._save(state, result.row.validation_bits_per_dim)

    def obey(self, kept: str) -> None:
        self._stop.hear(hosts.highest(self._stop.number))
        self._stop.obey(kept)

    def _save(self, state: TrainState, bits_per_dim: float | None) -> None:
        step, items = int(state.step), to_items(state)
        position = self._position()
        self._run.save(step, items, bits_per_dim, self._config, position)
        self._saved = time.monotonic()


def to_items(state: TrainState) -> dict[str, object]:
    """A state as the items of a checkpoint: what to sample with, and the rest.

    With EMA weights, which are then what to sample with, the parameters themselves are
    among the rest, as "weights".
    """
    training = state._asdict()
    # If there are any, they are the item "params" and need no second copy.
    del training["ema_params"]
    params = training.pop("params")
    if state.ema_params:
        training["weights"] = params
    return {"params": state.eval_params, "training": training}


def from_items(items: Items) -> TrainState:
    """The state that `to_items` took apart."""
    training = dict(items["training"])
    if "weights" not in training:
        return TrainState(params=items["params"], ema_params={}, **training)
    weights = training.pop("weights")
    return TrainState(params=weights, ema_params=items["params"], **training)

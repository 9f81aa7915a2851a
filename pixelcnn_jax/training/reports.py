"""What is shown and written of each epoch: reports, each with one job."""

import contextlib
import dataclasses
import functools
import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jax
import numpy as np
from tqdm import tqdm

from pixelcnn_jax import hosts, keys, pictures
from pixelcnn_jax.data import classes_in_turn
from pixelcnn_jax.files import write_bytes
from pixelcnn_jax.layers import Conditions
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import Row, tables
from pixelcnn_jax.sampling import sample

if TYPE_CHECKING:
    from tensorboardX.event_file_writer import EventsWriter

log = logging.getLogger(__name__)

SAMPLES = 64
"""Images drawn after each epoch, always from the same noise."""

PROGRESS_SECONDS = 60.0
"""Time between lines about an epoch that goes on, if no terminal shows its bar."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What is known after an epoch."""

    row: Row
    seconds: float
    """That its updates took."""
    images_per_second: float
    model: PixelModel
    """The network at its end, with the EMA weights if there are any."""
    seed: int
    given: Conditions
    """Of some images that it was judged by: what samples are drawn for, unless classes
    are all there is."""

    @functools.cached_property
    def samples(self) -> np.ndarray:
        """A grid of samples, uint8 ``[height, width, 3]``, drawn when first asked."""
        config = self.model.config
        given = self._shown()
        drawn = sample(
            self.model,
            preview_key(self.seed),
            SAMPLES,
            labels=given.labels,
            condition=given.condition,
            condition_map=given.condition_map,
        )
        labels = None if given.labels is None else np.asarray(given.labels)
        return pictures.grid(np.asarray(drawn), config.levels, labels)

    def _shown(self) -> Conditions:
        """The conditions of the samples."""
        if self.given.condition is None and self.given.condition_map is None:
            classes = range(self.model.config.num_classes)
            return Conditions(classes_in_turn(classes, SAMPLES))
        # Labels of the same images: they belong together.
        return jax.tree.map(lambda x: np.resize(x, (SAMPLES, *x.shape[1:])), self.given)


def preview_key(seed: int):
    """The key of the samples that a run draws after each epoch."""
    return keys.for_purpose(keys.root(seed), keys.Purpose.PREVIEW)


class Report(Protocol):
    """A listener, told of each epoch before its checkpoint is saved."""

    def __call__(self, result: Result) -> None: ...


def folder_reports(
    folder: Path, rows: Sequence[Row], stack: contextlib.ExitStack
) -> list[Report]:
    """The reports of a run's folder, whose rows so far are ``rows``."""
    board = stack.enter_context(Board(folder / "tensorboard"))
    return [
        functools.partial(report_tables, folder),
        functools.partial(report_samples, folder / "samples"),
        Curves(folder / "curves.png", rows),
        board,
    ]


def report_tables(folder: Path, result: Result) -> None:
    """A row in ``metrics.csv`` and one in ``timings.csv``."""
    tables.add_metrics(folder, result.row)
    tables.add_timings(
        folder, result.row.epoch, result.seconds, result.images_per_second
    )


def report_samples(folder: Path, result: Result) -> None:
    """The samples of the epoch, as a picture of its own."""
    path = folder / f"epoch_{result.row.epoch:04d}.png"
    write_bytes(path, pictures.to_png(result.samples))


class Curves:
    """A plot of bits per dimension over all epochs so far."""

    def __init__(self, path: Path, rows: Sequence[Row]):
        self._path, self._rows = path, list(rows)

    def __call__(self, result: Result) -> None:
        self._rows.append(result.row)
        validation = [row.validation_bits_per_dim for row in self._rows]
        pictures.save_curves(
            self._path,
            [row.epoch for row in self._rows],
            {
                "training": [row.train_bits_per_dim for row in self._rows],
                "validation": [math.nan if x is None else x for x in validation],
            },
        )


class Board:
    """Figures and samples for TensorBoard, in a file of their own per process.

    A context manager, which makes the file. Each epoch is on disk once it is reported;
    after the first failure nothing is written any more, since TensorBoard reads no
    further than to what is damaged.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._writer: EventsWriter | None = None

    def __enter__(self) -> "Board":
        # Slow to import, and only for this. Not its SummaryWriter: a thread of that
        # writes, whose death nobody hears of, and whose queue then fills for ever.
        from tensorboardX.event_file_writer import EventsWriter

        self._folder.mkdir(parents=True, exist_ok=True)
        self._writer = EventsWriter(str(self._folder / "events"))
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            # All that counts was written out before.
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def __call__(self, result: Result) -> None:
        if self._writer is None:
            return
        try:
            self._write(self._writer, result)
        except OSError as error:
            log.warning(
                "from epoch %d on nothing is written for TensorBoard: %s",
                result.row.epoch,
                error,
            )
            self.__exit__()

    def _write(self, writer: "EventsWriter", result: Result) -> None:
        from tensorboardX import summary
        from tensorboardX.proto import event_pb2

        proto: Any = event_pb2  # whose classes are made as it is imported
        figures = [
            summary.scalar(name, value)
            for name, value in result.row._asdict().items()
            if name.endswith("bits_per_dim") and value is not None
        ]
        picture = summary.image("samples", result.samples, dataformats="HWC")
        for part in (*figures, picture):
            step, now = result.row.epoch, time.time()
            writer.write_event(proto.Event(summary=part, step=step, wall_time=now))
        writer.flush()


class Console:
    """What a training says on standard output: a line per epoch, and a bar meanwhile.

    A closed or full output is no reason to lose work: what can't be said is left out.
    """

    def __init__(self, epochs: int, num_images: int):
        self._epochs, self._num_images = epochs, num_images
        self._bar: tqdm | None = None
        self._said = time.monotonic()

    def progress(self, epoch: int, seen: int, bits_per_dim: float) -> None:
        """After some updates: ``seen`` images of an epoch (from 1) have been met."""
        if self._bar is None:
            self._said = time.monotonic()
            self._bar = tqdm(
                total=self._num_images,
                desc=f"epoch {epoch}/{self._epochs}",
                unit=" images",
                disable=None if hosts.is_first() else True,
                leave=False,
            )
        self._bar.set_postfix_str(f"{bits_per_dim:.4f} bits/dim", refresh=False)
        self._bar.update(seen - self._bar.n)
        # Without a terminal tqdm shows nothing (disable=None): lines stand in.
        if self._bar.disable and time.monotonic() - self._said > PROGRESS_SECONDS:
            self._said = time.monotonic()
            self.say(
                f"epoch {epoch:3d}  {seen} of {self._num_images} images "
                f" {bits_per_dim:.4f} bits/dim"
            )

    def epoch(self, result: Result) -> None:
        """After an epoch, once it is saved."""
        self.close()
        row = result.row
        line = f"epoch {row.epoch:3d}  train {row.train_bits_per_dim:.4f}"
        if row.validation_bits_per_dim is not None:
            line += f"  validation {row.validation_bits_per_dim:.4f}"
        self.say(f"{line} bits/dim  {result.images_per_second:.0f} images/s")

    def say(self, line: str) -> None:
        """A line, at once, even if the output is a file."""
        if hosts.is_first():
            say(line)

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

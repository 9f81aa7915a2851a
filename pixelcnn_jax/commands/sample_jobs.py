"""The jobs of the sample command: images into a file or a folder, completions."""

import contextlib
import dataclasses
import functools
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np

from pixelcnn_jax import completion, hosts, keys
from pixelcnn_jax.commands.background import call_in_background, in_background
from pixelcnn_jax.commands.choices import parse_classes, parse_labels
from pixelcnn_jax.commands.given_conditions import (
    digest_of,
    in_turn,
    read_given,
)
from pixelcnn_jax.commands.image_files import write_images
from pixelcnn_jax.commands.known_pixels import (
    Task,
    drawn_strips,
    read_task,
    strip_rows,
    strips,
)
from pixelcnn_jax.commands.progress import Progress
from pixelcnn_jax.commands.sample_files import make_store
from pixelcnn_jax.commands.sample_folder import Gap, Store, hold_folder
from pixelcnn_jax.commands.sample_settings import Settings
from pixelcnn_jax.commands.watch import Watched, check_picture, write_watched
from pixelcnn_jax.compression import fingerprints
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.exported import load_sampler
from pixelcnn_jax.layers import OtherConditions
from pixelcnn_jax.memory import require_memory
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say
from pixelcnn_jax.runs import Run
from pixelcnn_jax.streaming import even_batch, stream
from pixelcnn_jax.training.stopping import StopRequest
from pixelcnn_jax.visits import visit_steps

COMPLETIONS = 4
"""Of each image, if not said otherwise."""


@dataclasses.dataclass(frozen=True)
class Job:
    """What is drawn, by which model, and where to; each method returns how many."""

    settings: Settings
    model: PixelModel
    size: tuple[int, int] | None
    output: Path
    stop: StopRequest

    def draw(self) -> int:
        """Draw images into a file."""
        count, c = self.settings.count, self.model.config
        height, width = self.size or (c.height, c.width)
        # Integers of 32 bits, once in batches and once together.
        size = 2 * 4 * count * height * width * c.channels
        require_memory(f"{count} images in one file", size, "pass a folder as output")
        labels, parts = self._labels(count), []
        check_picture(self.settings, (count, height, width, c.channels), labels)
        with self._batches((0, count), labels) as batches, Progress(count) as progress:
            for images in batches:
                parts.append(images)
                progress.add(len(images))
        self.stop.obey("")
        levels = self.model.config.levels
        images = np.concatenate(parts)
        _write(self.output, images, levels, labels)
        if self.settings.watched:
            batch = even_batch(count, self.settings.batch_size)
            steps = np.broadcast_to(self._steps(batch), images.shape[:3])
            given = {"labels": labels, **in_turn(self._given, count)}
            self._watch(Watched(images, steps, given, labels))
        return count

    def _steps(
        self, count: int, batch_size: int | None = None, known: np.ndarray | None = None
    ) -> np.ndarray:
        """When each pixel was drawn, of ``count`` images in batches of this size."""
        return visit_steps(
            self.model,
            count,
            known=known,
            method=self.settings.method,
            batch_size=batch_size,
            size=self.size,
        )

    def _watch(self, watched: Watched) -> None:
        if not hosts.is_first():
            return

        write = functools.partial(write_watched, self.settings, self.model, watched)
        # As drawing does: many images take minutes, in which a stop may be asked for.
        call_in_background(write, self.stop)

    def fill(self) -> int:
        """Draw the images that a folder lacks."""
        settings, c = self.settings, self.model.config
        height, width = self.size or (c.height, c.width)
        shape, count = (height, width, c.channels), settings.count
        labels, files = self._labels(count), settings.format or "npz"
        store = make_store(self.output, files, shape, c.levels, labels)
        # What is wrong is said before the folder is begun: these settings are kept.
        self._stream((0, count), labels)
        with hold_folder(self.output, self._identity(shape, files)):
            gaps = hosts.found_by_first(lambda: store.gaps(count))
            lacking = sum(last - first for first, last in gaps)
            with Progress(count, count - lacking) as progress:
                for gap in gaps:
                    self._fill_gap(gap, labels, store, progress)
                    kept = f"{progress.done:,} of {count:,} images are in {self.output}"
                    self.stop.obey(kept)
        return lacking

    def _fill_gap(
        self, gap: Gap, labels: np.ndarray | None, store: Store, progress: Progress
    ) -> None:
        first = gap[0]
        with self._batches(gap, labels) as batches:
            for images in batches:
                if hosts.is_first():
                    store.add(first, images)
                first += len(images)
                progress.add(len(images))
        if hosts.is_first():
            store.flush()

    def complete(self, path: str) -> int:
        """Complete the images of a file or a folder."""
        settings = self.settings
        known = settings.known_rows, settings.known
        data = Run.named(settings.workdir).config().data
        task = read_task(path, *known, self.model.config, data)
        task = task.first(settings.count)
        labels = task.labels
        if labels is None or settings.labels is not None:
            labels = self._labels(len(task.images))
            if labels is not None and settings.labels is None:
                say(
                    "the images have no labels: they are completed as of classes in"
                    " turn, from 0; pass their own as --labels"
                )
        given = in_turn(self._given, len(task.images))
        number = settings.num_completions
        number = COMPLETIONS if number is None else number
        rows = strip_rows(len(task.images), number)
        check_picture(settings, (len(rows), *task.images.shape[1:]), rows)

        def draw() -> np.ndarray:
            drawn = completion.complete(
                self.model,
                keys.root(settings.seed),
                task.images,
                task.known,
                num_completions=number,
                temperature=settings.temperature,
                guidance=settings.guidance,
                labels=labels,
                method=settings.method,
                batch_size=settings.batch_size,
                **given,
            )
            return np.asarray(drawn)

        completions = call_in_background(draw, self.stop)
        levels = self.model.config.levels
        if self.output.suffix == ".png":
            images, rows = strips(task, completions, levels)
            _write(self.output, images, levels, rows)
        else:
            _write(self.output, completions, levels, labels)
        if settings.watched:
            self._watch_completions(task, completions, labels, given)
        return completions.shape[0] * completions.shape[1]

    def _watch_completions(
        self,
        task: Task,
        completions: np.ndarray,
        labels: np.ndarray | None,
        others: OtherConditions,
    ) -> None:
        images, rows = strips(task, completions, self.model.config.levels)
        count, number = completions.shape[:2]
        steps = self._steps(count * number, self.settings.batch_size, task.known)
        steps = drawn_strips(steps, number)
        given = {"labels": labels, **others}
        repeated = {
            name: None if x is None else np.asarray(x)[rows]
            for name, x in given.items()
        }
        self._watch(Watched(images, steps, repeated, rows))

    @functools.cached_property
    def _given(self) -> OtherConditions:
        c = self.model.config
        path = self.settings.conditions
        sizes = c.condition_features, c.condition_channels
        return read_given(path, *sizes, optional=c.condition_dropout > 0)

    def _labels(self, count: int) -> np.ndarray | None:
        if self.model.config.num_classes:
            require_memory(f"the labels of {count} images", 8 * count, "draw fewer")
        return parse_labels(self.settings.labels, count, self.model.config.num_classes)

    def _batches(
        self, gap: Gap, labels: np.ndarray | None
    ) -> contextlib.closing[Generator[np.ndarray, None, None]]:
        """The images of a part of the job, until a stop is asked for."""
        batches = self._stream(gap, labels)
        return contextlib.closing(in_background(batches, self.stop))

    def _stream(self, gap: Gap, labels: np.ndarray | None) -> Iterator[np.ndarray]:
        first, last = gap
        return stream(
            self.model,
            keys.root(self.settings.seed),
            last,
            start=first,
            batch_size=self.settings.batch_size,
            temperature=self.settings.temperature,
            guidance=self.settings.guidance,
            labels=None if labels is None else labels[:last],
            method=self.settings.method,
            size=self.size,
            **in_turn(self._given, last),
        )

    def _identity(self, shape: tuple[int, ...], files: str) -> dict[str, object]:
        """All that images of a folder depend on."""
        c = self.model.config
        given = digest_of(self._given)
        others: dict[str, object] = {} if given is None else {"conditions": given}
        if self.settings.guidance != 1:
            others["guidance"] = self.settings.guidance
        return {
            **others,
            "version": 1,
            "weights": fingerprints(self.model)[1].hex(),
            "seed": self.settings.seed,
            "temperature": self.settings.temperature,
            "classes": parse_classes(self.settings.labels, c.num_classes),
            "shape": list(shape),
            "levels": c.levels,
            "format": files,
        }


def _write(
    output: Path, images: np.ndarray, levels: int, labels: np.ndarray | None
) -> None:
    """`write_images`, by the first process."""
    if hosts.is_first():
        write_images(output, images, levels, labels)


def draw_exported(settings: Settings, path: str, output: Path) -> int:
    """Draw by an exported sampler, and return how many images it draws."""
    kept = ("sampler", "seed", "temperature", "labels", "conditions", "output")
    given = [
        field.name
        for field in dataclasses.fields(Settings)
        if field.name not in kept and getattr(settings, field.name) != field.default
    ]
    require(
        not given,
        f"sampler fixes what is drawn but for {', '.join(kept[1:5])}, got"
        f" {', '.join(given)}; leave that out, or export another",
    )
    try:
        sampler = load_sampler(path)
    except UserError as error:
        raise UserError(
            f"sampler must be a file that export has written, got {path} ({error})"
        ) from error
    header = sampler.header
    labels = parse_labels(settings.labels, header.num_images, header.num_classes)
    sizes = header.condition_features, header.condition_map[2]
    given = in_turn(read_given(settings.conditions, *sizes), header.num_images)
    key = keys.root(settings.seed)
    drawn = sampler(key, temperature=settings.temperature, labels=labels, **given)
    _write(output, np.asarray(drawn), header.levels, labels)
    return header.num_images

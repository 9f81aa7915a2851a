"""The checkpoints of a run: save, verify, restore, prune.

``checkpoints/<step>/`` holds, as Orbax writes them, the item ``params`` (all that
sampling and evaluation need) and the item ``training`` (what going on needs besides).
Orbax does not notice damaged files, so each checkpoint gets a ``manifest.json`` with
the SHA-256 of every file, written last: a folder without one is an interrupted save and
is passed over, and one whose files differ is refused.
"""

import contextlib
import logging
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pixelcnn_jax import hosts
from pixelcnn_jax.errors import UserError, require
from pixelcnn_jax.files import LARGEST, read_text, write_text
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.runs import manifests, storage
from pixelcnn_jax.runs.manifests import MANIFEST
from pixelcnn_jax.runs.storage import Items

log = logging.getLogger(__name__)

Which = Literal["best", "latest"]

POSITION = "position.json"
"""The file of a checkpoint that says where its source of batches stood, or how many
images it learns from."""

KEPT = 2
"""How many of the latest checkpoints are kept; the best one is kept besides."""


class Checkpoints:
    """The folder ``checkpoints`` of a run."""

    def __init__(self, folder: Path):
        self.folder = folder

    def steps(self) -> list[int]:
        """The steps of the whole checkpoints, ascending."""
        return [s for s in self._all_steps() if (self._of(s) / MANIFEST).is_file()]

    def choose(self, which: Which = "best") -> int:
        """The step of the best or latest checkpoint; the latest if none was validated.

        Raises:
            UserError: ``which`` is neither, there are no checkpoints, or one is damaged
                so that the best can't be told.
        """
        require(
            which in ("best", "latest"),
            f"checkpoint must be best or latest, got {which!r}; try best",
        )
        found = self.steps()
        require(
            bool(found),
            f"the run's folder must hold a checkpoint, and {self.folder.parent} has"
            " none; train it first",
        )
        if which == "latest":
            return found[-1]
        damaged = next((step for step in found if self._is_damaged(step)), None)
        require(
            damaged is None,
            f"the best checkpoint is known only if each {MANIFEST} is whole, and that"
            f" of step {damaged} in {self.folder} is damaged; restore it from a copy,"
            " or take the latest checkpoint",
        )
        return self._best(found)

    def _is_damaged(self, step: int) -> bool:
        unreadable = manifests.read(self._of(step)) is None
        # A checkpoint without one is being dropped by a training beside.
        return unreadable and (self._of(step) / MANIFEST).is_file()

    def _best(self, steps: list[int]) -> int:
        found = {step: self.bits_per_dim(step) for step in steps}
        scores = {step: math.inf if x is None else x for step, x in found.items()}
        if all(score == math.inf for score in scores.values()):
            return steps[-1]
        # Of equals the earliest, so that the best one moves only for a gain.
        return min(steps, key=lambda step: (scores[step], step))

    def bits_per_dim(self, step: int) -> float | None:
        """On the validation images; None if it was not measured."""
        manifest = manifests.read(self._of(step))
        return None if manifest is None else manifest.bits_per_dim

    def save(
        self,
        step: int,
        items: Mapping[str, object],
        bits_per_dim: float | None,
        settings: str | None = None,
        position: str | None = None,
    ) -> None:
        """Save, and wait until all is on disk; then drop what is kept no longer.

        Args:
            step: updates made so far; names the checkpoint.
            items: pytrees of arrays by name; "params" among them.
            bits_per_dim: on the validation images, if it was measured at this step.
            settings: the digest of those that the checkpoint was made with.
            position: what `POSITION` is to hold; None: nothing is known.

        Of several processes all write, in one folder that they share.

        Raises:
            UserError: the disk is full or fails.
        """
        folder = self._of(step)
        try:
            storage.save(folder, items)
            hosts.by_first(lambda: _declare(folder, bits_per_dim, settings, position))
        except Exception as error:
            number = storage.error_number(error)
            if number is None:
                raise
            if hosts.is_first():
                with contextlib.suppress(OSError):
                    self.remove_interrupted()
            raise UserError(
                f"checkpoint {folder} could not be saved ({os.strerror(number)}), and"
                " those before it are whole; mend that and run the same command again"
            ) from error
        hosts.by_first(self._prune_if_possible)

    def _prune_if_possible(self) -> None:
        try:
            self._prune()
        except OSError as error:  # the new one is whole: no reason to stop
            log.warning("an old checkpoint could not be removed: %s", error)

    def in_the_way(self) -> list[Path]:
        """What has the name of a checkpoint and is no folder."""
        if not self.folder.is_dir():
            return []
        paths = [p for p in self.folder.iterdir() if _is_step(p.name)]
        return sorted(p for p in paths if p.is_symlink() or not p.is_dir())

    def position(self, step: int) -> str | None:
        """What was saved of the source of the images; None if it could not tell."""
        path = self._of(step) / POSITION
        try:
            return read_text(path, LARGEST)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:  # no file, or no text
            raise UserError(
                f"{path} must be a file of text, as training wrote it, got {error};"
                " restore the checkpoint from a copy"
            ) from error

    def _prune(self) -> None:
        steps = self.steps()
        kept = {*steps[-KEPT:], self._best(steps)}
        for step in steps:
            # What is damaged may be mended, so it stays.
            if step not in kept and not self._is_damaged(step):
                # First, so that a kill in mid-delete leaves nothing that looks whole.
                (self._of(step) / MANIFEST).unlink()
                shutil.rmtree(self._of(step))

    def remove_interrupted(self) -> None:
        """Delete what saves that were interrupted have left."""
        for step in set(self._all_steps()) - set(self.steps()):
            shutil.rmtree(self._of(step))
        for path in self.folder.glob(storage.UNFINISHED):
            if path.is_dir():
                shutil.rmtree(path)

    def restore(
        self,
        step: int,
        items: Mapping[str, object],
        model: PixelModel,
        settings: str | None = None,
    ) -> Items:
        """Some items of a checkpoint, once its files have passed their checksums.

        Args:
            step: one of `steps`.
            items: by name, a pytree like the one saved; shapes and types are what
                counts.
            model: the model that the parameters among them are of. Those of a
                checkpoint that 0.1.0 wrote are converted.
            settings: the digest of those that it must have been made with; None: any.

        Raises:
            UserError: an item was not saved; a file is missing or differs from what was
                saved, for which the message names the checkpoint before it that is
                whole; or it was made with other settings.
        """
        self._require_whole(step)
        missing = [name for name in items if not (self._of(step) / name).is_dir()]
        require(
            not missing,
            f"a checkpoint must hold {', '.join(missing)} to go on from, and"
            f" {self._of(step)} only has what sampling needs; begin in another workdir"
            f" with training.init_from {self.folder.parent}",
        )
        manifest = manifests.read(self._of(step))
        made_with = manifest.config if manifest and settings else None
        require(
            made_with in (None, settings),
            f"the settings must be those of the checkpoint {self._of(step)}, and"
            " config.json beside it has others; restore it, or, if it was edited on"
            " purpose, delete its line of sha256",
        )
        if manifest is not None and manifest.format == 1:
            return storage.load_old(self._of(step), items, model)
        return storage.load(self._of(step), items)

    def _require_whole(self, step: int) -> None:
        found = manifests.damage(self._of(step))
        if found is None:
            return
        whole = [
            s
            for s in self.steps()
            if s != step and manifests.damage(self._of(s)) is None
        ]
        earlier = [s for s in whole if s < step] or whole
        if found.unreadable:
            cure = "make it readable and try again"
        elif earlier:
            cure = (
                f"the checkpoint of step {earlier[-1]} is good: move {self._of(step)}"
                " elsewhere to use it"
            )
        else:
            cure = "no other checkpoint is good: restore its files from a copy"
        raise UserError(
            f"checkpoint {self._of(step)} is damaged: {found.problem}; {cure}"
        )

    def _of(self, step: int) -> Path:
        return self.folder / str(step)

    def _all_steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        found = self.folder.iterdir()
        names = {p.name for p in found if p.is_dir() and not p.is_symlink()}
        return sorted(int(x) for x in names if _is_step(x))


def _is_step(name: str) -> bool:
    """Whether `save` gives such names: "7", not "007"."""
    # As many digits as a step can have, and Python can read.
    return name.isdecimal() and len(name) < 19 and str(int(name)) == name


def _declare(
    folder: Path, bits_per_dim: float | None, settings: str | None, position: str | None
) -> None:
    """Say that a checkpoint is whole, once all of it is on disk."""
    storage.forget_machine(folder)
    if position is not None:
        write_text(folder / POSITION, position)
    # The order matters: the manifest declares what is on disk, and only a checkpoint
    # that is declared whole may push others out.
    manifests.write(folder, bits_per_dim, settings)

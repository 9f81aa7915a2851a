"""Batches from elsewhere, for data that never fit: a source's contract, its reader."""

import base64
import dataclasses
import json
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from pixelcnn_jax.data.sets import ImageSet
from pixelcnn_jax.errors import UserError, require

Batch = np.ndarray | Mapping[str, Any] | ImageSet
"""Images ``[B, H, W, C]``; or a mapping with ``images`` and what an `ImageSet` has; or
such a set. Any, since a mapping's arrays may be of any library."""


class BatchIterator(Protocol):
    """Gives batches one after another.

    For a run in a folder it has two more methods, as Grain's iterators have:
    ``get_state()`` tells the position after the batch that was given last, as bytes or
    as what JSON can hold, and ``set_state(state)`` goes there. Then a run that was
    interrupted ends with the bits that it would have had.
    """

    def __next__(self) -> Batch: ...


class BatchSource(Protocol):
    """Where batches come from: a generator's function made iterable, a Grain loader.

    Each ``iter`` begins anew, in the same way every time; whenever one ends, training
    begins the next. Every batch holds ``training.batch_size`` images, as the model
    takes them.
    """

    def __iter__(self) -> BatchIterator: ...


class BatchReader:
    """The batches of a source, without end, and the position among them."""

    def __init__(self, source: BatchSource):
        self._source = source
        self._iterator = iter(source)
        self._first: ImageSet | None = self._read()

    @property
    def resumes(self) -> bool:
        """Whether the source can tell its position."""
        return all(hasattr(self._iterator, x) for x in ("get_state", "set_state"))

    def peek(self) -> ImageSet:
        """The first batch, which is given once more by `next`; only before that."""
        if self._first is None:
            raise ValueError("a reader that has begun can't be looked into")
        return self._first

    def next(self) -> ImageSet:
        """The next batch.

        Raises:
            UserError: the source gives none, or something else.
        """
        found, self._first = self._first, None
        return self._read() if found is None else found

    def position(self) -> str | None:
        """Where `next` stands, to be kept; None if the source can't tell."""
        if not self.resumes:
            return None
        # Any: bytes or what JSON can hold, of which the source alone knows the meaning.
        state: Any = getattr(self._iterator, "get_state")()  # noqa: B009
        if isinstance(state, bytes):
            return json.dumps({"bytes": base64.b64encode(state).decode()})
        try:
            return json.dumps({"state": state})
        except (TypeError, ValueError) as error:
            raise UserError(
                "get_state of a source of batches must give bytes or what JSON can"
                f" hold, got {type(state).__name__} ({error})"
            ) from error

    def go_to(self, position: str) -> None:
        """Stand where `position` was taken.

        Raises:
            UserError: the source refuses it, or it is none.
        """
        found = read_position(position)
        encoded = found.get("bytes")
        try:
            state = found.get("state") if encoded is None else base64.b64decode(encoded)
        except (TypeError, ValueError) as error:
            raise _no_position(error) from error
        self._first = None
        try:
            getattr(self._iterator, "set_state")(state)  # noqa: B009
        except Exception as error:  # whatever the source raises
            detail = " ".join(str(error).split())
            raise UserError(
                "the source of batches must be able to go where the run stood, got"
                f" {type(error).__name__}: {detail}; give the source that it had"
            ) from error

    def _read(self) -> ImageSet:
        for begun in range(2):
            try:
                return _copied(as_image_set(next(self._iterator)))
            except StopIteration:
                # At its end, once more from its beginning.
                self._iterator = self._iterator if begun else iter(self._source)
        raise UserError("a source of batches must give some each time, got none")


# Any: what JSON holds, and the source alone knows.
def read_position(text: str) -> dict[str, Any]:
    """What was kept of where a run's images stand.

    Raises:
        UserError: it is not what training wrote.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_position(error) from error
    if not isinstance(found, dict):
        raise _no_position(f"a {type(found).__name__}")
    return found


def _no_position(reason: object) -> UserError:
    return UserError(
        f"position.json must be as training wrote it, got {str(reason)[:100]}; restore"
        " the checkpoint from a copy, or remove it to go on from the one before"
    )


def _copied(batch: ImageSet) -> ImageSet:
    """Arrays of its own: a source may fill those it gave with its next batch."""
    given = {
        name: None if values is None else np.array(values)
        for name, values in batch.given().items()
    }
    return dataclasses.replace(batch, images=np.array(batch.images), **given)


def as_image_set(batch: Batch) -> ImageSet:
    """A batch in its usual form.

    Raises:
        UserError: it is none.
    """
    if isinstance(batch, ImageSet):
        return batch
    # Any: as in `Batch`; the model checks what they hold.
    fields: dict[str, Any] = (
        dict(batch) if isinstance(batch, Mapping) else {"images": batch}
    )
    names = [name for name in ImageSet.__dataclass_fields__ if name != "brightness"]
    require(
        "images" in fields and fields.keys() <= set(names),
        f"a batch must be images or a mapping of {', '.join(names)}, images among them,"
        f" got {', '.join(map(str, fields)) or 'an empty one'}; map the source to them",
    )
    arrays: dict[str, Any] = {name: np.asarray(x) for name, x in fields.items()}
    return ImageSet(**arrays)

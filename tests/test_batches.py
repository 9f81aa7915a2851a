"""Batches from elsewhere train as images in memory do, and go on where they stood."""

import dataclasses
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.data import BatchReader
from pixelcnn_jax.runs import Run
from pixelcnn_jax.training import keeping, streamed
from pixelcnn_jax.training.shares import share_out
from tests.conftest import (
    assert_same_weights,
    random_images,
    tiny_model,
    with_training,
)

CONFIG = pj.Config(
    model=pj.PixelCNNConfig.tiny(num_classes=3, dropout=0.2),
    training=TrainingConfig(batch_size=8, epochs=2),
)
IMAGES = random_images(tiny_model(), 32).astype(np.uint8)
LABELS = np.arange(32) % 3


class Batches:
    """A source whose whole position is one number.

    Args:
        order: int ``[batches, B]``, which images are in each batch.
        dies_at: the batch at which reading fails.
    """

    def __init__(self, order: np.ndarray, dies_at: int | None = None):
        self.order, self.dies_at = order, dies_at

    def __len__(self) -> int:
        return len(self.order) // 2  # two epochs

    def __iter__(self) -> "Cursor":
        return Cursor(self)


class Cursor:
    def __init__(self, source: Batches):
        self.source, self.at = source, 0

    def __next__(self) -> dict[str, np.ndarray]:
        if self.at == self.source.dies_at:
            raise ConnectionError
        if self.at == len(self.source.order):
            raise StopIteration
        rows = self.source.order[self.at]
        self.at += 1
        return {"images": IMAGES[rows], "labels": LABELS[rows]}

    def get_state(self) -> bytes:
        return str(self.at).encode()

    def set_state(self, state: bytes) -> None:
        self.at = int(state)


ORDER = np.concatenate([data.batch_order(0, epoch, 32, 8) for epoch in range(2)])


@pytest.mark.slow
def test_batches_train_as_the_same_images_in_memory():
    config = dataclasses.replace(CONFIG, model=pj.PixelCNNConfig.tiny(num_classes=3))
    expected = pj.fit(
        config, IMAGES, IMAGES[:8], labels=LABELS, validation_labels=LABELS[:8]
    )
    found = pj.fit(config, Batches(ORDER), IMAGES[:8], validation_labels=LABELS[:8])
    assert found.history == expected.history
    assert_same_weights(found.model, expected.model)


@pytest.mark.slow
def test_levels_of_batches_are_not_cut_to_the_first_ones():
    c = pj.PixelCNNConfig.tiny(height=2, width=2, levels=300, condition_channels=1)
    images = np.arange(4 * 4).reshape(4, 2, 2, 1) % 300
    images[2:] = 299
    maps = np.ones((4, 1, 1, 1))

    def batches(kinds: list[type]) -> list[dict[str, np.ndarray]]:
        parts = zip((slice(2), slice(2, 4)), kinds, strict=True)
        return [
            {"images": images[part].astype(kind), "condition_map": maps[part] / 4}
            for part, kind in parts
        ]

    config = pj.Config(model=c, training=TrainingConfig(batch_size=2, epochs=1))
    found = [pj.fit(config, batches(x)) for x in ([np.uint8, np.uint16], 2 * [int])]
    assert found[0].history == found[1].history
    assert_same_weights(found[0].model, found[1].model)


def test_a_source_is_asked_for_no_more_at_a_time_than_is_obeyed():
    order = np.concatenate([ORDER, ORDER])
    reader = BatchReader(Batches(order))
    shares = share_out(CONFIG.training, (6, 5), jax.devices())
    feed = streamed.Streamed(streamed.Stream(reader, 8, lambda x: x, True), shares, 8)
    start = 0
    for count in (1, 2, 5):
        found = feed.batches(0, start, count)
        assert found.number == count
        start += found.number
        there = BatchReader(Batches(order))
        assert feed.position is not None
        there.go_to(feed.position)
        assert (there.next().images == IMAGES[order[start]]).all()
    feed.close()


@pytest.mark.parametrize("as_set", [False, True])
def test_a_source_may_fill_the_same_arrays_again(as_set: bool):
    c = pj.PixelCNNConfig.tiny(
        num_classes=9, condition_features=1, condition_channels=1
    )
    buffers = dict(
        images=np.zeros((2, c.height, c.width, 1), np.uint8),
        labels=np.zeros(2, np.int32),
        condition=np.zeros((2, 1), np.float32),
        condition_map=np.zeros((2, 1, 1, 1), np.float32),
    )

    class Reusing:
        def __iter__(self):
            for number in range(4):
                for buffer in buffers.values():
                    buffer[...] = number
                yield data.ImageSet(**buffers) if as_set else buffers

    reader = BatchReader(Reusing())
    shares = share_out(TrainingConfig(batch_size=2), (c.height, c.width), jax.devices())
    first = reader.peek()
    feed = streamed.Streamed(streamed.Stream(reader, 4, lambda x: x, False), shares, 2)
    found = feed.batches(0, 0, 4)
    feed.close()
    for sent in jax.tree.leaves((found.images, found.given)):
        rows = np.asarray(sent).reshape(len(sent), -1)[:, 0]
        # Of each device in turn, and zeros where a share is filled up.
        assert sorted(rows[rows > 0].tolist()) == [1, 1, 2, 2, 3, 3]
    assert not any(x.any() for x in (first.images, *first.given().values()))


def test_a_source_that_nobody_goes_back_to_need_not_tell_its_position(monkeypatch):
    monkeypatch.setattr(Cursor, "get_state", None)
    config = dataclasses.replace(CONFIG, model=pj.PixelCNNConfig.tiny(num_classes=3))
    assert pj.fit(config, Batches(ORDER)).history


def grain_batches(dies_at: int | None) -> pj.BatchSource:
    grain = pytest.importorskip("grain")
    count = itertools.count()

    def read(row: int) -> dict[str, np.ndarray]:
        if dies_at is not None and next(count) == 8 * dies_at:
            raise ConnectionError
        return {"images": IMAGES[row], "labels": LABELS[row]}

    rows = grain.MapDataset.range(32).seed(0).shuffle().repeat().map(read).batch(8)
    return rows.to_iter_dataset(grain.ReadOptions(num_threads=0))


def grain_loader(dies_at: int | None) -> pj.BatchSource:
    grain = pytest.importorskip("grain")

    class Rows:
        def __repr__(self) -> str:  # by which Grain knows the source again
            return "rows"

        def __len__(self) -> int:
            return 32

        def __getitem__(self, row: int) -> dict[str, np.ndarray]:
            return {"images": IMAGES[row], "labels": LABELS[row]}

    class Dying(grain.transforms.Map):
        count = itertools.count()

        def map(self, element):
            if dies_at is not None and next(self.count) == 8 * dies_at:
                raise ConnectionError
            return element

    sampler = grain.samplers.IndexSampler(32, shuffle=True, seed=1)
    return grain.DataLoader(
        data_source=Rows(),
        sampler=sampler,
        operations=[Dying(), grain.transforms.Batch(8, drop_remainder=True)],
        read_options=grain.ReadOptions(num_threads=0),
    )


SOURCES = {
    "python": lambda dies_at: Batches(ORDER, dies_at),
    "grain": grain_batches,
    "loader": grain_loader,
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["python", "grain", "loader"])
def test_a_run_on_batches_goes_on_exactly(kind: str, tmp_path: Path, monkeypatch):
    """Died in the middle of its second epoch, after checkpoints on the way."""
    make = SOURCES[kind]
    config = with_training(CONFIG, batches_per_epoch=4)
    monkeypatch.setattr(streamed, "SENT_BYTES", 1)  # batch by batch
    monkeypatch.setattr(keeping, "CHECKPOINT_SECONDS", -1.0)
    whole = pj.fit(config, make(None), workdir=tmp_path / "whole")
    with pytest.raises(Exception):  # noqa: B017  # Grain wraps what it met
        pj.fit(config, make(7), workdir=tmp_path / "apart")
    assert 0 < Run(tmp_path / "apart").checkpoints.steps()[-1] < 8
    apart = pj.fit(config, make(None), workdir=tmp_path / "apart")
    assert apart.history == whole.history
    assert_same_weights(apart.model, whole.model)
    found = Run(tmp_path / "apart").config()
    assert found.data.source == "batches" and found.training.batches_per_epoch == 4


def test_a_source_that_ends_is_begun_anew():
    reader = BatchReader(Batches(ORDER[:3]))
    first = reader.peek()
    seen = [reader.next() for _ in range(7)]
    assert seen[0] is first
    for place, batch in enumerate(seen):
        assert (batch.images == IMAGES[ORDER[place % 3]]).all()
    position = reader.position()
    following = [reader.next().images for _ in range(4)]
    other = BatchReader(Batches(ORDER[:3]))
    assert position is not None
    other.go_to(position)
    again = [other.next().images for _ in range(4)]
    assert (np.stack(again) == np.stack(following)).all()


def test_a_position_of_another_source_is_refused():
    reader = BatchReader(Batches(ORDER))
    with pytest.raises(pj.UserError, match="go where the run stood, .* int"):
        reader.go_to('{"state": "here"}')
    for wrong in ("{", "[]", '{"bytes": 7}', '{"bytes": "a"}', "[" * 10**5):
        with pytest.raises(pj.UserError, match=r"position\.json must be as training"):
            reader.go_to(wrong)


def test_images_alone_are_batches_too():
    batch = BatchReader([IMAGES[:8]]).next()  # type: ignore[arg-type]
    assert (batch.images == IMAGES[:8]).all() and batch.labels is None


class Stateless:
    def __iter__(self):
        return iter([{"images": IMAGES[:8], "labels": LABELS[:8]}] * 4)


class Odd(Stateless):
    def __iter__(self):
        sizes = (8, 5)
        return iter([{"images": IMAGES[:n], "labels": LABELS[:n]} for n in sizes])


@pytest.mark.parametrize(
    ("source", "options", "number", "message"),
    [
        (Stateless(), {"workdir": "x"}, 4, "must have get_state and set_state to be"),
        (Stateless(), {}, None, "batches_per_epoch must be given for a source"),
        (Stateless(), {"labels": LABELS}, 4, "labels must be among the batches"),
        (Odd(), {}, 2, "must hold training.batch_size images, 8, got 5"),
        (
            [{"images": IMAGES[:5], "labels": LABELS[:5]}],
            {},
            2,
            "at most the number of images in the first batch of the source, 5, got 8",
        ),
        ([], {}, 2, "must give some each time, got none"),
        ([{"image": IMAGES}], {}, 2, "mapping of images, labels, .* got image; map"),
        (7, {}, 2, "an ImageSet or a source of batches, got int"),
        (IMAGES, {"labels": LABELS}, 2, "is for fit on a source of batches, got 2"),
    ],
)
def test_what_is_no_source_of_batches_is_refused(
    source, options, number, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = with_training(CONFIG, batches_per_epoch=number)
    with pytest.raises(pj.UserError, match=message) as refusal:
        pj.fit(config, source, **options)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())

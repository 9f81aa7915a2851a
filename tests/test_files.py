"""A file is written whole or not at all."""

import os
from pathlib import Path

import pytest

from pixelcnn_jax import files


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch
):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_text(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_texts_are_utf_8(tmp_path: Path):
    files.write_text(tmp_path / "a", "naïve")
    assert (tmp_path / "a").read_bytes() == b"na\xc3\xafve"


def test_an_interruption_leaves_no_scratch_file(tmp_path: Path, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        files.write_text(tmp_path / "a", "new")
    assert not list(tmp_path.iterdir())


def test_what_another_process_writes_is_left_alone(tmp_path: Path):
    scratch = tmp_path / files.scratch_name("a")
    scratch.write_text("half of")
    files.try_to_write(tmp_path / "a")
    assert scratch.read_text() == "half of"
    scratch.unlink()
    scratch.mkdir()
    with pytest.raises(OSError, match="exists"):
        files.try_to_write(tmp_path / "a")

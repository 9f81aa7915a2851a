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

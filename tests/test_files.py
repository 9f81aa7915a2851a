"""A file is written whole or not at all."""

import multiprocessing
import os
import stat
import threading
from collections.abc import Callable
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
    folder = tmp_path / files.scratch_name("b")
    scratch.write_text("half of")
    folder.mkdir()
    files.try_to_write(tmp_path / "a")
    files.write_text(tmp_path / "a", "whole")
    with files.new_folder(tmp_path / "b"):
        pass
    assert scratch.read_text() == "half of" and folder.is_dir()


def test_what_was_killed_long_ago_goes_with_the_next_write(tmp_path: Path):
    (tmp_path / "a").touch()
    others = [tmp_path / name for name in (".a.tmp", ".a.mine.tmp", ".ab.0.tmp")]
    left = [tmp_path / files.scratch_name(name) for name in ("a", "b")]
    for path in (*others, left[0]):
        path.touch()
    (left[1] / "below").mkdir(parents=True)
    for path in (*others, *left):
        os.utime(path, (0, 0))
    files.try_to_write(tmp_path / "a")
    with files.new_folder(tmp_path / "b"):
        pass
    assert {*tmp_path.iterdir()} == {tmp_path / "a", tmp_path / "b", *others}


# --- several writers

SIZE, ROUNDS = 2**18, 40


def write_often(path: Path, letter: bytes, start) -> None:
    start.wait()
    for _ in range(ROUNDS):
        files.write_bytes(path, letter * SIZE)


def read_meanwhile(path: Path, writers: list) -> None:
    """Start writers, and read until they have ended."""
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        content = path.read_bytes()
        assert len(content) == SIZE and content == content[:1] * SIZE


def test_threads_write_one_file_whole(tmp_path: Path):
    path, faults, start = tmp_path / "a", [], threading.Barrier(3)
    path.write_bytes(b"0" * SIZE)

    def write(letter: bytes) -> None:
        try:
            write_often(path, letter, start)
        except OSError as error:
            faults.append(error)

    read_meanwhile(
        path, [threading.Thread(target=write, args=(x,)) for x in (b"1", b"2", b"3")]
    )
    assert faults == [] and list(tmp_path.iterdir()) == [path]


def test_processes_write_one_file_whole(tmp_path: Path):
    path = tmp_path / "a"
    path.write_bytes(b"0" * SIZE)
    context = multiprocessing.get_context("spawn")
    start = context.Barrier(2)
    writers = [
        context.Process(target=write_often, args=(path, x, start)) for x in (b"1", b"2")
    ]
    read_meanwhile(path, writers)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


def test_of_two_folders_for_a_place_one_takes_it_whole(tmp_path: Path):
    path = tmp_path / "a"
    with pytest.raises(FileExistsError), files.new_folder(path) as first:
        (first / "one").touch()
        with files.new_folder(path) as second:
            (second / "two").touch()
        (first / "three").touch()
    assert list(tmp_path.rglob("*")) == [path, path / "two"]


def test_a_place_that_a_file_takes_meanwhile_is_left_to_it(tmp_path: Path):
    path = tmp_path / "a"
    with pytest.raises(FileExistsError), files.new_folder(path):
        path.write_text("mine")
    assert path.read_text() == "mine" and list(tmp_path.iterdir()) == [path]


# --- what stands there before


def test_a_link_is_written_through(tmp_path: Path):
    place, link = tmp_path / "deep" / "a", tmp_path / "link"
    place.parent.mkdir()
    link.symlink_to(place)
    for text in ("new", "newer"):  # first it leads to nothing
        files.try_to_write(link)
        files.write_text(link, text)
        assert link.is_symlink() and place.read_text() == text
    assert {*tmp_path.rglob("*")} == {link, place.parent, place}


def test_a_link_in_a_circle_is_refused(tmp_path: Path):
    link = tmp_path / "a"
    link.symlink_to(link)
    for write in (files.try_to_write, lambda path: files.write_text(path, "x")):
        with pytest.raises(OSError, match="symbolic links"):
            write(link)
    assert list(tmp_path.iterdir()) == [link] and link.is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="needs permission bits")
def test_permissions_stay(tmp_path: Path):
    path, folder = tmp_path / "a", tmp_path / "b"
    path.touch()
    folder.mkdir()
    for mode in (0o600, 0o664, 0o640):
        path.chmod(mode)
        files.write_text(path, "new")
        assert stat.S_IMODE(path.stat().st_mode) == mode
    folder.chmod(0o700)
    with files.new_folder(folder) as place:
        (place / "new").touch()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_not_replaced(make: Callable, tmp_path: Path):
    make(tmp_path / "a")
    for write in (files.try_to_write, lambda path: files.write_text(path, "x")):
        with pytest.raises(OSError, match="no regular file|Is a directory"):
            write(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert not (tmp_path / "a").is_file()

"""A machine that fails - full disks, closed pipes, signals - costs a line, not work."""

import contextlib
import dataclasses
import errno
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
import zlib
from pathlib import Path
from zlib import crc32

import filelock
import numpy as np
import pytest
from tensorboardX import record_writer

import pixelcnn_jax as pj
from pixelcnn_jax import hosts, memory
from pixelcnn_jax.cgroups import cpu_quota, memory_limit
from pixelcnn_jax.commands import program_cache, sample_folder, train
from pixelcnn_jax.commands.main import run_command
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.files import scratch_name
from pixelcnn_jax.quiet import QUIET
from pixelcnn_jax.runs import Run, storage, tables
from pixelcnn_jax.training import keeping, reports, sources
from pixelcnn_jax.training.feed import Order, SentAhead
from pixelcnn_jax.training.reports import Result
from pixelcnn_jax.training.stopping import Stopped, StopRequest

ROOT = Path(__file__).parents[1]
PARAMS = {"params": {"w": np.ones(2)}}


def ended(run, capsys) -> tuple[int, str]:
    """The status and what a command that does this says of it."""
    with pytest.raises(SystemExit) as end:
        run_command(train.COMMAND._replace(run=run), [], "train")
    return end.value.code, capsys.readouterr().err


# --- what a command makes of it


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.ENOSPC, "x", "a/b"), "a/b: No space left on device; make room"),
        (OSError(errno.ENOSPC, "x"), "standard output: No space left on device; make"),
        (OSError(errno.EROFS, "x", "c\nd"), "c\\nd: Read-only file system; pass"),
        (MemoryError(), "memory ran out; lower batch_size"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory"), "memory ran out"),
        (RuntimeError("Disallowed host-to-device transfer"), "a transfer guard"),
    ],
)
def test_a_fault_of_the_machine_is_one_line(error, line: str, capsys):
    def fail(*_):
        raise error

    status, shown = ended(fail, capsys)
    assert status == 2 and shown.count("\n") == 1
    assert line in shown


def test_a_defect_keeps_its_traceback():
    def fail(*_):
        raise OSError(errno.EINVAL, "x")

    with pytest.raises(OSError, match="x"):
        run_command(train.COMMAND._replace(run=fail), [], "train")


def test_devices_that_are_not_there_are_one_line(capsys):
    def fail(*_):
        exec(compile("assert None", "jax/_src/xla_bridge.py", "exec"))

    status, shown = ended(fail, capsys)
    assert status == 2 and "that JAX_PLATFORMS names, and could not" in shown


def test_a_closed_pipe_ends_a_command_in_silence(capsys):
    def fail(*_):
        raise BrokenPipeError

    assert ended(fail, capsys) == (128 + 13, "")


HELP = "train.py digits --help | head -1; sample.py --help | head -1"


@pytest.mark.slow
def test_help_may_be_cut_short():
    commands = HELP.replace("train.py", "$0 train.py").replace("sample", "$0 sample")
    done = subprocess.run(
        ["bash", "-c", commands, sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    assert done.stderr == "" and done.stdout.count("usage") == 2


IMPORT_AND_INTERRUPT = """
import os, signal, sys
class Interrupt:
    def find_spec(self, name, *_):
        if name == "pixelcnn_jax.commands":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Interrupt())
from pixelcnn_jax.doors import main
main()
"""


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_an_interrupt_during_imports_ends_in_silence():
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_AND_INTERRUPT],
        capture_output=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")


# --- the folder of a run


@pytest.mark.parametrize(
    "name", ["config.json", "metrics.csv", "curves.png", "metrics.csv.damaged"]
)
def test_a_folder_in_the_place_of_a_file_is_seen_before_training(
    name: str, tiny_config: pj.Config
):
    (Path(tiny_config.workdir) / name).mkdir(parents=True)
    with pytest.raises(pj.UserError, match=f"{name} stands in its way; move it"):
        pj.train(tiny_config)


@pytest.mark.parametrize("name", ["checkpoints", "tensorboard", "checkpoints/999"])
def test_a_file_in_the_place_of_a_folder_is_seen_before_training(
    name: str, tiny_config: pj.Config
):
    path = Path(tiny_config.workdir) / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(pj.UserError, match=f"{name} stands in its way; move it"):
        pj.train(tiny_config)
    assert path.read_text() == "mine"
    assert not list(Path(tiny_config.workdir).glob("lock"))
    assert not (Path(tiny_config.workdir) / "samples").exists()


def test_a_folder_of_another_model_is_left_as_it_was(tiny_config: pj.Config):
    folder = Path(tiny_config.workdir)
    pj.save(pj.build_model(pj.PixelSNAILConfig.tiny()), folder)
    with pytest.raises(pj.UserError, match="goes on only with its own settings"):
        pj.train(tiny_config)
    assert {path.name for path in folder.iterdir()} == {"config.json", "checkpoints"}


def test_what_killed_writers_left_in_a_run_goes(tiny_config: pj.Config):
    folder = Path(tiny_config.workdir)
    (folder / "samples").mkdir(parents=True)
    names = ("config.json", "metrics.csv", "curves.png", "samples/epoch_0001.png")
    paths = [folder / name for name in names]
    left = [path.with_name(scratch_name(path.name)) for path in paths]
    other = folder / scratch_name("mine")
    for path in (*left, other):
        path.touch()
    with Run(folder).hold(tiny_config):
        assert not any(path.exists() for path in left) and other.exists()


def test_a_link_in_the_place_of_a_checkpoint_is_seen_before_training(
    tiny_config: pj.Config, tmp_path: Path
):
    path = Path(tiny_config.workdir) / "checkpoints" / "999"
    path.parent.mkdir(parents=True)
    path.symlink_to(tmp_path)
    with pytest.raises(pj.UserError, match="999 stands in its way; move it"):
        pj.train(tiny_config)


def test_a_folder_whose_name_is_no_text_is_refused():
    with pytest.raises(pj.UserError, match="workdir must be a folder, got .*surrogat"):
        Run(os.fsdecode(b"/tmp/\xff"))


def test_what_has_not_the_name_of_a_checkpoint_is_left_alone(tiny_config: pj.Config):
    place = Path(tiny_config.workdir) / "checkpoints"
    (place / "007").mkdir(parents=True)
    (place / "mine").write_text("x")
    (place / "link").symlink_to(place / "nowhere")
    with Run(tiny_config.workdir).hold(tiny_config):
        pass
    assert {path.name for path in place.iterdir()} == {"007", "mine", "link"}


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOLCK, "x"), OSError(errno.EOPNOTSUPP, "x"), NotImplementedError()],
)
def test_a_file_system_without_locks_is_trained_on_with_a_warning(
    error, tiny_config: pj.Config, monkeypatch, caplog
):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(filelock.FileLock, "acquire", fail)
    with Run(tiny_config.workdir).hold(tiny_config):
        pass
    samples = Path(tiny_config.workdir).with_name("many")
    with sample_folder.hold_folder(samples, {}):
        pass
    assert caplog.text.count("has no locks") == 2
    assert "only one process writes" in caplog.text


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, "full"), "No space left on device"),
        (ValueError("pages of text [os_error_code='28']"), "No space left on device"),
        (OSError(errno.EIO, "x"), "Input/output error"),
    ],
)
def test_a_save_that_the_disk_refuses_is_one_line_and_costs_no_other(
    error, reason: str, tmp_path: Path, monkeypatch
):
    kept = Run(tmp_path).checkpoints
    kept.save(1, PARAMS, 1.0)

    def fail(folder: Path, *_, **__):
        (folder.parent / f"{folder.name}.orbax-checkpoint-tmp-1").mkdir()
        try:
            raise error
        except Exception as cause:
            raise RuntimeError("chained") from cause

    monkeypatch.setattr(storage.ocp, "save_checkpointables", fail)
    with pytest.raises(pj.UserError, match="2 could not be saved") as refusal:
        kept.save(2, PARAMS, 1.0)
    assert reason in str(refusal.value) and "run the same command" in str(refusal.value)
    # What was written of it is dropped, so that there is room again.
    assert [path.name for path in kept.folder.iterdir()] == ["1"]


def test_an_old_checkpoint_that_cannot_be_removed_costs_nothing(
    tmp_path: Path, monkeypatch, caplog
):
    kept = Run(tmp_path).checkpoints
    for step in (1, 2, 3):
        kept.save(step, PARAMS, None)

    def deny(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(shutil, "rmtree", deny)
    kept.save(4, PARAMS, None)
    assert kept.steps() == [3, 4] and "could not be removed" in caplog.text


def test_a_picture_that_cannot_be_written_costs_no_epoch(
    tiny_config: pj.Config, monkeypatch, caplog
):
    def fail(_):
        raise IsADirectoryError(21, "Is a directory", "samples/epoch_0001.png")

    saved = []
    keeper = keeping.InFolder(Run(tiny_config.workdir), tiny_config)
    monkeypatch.setattr(keeper, "_reports", [fail])
    monkeypatch.setattr(keeper, "_save", lambda *state: saved.append(state))
    row = tables.Row(1, 5, 1.0, 1.5)
    keeper.after_epoch(None, Result(row, 1.0, 1.0, None, 0, None))
    assert saved == [(None, 1.5)]
    assert "epoch 1 is not reported whole" in caplog.text


def test_a_full_disk_costs_no_more_than_what_tensorboard_shows(
    tmp_path: Path, monkeypatch, caplog
):
    class Full(io.RawIOBase):
        def writable(self) -> bool:
            return True

        def write(self, _) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(record_writer, "open_file", lambda _: io.BufferedWriter(Full()))
    with contextlib.ExitStack() as stack:
        board = reports.folder_reports(tmp_path, [], stack)[-1]
        for epoch in (1, 2):
            result = Result(tables.Row(epoch, 5, 1.0, 1.5), 1.0, 1.0, None, 0, None)
            vars(result)["samples"] = np.zeros((4, 4, 3), np.uint8)
            board(result)
    assert caplog.text.count("is written for TensorBoard") == 1
    assert "from epoch 1 on nothing" in caplog.text and "No space left" in caplog.text


def test_a_stop_heard_of_is_not_a_second_one():
    with StopRequest() as stop:
        stop.hear(signal.SIGTERM)  # of another process's
        signal.raise_signal(signal.SIGTERM)
        assert stop.number == signal.SIGTERM
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)


def test_processes_with_other_images_are_refused(monkeypatch):
    said = []
    monkeypatch.setattr(hosts, "are_several", lambda: True)

    def first_says(digest: int) -> int:
        said.append(int(np.int32(digest)))  # as processes tell each other
        return said[0]

    monkeypatch.setattr(hosts, "first_says", first_says)

    def require_everywhere(holds: bool, message: str) -> None:
        if not holds:
            raise pj.UserError(message)

    monkeypatch.setattr(hosts, "require_everywhere", require_everywhere)
    # The half of all sums that takes 32 bits.
    monkeypatch.setattr(zlib, "crc32", lambda content: 2**31 + crc32(content) // 2)
    images = np.arange(24, dtype=np.uint8).reshape(4, 2, 3, 1)
    labels = np.array([0, 1, 2, 0])
    sources._require_same_everywhere(pj.ImageSet(images, labels), "training")
    sources._require_same_everywhere(pj.ImageSet(images.copy(), labels), "training")
    for other in (
        pj.ImageSet(images[:3], labels[:3]),
        pj.ImageSet(images[::-1], labels),
        pj.ImageSet(images, labels[::-1].copy() + np.array([0, 0, 0, 1])),
    ):
        with pytest.raises(pj.UserError, match="must have the same training images"):
            sources._require_same_everywhere(other, "training")
    sources._require_same_everywhere(pj.ImageSet(images, labels), "training")


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory")]
)
def test_a_full_memory_is_no_other_checkpoint(error, tmp_path: Path, monkeypatch):
    def full(*_):
        raise error

    monkeypatch.setattr(storage.ocp, "load_checkpointables", full)
    with pytest.raises(type(error)):
        storage.load(tmp_path, {"params": {}})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "x"), "Too many open files"),
        # Which tells of a full memory, too.
        (ValueError("RESOURCE_EXHAUSTED: [os_error_code='24']"), "Too many open files"),
        (OSError(errno.EIO, "x"), "Input/output error"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_load_that_the_system_refuses_is_no_other_checkpoint(
    error, reason: str, wrapped: bool, tmp_path: Path, monkeypatch
):
    def refuse(*_):
        if not wrapped:
            raise error
        try:
            raise error
        except Exception as cause:
            raise KeyError("no handler") from cause

    monkeypatch.setattr(storage.ocp, "load_checkpointables", refuse)
    with pytest.raises(pj.UserError, match="could not be read") as refusal:
        storage.load(tmp_path, {"params": {}})
    assert reason in str(refusal.value) and "config.json" not in str(refusal.value)


def test_images_sent_ahead_leave_no_thread_behind():
    class Shares:
        width = share = 1

    feed = SentAhead.__new__(SentAhead)
    images = pj.ImageSet(np.zeros((4, 1, 1, 1), np.uint8))
    SentAhead.__init__(feed, images, Shares(), Order(0, 4, 1, 1))  # type: ignore[arg-type]
    feed.close()
    with pytest.raises(RuntimeError, match="after shutdown"):
        feed._pool.submit(len, "")


# --- the process


def test_memory_is_what_a_container_may_use(tmp_path: Path, monkeypatch):
    assert memory_limit(tmp_path) is None
    for name, text in (
        ("proc/self/cgroup", "0::/a/b\n5:memory:/c\n"),
        ("sys/fs/cgroup/a/memory.max", "max\n"),
        ("sys/fs/cgroup/a/b/memory.max", "9000\n"),
        ("sys/fs/cgroup/memory/c/memory.limit_in_bytes", "8000\n"),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert memory_limit(tmp_path) == 8000
    (tmp_path / "sys/fs/cgroup/a/memory.max").write_text("7000")
    assert memory_limit(tmp_path) == 7000
    monkeypatch.setattr(memory, "_limit", lambda: 7000)
    assert memory.memory_bytes() == 7000
    monkeypatch.setattr(memory, "_limit", lambda: None)
    assert memory.memory_bytes() > 7000


def groups(root: Path, lines: str, **files: str) -> float | None:
    for name, text in {"proc/self/cgroup": lines, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return cpu_quota(root)


def test_the_quota_of_a_container_is_found_in_either_version(tmp_path: Path):
    top = "sys/fs/cgroup"
    assert cpu_quota(tmp_path) is None
    nested = {f"{top}/a/cpu.max": "300000 100000", f"{top}/a/b/cpu.max": "max 100000"}
    assert groups(tmp_path / "2", "0::/a/b\n", **nested) == 3
    inner = nested | {f"{top}/a/b/cpu.max": "150000 100000"}
    assert groups(tmp_path / "3", "0::/a/b\n", **inner) == 1.5
    place = f"{top}/cpu,cpuacct/docker"
    old = {
        f"{place}/cpu.cfs_quota_us": "200000",
        f"{place}/cpu.cfs_period_us": "100000",
    }
    lines = "5:memory:/x\n4:cpu,cpuacct:/docker\n"
    assert groups(tmp_path / "1", lines, **old) == 2
    free = old | {f"{place}/cpu.cfs_quota_us": "-1"}
    assert groups(tmp_path / "0", lines, **free) is None


def test_a_damaged_program_in_the_cache_is_removed_and_said_once(
    tmp_path: Path, monkeypatch, capsys
):
    folder = tmp_path / "pixelcnn_jax"
    folder.mkdir()
    for name in ("jit_run-1-cache", "jit_run-2-cache", "jit_runner-3-cache"):
        (folder / name).write_text("x")
    monkeypatch.setattr(program_cache, "_setting", lambda _: folder)
    text = "Error reading persistent compilation cache entry for 'jit_run': E: zstd"
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with program_cache.watched_cache():
            warnings.warn(text, stacklevel=1)
            warnings.warn(text, stacklevel=1)
    shown = capsys.readouterr().err
    assert shown.count("cache of compiled programs") == 1
    assert [path.name for path in folder.iterdir()] == ["jit_runner-3-cache"]


@pytest.mark.parametrize("done", ["reading", "writing"])
def test_a_cache_that_cannot_be_used_is_said_in_a_line(
    done: str, tmp_path: Path, monkeypatch, capsys
):
    """JAX names the program and then, in the system's error, a path."""
    folder = tmp_path / "pixelcnn_jax"
    monkeypatch.setattr(program_cache, "_setting", lambda _: folder)
    text = (
        f"Error {done} persistent compilation cache entry for 'jit_run': "
        f"NotADirectoryError: [Errno 20] Not a directory: '{folder}/jit_run-1-cache'"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with program_cache.watched_cache():
            warnings.warn(text, stacklevel=1)
    assert capsys.readouterr().err.count("programs are compiled anew\n") == 1


def test_streams_that_were_closed_before_the_start_cost_nothing(monkeypatch):
    """As after ``>&- 2>&-``: then Python has none."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    ran = []

    def run(*_):
        print("x")
        print("x", file=sys.stderr)
        ran.append(True)

    run_command(train.COMMAND._replace(run=run), [], "train")
    assert ran


def test_threads_that_are_quiet_leave_the_process_as_it_was():
    """Two that overlap: the first to begin ends first."""
    logger, filters = logging.getLogger("absl"), list(warnings.filters)
    level, inside, go = logger.level, threading.Event(), threading.Event()

    def other() -> None:
        with QUIET:
            inside.set()
            go.wait(60)
            assert logger.level == logging.CRITICAL

    thread = threading.Thread(target=other)
    with QUIET:
        thread.start()
        assert inside.wait(60)
        assert logger.level == logging.CRITICAL
    go.set()
    thread.join()
    assert logger.level == level and warnings.filters == filters


def test_a_folder_that_digits_have_no_use_for_is_refused(tiny_config: pj.Config):
    place = DataConfig(data_dir="/tmp")
    with pytest.raises(pj.UserError, match="data_dir must be left out for digits"):
        pj.train(dataclasses.replace(tiny_config, data=place))

"""What the three command lines share: flags from dataclasses, errors in one line."""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import jax
import tyro

from pixelcnn_jax.errors import UserError

T = TypeVar("T")


def parse(
    settings: type[T], default: T, args: list[str], program: str, about: str
) -> T:
    """The settings that flags ask for; every field of the dataclass is a flag.

    Raises:
        UserError: a flag is unknown, or its value of the wrong type.
    """

    def read() -> T:
        return tyro.cli(
            settings,
            default=default,
            args=args,
            prog=program,
            description=about,
            config=(tyro.conf.AvoidSubcommands,),  # the default names the model
        )

    if "-h" in args or "--help" in args:
        return read()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            return read()
    except SystemExit as error:
        raise UserError(_one_line(printed.getvalue(), program)) from error


def _one_line(box: str, program: str) -> str:
    """The framed message that tyro prints, without its frame and its repetitions."""
    frame = "[\u2500-\u257f]|(?<![^ \n])[|+](?![^ \n])|-{4,}"
    lines = [re.sub(frame, " ", line).strip() for line in box.splitlines()[1:]]
    message, _, rest = "\n".join(lines).strip().partition("\n\n")
    message = " ".join(re.sub(r"^Error parsing [\w.-]+: ", "", message).split())
    flags = re.findall(r"--[\w.-]+", rest) if "Perhaps" in rest else []
    hint = f"; perhaps you meant {flags[0]}" if flags else ""
    return f"{message.rstrip('.')}{hint}; see {program} --help"


def use_machine_well() -> None:
    """Settings of JAX that suit a process of its own; the user's own come first.

    On GPUs, operations whose result depends on the order of events are ruled out, so
    that a resumed run can end with the bits of one never interrupted.

    The cores of a CPU become devices, over which training and sampling spread their
    images: XLA's own threading leaves much of them idle. Compiled programs are kept
    between processes. To be called before JAX first computes.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    if "xla_force_host_platform_device_count" not in flags:
        with contextlib.suppress(RuntimeError):  # JAX has begun: a test, a notebook
            if _setting("jax_num_cpu_devices") == -1:
                jax.config.update("jax_num_cpu_devices", _usable_cores())
    if _setting("jax_compilation_cache_dir") is None:
        with contextlib.suppress(RuntimeError):  # nobody's home
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            jax.config.update("jax_compilation_cache_dir", str(home / "pixelcnn_jax"))


def _setting(name: str) -> Any:
    return getattr(jax.config, name)


def _usable_cores() -> int:
    """Cores that this process may use, a container's share included."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(cores, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores


def main(run: Callable[[list[str]], None]) -> None:
    """Run a command line and end the process with its exit status.

    0 when all went well, 2 after a `UserError`, which is shown in one line, 130 when
    interrupted.
    """
    use_machine_well()
    try:
        run(sys.argv[1:])
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt as interrupt:
        kept = f" ({interrupt}); the same command goes on" if str(interrupt) else ""
        print(f"\nstopped{kept}", file=sys.stderr)
        sys.exit(130)

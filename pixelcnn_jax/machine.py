"""How JAX should use a machine that a process has to itself."""

import contextlib
import functools
import math
import os
import warnings
from pathlib import Path

import jax

from pixelcnn_jax.cgroups import cpu_quota
from pixelcnn_jax.errors import UserError

FORCED = "xla_force_host_platform_device_count"
"""The flag of XLA's that gives a number of devices of the CPU, too."""


def use_all_cores() -> int:
    """Make a device of each core of the CPU, over which all work is spread.

    XLA's own threading leaves much of a CPU idle: the command lines call this, and
    programs that import the package are as fast once they do. To be called before JAX
    first computes, at best right after the imports. Accelerators are not touched.
    Whoever has set ``jax_num_cpu_devices``, or XLA's flag of that meaning, has decided
    already, and nothing changes.

    Returns:
        The number of the CPU's devices.

    Raises:
        UserError: JAX has begun, with fewer devices than cores.
    """
    try:
        _make_cores_devices()
    except RuntimeError as error:
        found = len(jax.local_devices(backend="cpu"))
        raise UserError(
            "use_all_cores() must be called before JAX first computes, and it has"
            f" begun, with {found} of {usable_cores()} cores as devices; call it right"
            " after the imports"
        ) from error
    return len(jax.local_devices(backend="cpu"))


def _make_cores_devices() -> None:
    """Unless somebody has decided; RuntimeError if JAX has begun."""
    if not _decided() and usable_cores() > 1:
        jax.config.update("jax_num_cpu_devices", usable_cores())


def warn_of_idle_cores(platform: str) -> None:
    """Says, once per process, that work on this platform leaves cores idle."""
    # Nothing to say to whoever has chosen the number of devices.
    if platform != "cpu" or _decided() or usable_cores() == 1:
        return
    warnings.warn(
        f"{usable_cores() - 1} of {usable_cores()} cores are left to XLA's own"
        " threading, which keeps them half idle; call pixelcnn_jax.use_all_cores()"
        " before JAX first computes",
        IdleCoresWarning,
        stacklevel=1,  # a single place, so Python shows it once
    )


class IdleCoresWarning(UserWarning):
    """Work on a CPU is spread over fewer devices than it has cores."""


def configure_jax() -> None:
    """Settings of JAX that suit a process of its own; the user's own come first.

    On GPUs, operations whose result depends on the order of events are ruled out, so
    that a resumed run can end with the bits of one never interrupted.

    The cores of a CPU become devices (`use_all_cores`). Compiled programs are kept
    between processes. To be called before JAX first computes.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_gpu_deterministic_ops" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
    with contextlib.suppress(RuntimeError):  # JAX has begun: a test, a notebook
        _make_cores_devices()
    if _setting("jax_compilation_cache_dir") is None:
        with contextlib.suppress(RuntimeError):  # no home directory
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            jax.config.update("jax_compilation_cache_dir", str(home / "pixelcnn_jax"))


def deterministic(platform: str) -> dict[str, bool | int] | None:
    """Options of XLA's for programs whose results must be the same in each process.

    On a GPU it may otherwise choose among kernels by their speed, anew each time, and
    add numbers up in any order. To be passed to ``jax.jit`` as ``compiler_options``.
    """
    return {"xla_gpu_deterministic_ops": True} if platform == "gpu" else None


PATIENCE = 7 * 24 * 3600
"""Seconds that a device of a CPU waits for the others."""


def for_updates(platform: str) -> dict[str, bool | int] | None:
    """Options of XLA's for a program in which devices meet: `deterministic`, patient.

    XLA ends a process whose devices of a CPU wait for each other for 40 s, also if the
    process was stopped meanwhile: Ctrl-Z, or a laptop that slept.
    """
    if platform == "cpu":
        return {"xla_cpu_collective_call_terminate_timeout_seconds": PATIENCE}
    return deterministic(platform)


def _decided() -> bool:
    """Whether somebody has said how many devices a CPU is."""
    forced = FORCED in os.environ.get("XLA_FLAGS", "")
    return forced or _setting("jax_num_cpu_devices") != -1


def _setting(name: str) -> object:
    return getattr(jax.config, name)


def product_threads() -> int:
    """Threads among which XLA divides a product on a CPU, from its start on: as many as
    cores may be used, or as the variable ``NPROC`` says."""
    for name in ("PJRT_NPROC", "NPROC"):
        given = os.environ.get(name, "")
        if given.isdecimal() and int(given) > 0:
            return int(given)
    return affine_cores()


def affine_cores() -> int:
    """Cores that the system lets this process run on, whatever its share of them."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@functools.cache
def usable_cores() -> int:
    """Cores that this process may use, a container's share included."""
    cores, quota = affine_cores(), cpu_quota()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))

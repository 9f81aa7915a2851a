"""How JAX should use a machine that a process has to itself."""

import contextlib
import os
from pathlib import Path

import jax


def configure_jax() -> None:
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
        with contextlib.suppress(RuntimeError):  # no home directory
            home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
            jax.config.update("jax_compilation_cache_dir", str(home / "pixelcnn_jax"))


def _setting(name: str) -> object:
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

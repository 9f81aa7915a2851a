"""What a container may use of a machine, as Linux says it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Cores' worth of time that this process may use; None: no limit is known.

    The smallest of the limits of its control group and of all above it, in either
    version of control groups.

    Args:
        root: of the file system, for tests.
    """
    limits = [limit for group in _groups(root, "cpu") if (limit := _limit(group))]
    return min(limits, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes of memory that this process may use; None: no limit is known.

    As of `cpu_quota`.
    """
    limits = []
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):  # "max": no limit
                limits.append(int((group / name).read_text()))
    return min((limit for limit in limits if limit > 0), default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups and of those above them."""
    mount = root / "sys/fs/cgroup"
    yield mount
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = controllers.split(",")
        if controllers == "":  # version 2
            tops = [mount, mount / "unified"]
        elif controller in names:
            tops = [mount / controller, mount / controllers]
        else:
            continue
        below = Path(path.lstrip("/"))
        for top in tops:
            yield from (top / part for part in (below, *below.parents))


def _limit(group: Path) -> float | None:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text()
            period = (group / "cpu.cfs_period_us").read_text()
        except OSError:
            return None
    try:
        limit = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max": no limit
        return None
    return limit if limit > 0 else None  # -1: no limit

"""What the speed benchmarks write: tables, JSON, and on what machine it was."""

import datetime
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]


def environment() -> dict[str, Any]:
    """Command, date, commit, hardware and versions."""
    script = Path(sys.argv[0]).resolve()
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script
    devices = jax.devices()
    packages = ("jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "command": shlex.join(["python", str(name), *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "hardware": {
            "cpu": _cpu(),
            "cores": _cores(),
            "backend": jax.default_backend(),
            "devices": len(devices),
            "device_kind": devices[0].device_kind,
            "load_average_1_minute": os.getloadavg()[0],
        },
        "versions": {
            "python": platform.python_version(),
            **{package: importlib.metadata.version(package) for package in packages},
        },
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.partition(":")[2] for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0].strip()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _commit() -> str:
    """Of the working tree, with "+" where that has changes; "unknown" without git."""

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", *arguments]
        return subprocess.check_output(
            command, cwd=ROOT, text=True, stderr=subprocess.DEVNULL
        ).strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=10", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine_line(environment: dict[str, Any]) -> str:
    """The machine in a few words."""
    hardware = environment["hardware"]
    cpu = f"{hardware['cpu']}, {hardware['cores']} cores"
    if hardware["backend"] == "cpu":
        return f"{cpu} as {hardware['devices']} devices"
    return f"{hardware['devices']} x {hardware['device_kind']} ({cpu})"


def heading(title: str, environment: dict[str, Any]) -> str:
    """Title, command, machine, versions, date and commit."""
    versions = ", ".join(f"{k} {v}" for k, v in environment["versions"].items())
    return (
        f"# {title}\n\n"
        f"`{environment['command']}`\n\n"
        f"{machine_line(environment)}; {versions}; {environment['date'][:10]},"
        f" commit {environment['commit']}."
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, numbers to the right."""
    rule = ["---", *["---:"] * (len(columns) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (columns, rule, *rows))


def digits(number: float) -> str:
    """At least three significant digits, never in exponents."""
    if number >= 100:
        return f"{number:,.0f}"
    return f"{number:#.3g}".rstrip(".") if number >= 1e-4 else f"{number:.7f}"


def share(number: float) -> str:
    return f"{number:.1%}" if number >= 0.001 else f"{number:.3%}"


def faster(row: dict[str, Any], rival: dict[str, Any] | None) -> str:
    """How many times faster a row is than another of the same work, if there is one."""
    if rival is None or row is rival:
        return ""
    mark = "~" if row["extrapolated"] or rival["extrapolated"] else ""
    return f"{mark}{digits(rival['seconds'] / row['seconds'])}x"


def limit_line(results: dict[str, Any]) -> str:
    """The rates that bound the results."""
    rates = " and ".join(
        f"{rate / 1e9:,.0f} GFLOP/s in {dtype}"
        for dtype, rate in results["limit_flops_per_second"].items()
    )
    return f"Large matrix products of JAX ran here at {rates}."


def write(output: Path, name: str, text: str, results: dict[str, Any], figure: Figure):
    """Writes ``name`` as .md, .json and .png, and prints the first."""
    output.mkdir(parents=True, exist_ok=True)
    (output / f"{name}.md").write_text(text)
    (output / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    figure.savefig(output / f"{name}.png", dpi=110)
    print(text)

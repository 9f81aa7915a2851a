"""What the benchmarks write: tables, JSON, and on what machine it was.

Run as a program it puts the tables of their JSON files into a text:

    python benchmarks/report.py README.md

A table stands between ``<!-- table FILE.json -->`` and ``<!-- end -->``. After the file
``, only CONTESTANT`` may choose rows.
"""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

ROOT = Path(__file__).parents[1]


TRIALS = Path("runs/quick")
"""Where ``--quick`` writes, if it is not told where to."""


# Any: each benchmark has its own.
def apart(settings: Any) -> Any:
    """The settings, which for a trial write where they replace no results.

    Args:
        settings: a dataclass's with ``quick``, and perhaps folders ``output`` and
            ``workdir``.
    """
    if not settings.quick:
        return settings
    usual = [
        field.name
        for field in dataclasses.fields(settings)
        if field.name in ("output", "workdir")
        and getattr(settings, field.name) == field.default
    ]
    return dataclasses.replace(settings, **{name: TRIALS / name for name in usual})


def log_x(axes: Axes) -> None:
    """A logarithmic axis that is labelled with numbers, not powers of ten."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Not so many that they print over each other.
    subs = (1, 2, 5) if high < 1000 * low else (1,)
    axes.xaxis.set_major_locator(LogLocator(subs=subs))
    axes.xaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


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
            "cores": len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count(),
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


def _commit() -> str:
    """Of the working tree, with "+" if it has changes; "unknown" without git."""

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


def machine_line(results: dict[str, Any]) -> str:
    """The machine in a few words."""
    hardware = results["hardware"]
    cpu = f"{hardware['cpu']}, {hardware['cores']} cores"
    if hardware["backend"] == "cpu":
        return f"{cpu} as {hardware['devices']} devices"
    return f"{hardware['devices']} x {hardware['device_kind']} ({cpu})"


def source_line(results: dict[str, Any]) -> str:
    """Command, machine, versions, date and commit of a table."""
    versions = ", ".join(f"{k} {v}" for k, v in results["versions"].items())
    return (
        f"`{results['command']}`; {machine_line(results)}; {versions};"
        f" {results['date'][:10]}, commit {results['commit']}."
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


def write(output: Path, name: str, results: dict[str, Any], figure: Figure) -> None:
    """Writes ``name`` as .md, .json and .png, and prints the first.

    ``results`` holds an `environment`, ``title``, ``note`` and the ``columns`` and
    ``rows`` of a table; whatever else it holds goes into the JSON file.
    """
    output.mkdir(parents=True, exist_ok=True)
    text = f"# {results['title']}\n\n{results['note']}\n\n{as_markdown(results)}\n"
    (output / f"{name}.md").write_text(text)
    (output / f"{name}.json").write_text(json.dumps(results, indent=2) + "\n")
    figure.savefig(output / f"{name}.png", dpi=110)
    print(text)


def as_markdown(results: dict[str, Any], only: str | None = None) -> str:
    """The table, or some of its rows, and where it is from."""
    rows = [cells for cells in results["rows"] if only is None or cells[1] == only]
    return f"{table(results['columns'], rows)}\n\n{source_line(results)}"


def filled(text: str, folder: Path) -> str:
    """The text with the table of each JSON file that it names, relative to a folder.

    A table whose file is not there yet stays as it is.
    """

    def block(found: re.Match[str]) -> str:
        file = folder / found["file"]
        if not file.exists():
            print(f"{file} is not there", file=sys.stderr)
            return found[0]
        shown = as_markdown(json.loads(file.read_text()), found["only"])
        return f"{found['head']}\n{shown}\n<!-- end -->"

    return re.sub(BLOCK, block, text, flags=re.S)


BLOCK = (
    r"(?P<head><!-- table (?P<file>\S+\.json)(?:, only (?P<only>[^\n]+))? -->)\n"
    r"(?P<shown>.*?)<!-- end -->"
)
"""A table in a text."""


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        document = Path(argument)
        document.write_text(filled(document.read_text(), document.parent))

"""What the benchmarks share: fair turns, what the machine can do at best, reports.

Run as a program it puts the tables of the benchmarks' JSON files into a text:

    python benchmarks/machine.py README.md

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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from matplotlib.figure import Figure

ROOT = Path(__file__).parents[1]

TURN_SECONDS = 0.3
"""A contestant that is done sooner runs again in its turn; the mean counts."""

# --- turns


@dataclasses.dataclass(frozen=True)
class Contestant:
    """Something to time, with all its programs compiled."""

    name: str
    turn: Callable[[int], float]
    """Does the work, in the turn of this number, and returns its seconds."""
    scale: float = 1.0
    """The whole work as a multiple of what a turn times."""
    runs: list[float] = dataclasses.field(default_factory=list)
    """Seconds of each turn so far, not scaled."""

    @property
    def seconds(self) -> float:
        """The median, for the whole work."""
        return statistics.median(self.runs) * self.scale

    def to_json(self) -> dict[str, Any]:
        return {
            "contestant": self.name,
            "seconds": self.seconds,
            "seconds_low": min(self.runs) * self.scale,
            "seconds_high": max(self.runs) * self.scale,
            "measured_seconds": self.runs,
            "scale": self.scale,
        }


def contestant(
    name: str, run: Callable[[jax.Array], object], scale: float = 1.0
) -> Contestant:
    """One that works in this process; ``run`` gets a fresh key each time."""
    return Contestant(name, partial(take_turn, run), scale)


def take_turn(run: Callable[[jax.Array], object], number: int) -> float:
    """Mean seconds of a run, over as many as fill a turn.

    Raises:
        RuntimeError: a program was traced or compiled in the timed region.
    """
    jax.block_until_ready(jax.random.key(0))  # compiled here, not in anyone's turn
    before, spent, runs = len(_compiled), 0.0, 0
    while spent < TURN_SECONDS:
        key = jax.block_until_ready(jax.random.key(10_000 * number + runs))
        spent += seconds_of(partial(run, key))
        runs += 1
    if len(_compiled) > before:
        raise RuntimeError("a program was compiled again while it was timed")
    return spent / runs


def seconds_of(work: Callable[[], object]) -> float:
    """Wall-clock seconds until the result of ``work`` is there."""
    began = time.perf_counter()
    jax.block_until_ready(work())
    return time.perf_counter() - began


def measure(contestants: Sequence[Contestant], rounds: int, patience: float) -> None:
    """Lets the contestants take turns, so that drift hits all alike.

    Each round begins with another contestant. One that has run twice and for more than
    ``patience`` seconds in all sits out the rest.
    """
    for number in range(rounds):
        first = number % len(contestants)
        for one in (*contestants[first:], *contestants[:first]):
            if len(one.runs) < 2 or sum(one.runs) < patience:
                one.runs.append(one.turn(number))


def watch_compilation() -> None:
    """Every program is compiled anew in this process, and noted."""
    jax.config.update("jax_enable_compilation_cache", False)
    jax.monitoring.register_event_duration_secs_listener(_note)


_compiled: list[str] = []


def _note(event: str, duration_secs: float, **_: object) -> None:
    if event.startswith("/jax/core/compile/"):
        _compiled.append(event)


# --- the limit


def spread(x: object, devices: int) -> jax.Array:
    """An array with its first axis cut into a part for each of so many devices."""
    mesh = jax.make_mesh(
        (devices,),
        ("data",),
        axis_types=(AxisType.Auto,),
        devices=jax.devices()[:devices],
    )
    return jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))


class Limit:
    """The machine's rate of matrix products, which bounds all contestants.

    Large square products of JAX at its default precision, with float32 results, run
    among the contestants: once on a single device, once spread over all. The faster of
    the two counts.
    """

    def __init__(self, dtype: str, quick: bool):
        on_cpu, devices = jax.default_backend() == "cpu", jax.device_count()
        size = 256 if quick else 2048 if on_cpu else 8192
        size = -(-size // devices) * devices
        self._flops = 2 * size**3
        product = jax.jit(partial(jnp.matmul, preferred_element_type=jnp.float32))
        right = jnp.ones((size, size), dtype)
        lefts = [right, spread(right, devices)] if devices > 1 else [right]
        self.contestants = []
        for left in lefts:
            jax.block_until_ready(product(left, right))
            run = partial(lambda left, key: product(left, right), left)
            self.contestants.append(contestant(f"{dtype} product", run))

    @property
    def flops_per_second(self) -> float:
        return self._flops / min(one.seconds for one in self.contestants)


# --- reports


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

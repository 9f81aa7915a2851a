"""The table and the plot of a study of the quality benchmark.

A row for each recipe and number of minutes that is finished, from the JSON files that
quality.py keeps. Minutes of different processors can't be compared, so each row names
its own.
"""

import json
from pathlib import Path
from typing import Any

import report
from matplotlib.figure import Figure
from recipes import STUDIES
from report import digits

COLUMNS = (
    "recipe",
    "minutes",
    "best after",
    "parameters",
    "ms/update",
    "updates (epochs of images)",
    "nats/image",
    "test bits/dim",
    "class not known",
    "processor, date, commit",
)


def cells(found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    marginal = found.get("marginal_bits_per_dim")
    return [
        _name(found),
        f"{found['minutes']:.1f}",
        f"{found['best_minutes']:.1f}",
        f"{found['parameters']:,}",
        digits(1000 * found["seconds_per_update"]),
        f"{found['updates']:,} ({found['epochs']} of {found['images']:,})",
        digits(found["nats_per_image"]),
        f"{found['bits_per_dim']:.4f} +- {found['standard_error']:.4f}",
        "" if marginal is None else f"{marginal:.4f}",
        f"{_processor(found)}, {found['date'][:10]}, {found['commit']}",
    ]


def _name(found: dict[str, Any]) -> str:
    """The recipe, and the number type of products, if it is not float32."""
    dtype = found["config"]["model"]["dtype"]
    return found["recipe"] if dtype == "float32" else f"{found['recipe']} ({dtype})"


def _processor(found: dict[str, Any]) -> str:
    hardware = found["hardware"]
    return hardware["cpu" if hardware["backend"] == "cpu" else "device_kind"]


def draw(found: list[dict[str, Any]]) -> Figure:
    """Validation bits per dimension over the minutes; the test set's as dots.

    A recipe has one colour; all but its longest training are dashed.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(map(_name, found)))
    longest = {_name(one): one["asked_minutes"] for one in found}
    for one in found:
        name = _name(one)
        shorter = one["asked_minutes"] < longest[name]
        colour, style = f"C{names.index(name)}", "--" if shorter else "-"
        label = f"{name}, {one['minutes']:.3g} min"
        axes.plot(
            *zip(*one["curve"], strict=True), style, color=colour, label=label, lw=1
        )
        place = one["best_minutes"], one["bits_per_dim"]
        axes.plot(*place, "o", color=colour, ms=5, mec="white", mew=0.7)
    report.log_x(axes)
    # Not the first seconds, where all come down.
    best = [one["bits_per_dim"] for one in found]
    axes.set_ylim(0.97 * min(best), 1.25 * max(best))
    axes.set_xlabel("minutes of updates")
    axes.set_ylabel("bits/dim")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, title="line: validation, dot: test", title_fontsize=8)
    return figure


def write_study(study: str, output: Path) -> None:
    """Writes the table and the plot of all recipes that are finished."""
    files = sorted((output / "quality").glob(f"{study}-*.json"))
    found = [json.loads(file.read_text()) for file in files]
    order = list(STUDIES[study])
    found.sort(key=lambda one: (one["asked_minutes"], order.index(one["recipe"])))
    sizes = sorted({one["test_images"] for one in found})
    results = {
        **max(found, key=lambda one: one["date"]),
        "title": f"Quality: {study}",
        "note": "Minutes of updates by the time of one, measured before the training;"
        " on a CPU processor time of all cores. Each row"
        " with a schedule of its own, of whole epochs (of fewer images if one would not"
        " end in time), and judged where its validation images were best coded."
        " Given the class if the network knows classes. Test images:"
        f" {' or '.join(f'{size:,}' for size in sizes)}.",
        "columns": COLUMNS,
        "rows": [cells(one) for one in found],
    }
    name = f"quality_{study.replace('-', '_')}"
    report.write(output, name, results, draw(found))

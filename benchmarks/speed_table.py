"""What the benchmark of speed writes: its table and its plot."""

from typing import Any

import report
import rivals
from matplotlib.figure import Figure
from report import digits

LIMIT = "limit"
"""The machine's rate of matrix products, as a contestant."""


def columns_and_rows(
    found: list[dict[str, Any]], against: bool
) -> tuple[list[str], list[list[str]]]:
    """The table of what was measured, beside rivals or against another version."""
    columns = ["work", "contestant", "seconds", "lowest - highest", "images/s"]
    if against:
        columns.append("time, this / other")
        return columns, [[*_cells(row), *_against_cells(row)] for row in found]
    present = {row["contestant"] for row in found}
    others = [x for x in (rivals.PLAIN, rivals.BOOK, LIMIT) if x in present]
    columns += [f"speed / {name}" for name in others]
    shown = [row for row in found if row["contestant"] != LIMIT]
    return columns, [[*_cells(row), *_rival_cells(row, found, others)] for row in shown]


def _cells(row: dict[str, Any]) -> list[str]:
    mark = _mark(row)
    low, high = row["seconds_low"], row["seconds_high"]
    return [
        row["work"],
        row["contestant"],
        mark + digits(row["seconds"]),
        f"{mark}{digits(low)} - {digits(high)}",
        mark + digits(row["images_per_second"]),
    ]


def _mark(*rows: dict[str, Any]) -> str:
    return "~" if any(row["scale"] != 1 for row in rows) else ""


def _against_cells(row: dict[str, Any]) -> list[str]:
    is_new = row["contestant"] == "this"
    return [f"{row['time_this_by_other']:.3f}" if is_new else ""]


def _rival_cells(
    row: dict[str, Any], found: list[dict[str, Any]], names: list[str]
) -> list[str]:
    """How fast a row is beside each of the others of the same work."""
    same = {x["contestant"]: x for x in found if x["work"] == row["work"]}
    cells = []
    for name in names:
        rival = same.get(name)
        if rival is None or rival is row:
            cells.append("")
        else:
            speed = rival["seconds"] / row["seconds"]
            cells.append(f"{_mark(row, rival)}{digits(speed)}")
    return cells


def draw(results: dict[str, Any]) -> Figure:
    """Images per second of each contestant, work by work; hollow if extrapolated."""
    found = results["measurements"]
    figure = Figure(figsize=(8, 1 + 0.28 * len(found)), layout="constrained")
    axes = figure.subplots()
    names = list(dict.fromkeys(row["contestant"] for row in found))
    for place, row in enumerate(found):
        colour, number = f"C{names.index(row['contestant'])}", row["images_per_second"]
        hollow = row["scale"] != 1
        axes.barh(place, number, color="none" if hollow else colour, ec=colour)
        ends = [number * row["seconds"] / row[f"seconds_{e}"] for e in ("low", "high")]
        axes.plot(ends, [place, place], "k-", lw=1.5)
    labels = [f"{row['work']}: {row['contestant']}" for row in found]
    axes.set_yticks(range(len(found)), labels, fontsize=7)
    axes.invert_yaxis()
    # From zero if the bars differ by little: a log axis would exaggerate that.
    speeds = [row["images_per_second"] for row in found]
    axes.set_xscale("log" if max(speeds) > 20 * min(speeds) else "linear")
    some = any(row["scale"] != 1 for row in found)
    axes.set_xlabel("images per second" + ("; hollow: extrapolated" if some else ""))
    axes.set_title(report.machine_line(results), fontsize=9)
    axes.grid(axis="x", alpha=0.3)
    return figure

"""The tables of a run: a row per epoch.

They are for people. What a table lacks is lost, but never stops a training.
"""

import logging
import math
import os
from pathlib import Path
from typing import NamedTuple

from pixelcnn_jax.files import write_text

log = logging.getLogger(__name__)

METRICS = "metrics.csv"
TIMINGS = "timings.csv"
NAMES = (METRICS, TIMINGS)
TIMINGS_FIELDS = ("epoch", "seconds", "images_per_second")


DIGITS = 8
"""After the point, of figures in ``metrics.csv``."""


class Row(NamedTuple):
    """The figures of an epoch: a row of ``metrics.csv``."""

    epoch: int
    """From 1."""
    step: int
    """Updates made by its end."""
    train_bits_per_dim: float
    """Mean over the training images, each under the weights of its own update."""
    validation_bits_per_dim: float | None
    """Mean over the validation images under the weights at its end; None without."""


def read_metrics(folder: Path) -> list[Row]:
    """The rows of ``metrics.csv`` that are whole."""
    rows, _ = _read(folder / METRICS, Row._fields)
    return [_row(row) for row in rows]


def keep(folder: Path, step: int) -> list[Row]:
    """Drop what the tables say of later than this step; the metrics that stay.

    A table that is damaged is set aside, and its whole rows are kept.
    """
    metrics = _take(folder / METRICS, Row._fields)
    rows = [row for row in metrics if _row(row).step <= step]
    _rewrite(folder / METRICS, Row._fields, rows)
    # Timings have no step: they follow the epochs that stay.
    epochs = {row[0] for row in rows}
    timings = _take(folder / TIMINGS, TIMINGS_FIELDS)
    _rewrite(
        folder / TIMINGS, TIMINGS_FIELDS, [row for row in timings if row[0] in epochs]
    )
    return [_row(row) for row in rows]


def add_metrics(folder: Path, row: Row) -> None:
    """Append a row to ``metrics.csv``; see `keep`, which begins the table."""
    _append(folder / METRICS, [format_value(value) for value in row])


def add_timings(folder: Path, epoch: int, seconds: float, speed: float) -> None:
    """Append a row to ``timings.csv``."""
    _append(folder / TIMINGS, [str(epoch), f"{seconds:.2f}", f"{speed:.1f}"])


def format_value(value: float | None) -> str:
    """A number as ``metrics.csv`` holds it."""
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.{DIGITS}f}"


def _row(values: list[str]) -> Row:
    epoch, step, train, validation = values
    bits = float(validation) if validation else None
    return Row(int(epoch), int(step), float(train), bits)


def _read(path: Path, fields: tuple[str, ...]) -> tuple[list[list[str]], bool]:
    """The rows of a table that are whole, and whether others were among them."""
    try:
        lines = path.read_text().split("\n")
    except FileNotFoundError:
        return [], False
    except (OSError, UnicodeDecodeError):
        return [], True
    head, *body = lines
    # Every line ends with a newline, so nothing follows the last one.
    damaged = head != ",".join(fields) or not body or body[-1] != ""
    rows = [line.split(",") for line in body[:-1]]
    whole = [row for row in rows if _is_whole(row, fields)]
    return whole, damaged or len(whole) < len(rows)


def aside(name: str) -> str:
    """What a damaged table is called from then on."""
    return f"{name}.damaged"


def _take(path: Path, fields: tuple[str, ...]) -> list[list[str]]:
    """The whole rows of a table, which is set aside if there are others."""
    rows, damaged = _read(path, fields)
    if damaged:
        set_aside = path.with_name(aside(path.name))
        os.replace(path, set_aside)
        log.warning(
            "%s is damaged and now %s; its %d whole rows are kept",
            path,
            set_aside.name,
            len(rows),
        )
    return rows


def _rewrite(path: Path, fields: tuple[str, ...], rows: list[list[str]]) -> None:
    lines = [fields, *rows]
    write_text(path, "".join(",".join(line) + "\n" for line in lines))


def _is_whole(row: list[str], fields: tuple[str, ...]) -> bool:
    def is_number(field: str, value: str) -> bool:
        if field in ("epoch", "step"):
            # Python refuses to read numbers of thousands of digits.
            return value.isascii() and value.isdecimal() and len(value) < 19
        try:
            return math.isfinite(float(value))
        except ValueError:
            return field == "validation_bits_per_dim" and value == ""

    return len(row) == len(fields) and all(map(is_number, fields, row))


def _append(path: Path, row: list[str]) -> None:
    with open(path, "a") as file:
        file.write(",".join(row) + "\n")
        file.flush()
        # On disk before the checkpoint, after which nobody would write this row again.
        os.fsync(file.fileno())

"""The folder of a run: its lock, its settings, its tables."""

import csv
import os
from pathlib import Path

import filelock

from pixelcnn_jax import checkpoints
from pixelcnn_jax.config import Config, flatten, to_json
from pixelcnn_jax.errors import UserError

METRICS = "metrics.csv"
METRICS_FIELDS = ("epoch", "step", "train_bits_per_dim", "validation_bits_per_dim")
TIMINGS = "timings.csv"
TIMINGS_FIELDS = ("epoch", "seconds", "images_per_second")

MAY_CHANGE = ("training.epochs", "data.data_dir", "workdir")
"""Settings in which a resumed run may differ from what it was."""


class RunFolder:
    """A run's folder, held by this process alone; a context manager.

    Raises:
        UserError: the folder is a file or not writable, another process holds it, or it
            holds checkpoints of another configuration.
    """

    def __init__(self, config: Config):
        try:
            self.path = Path(config.workdir).expanduser()
            self.path.mkdir(parents=True, exist_ok=True)
            (self.path / "samples").mkdir(exist_ok=True)
            self._lock = filelock.FileLock(self.path / "lock")
            self._lock.acquire(blocking=False)
        except filelock.Timeout as error:
            raise UserError(
                f"only one process may train in a folder, and another one holds"
                f" {self.path}; wait for it, end it, or pass another --workdir"
            ) from error
        except (OSError, RuntimeError, NotImplementedError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(
                f"--workdir must be a folder that can be written, got {config.workdir}"
                f" ({reason}); pass another"
            ) from error
        try:
            self._check(config)
        except BaseException:
            self._lock.release()
            raise

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def _check(self, config: Config) -> None:
        if not checkpoints.steps(self.path):
            return
        old, new = flatten(checkpoints.read_config(self.path)), flatten(config)
        differences = [
            f"{name} {old.get(name)!r} (now {new.get(name)!r})"
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name) and name not in MAY_CHANGE
        ]
        if old["training.epochs"] > new["training.epochs"]:
            differences.append(
                f"training.epochs {old['training.epochs']}, which may only grow"
                f" (now {new['training.epochs']})"
            )
        if differences:
            raise UserError(
                "a run goes on only with its own settings, and"
                f" {self.path} has {', '.join(differences)};"
                " pass those or another --workdir"
            )

    def begin(self, config: Config) -> None:
        """Write down the settings; called once nothing can be wrong with them."""
        checkpoints.write_text(self.path / checkpoints.CONFIG, to_json(config))

    def keep_rows(self, step: int) -> list[dict[str, float]]:
        """Drop what the tables say of later than this step; the metrics that stay."""
        rows = [row for row in self.read(METRICS) if row["step"] <= step]
        self._rewrite(METRICS, METRICS_FIELDS, rows)
        timings = [row for row in self.read(TIMINGS) if row["epoch"] <= len(rows)]
        self._rewrite(TIMINGS, TIMINGS_FIELDS, timings)
        return rows

    def add_row(self, table: str, row: list[str]) -> None:
        """Append a row to a table."""
        with open(self.path / table, "a", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(row)
            file.flush()
            os.fsync(file.fileno())

    def read(self, table: str) -> list[dict[str, float]]:
        """The rows of a table; values that were not measured are left out."""
        if not (self.path / table).exists():
            return []
        with open(self.path / table, newline="") as file:
            return [
                {name: float(value) for name, value in row.items() if value}
                for row in csv.DictReader(file)
            ]

    def _rewrite(
        self, table: str, fields: tuple[str, ...], rows: list[dict[str, float]]
    ) -> None:
        lines = [",".join(fields)]
        for row in rows:
            lines.append(",".join(format_value(row.get(field)) for field in fields))
        checkpoints.write_text(self.path / table, "\n".join(lines) + "\n")


def format_value(value: float | None) -> str:
    """A number as the tables hold it: reading and writing it again changes nothing."""
    if value is None:
        return ""
    return str(int(value)) if float(value).is_integer() else f"{value:.8f}"

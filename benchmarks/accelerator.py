"""All that is to be known about an accelerator, in one command and so many minutes.

    python benchmarks/accelerator.py --minutes 9
    python benchmarks/accelerator.py --minutes 9 --data-dir FOLDER

In this order: do all methods draw the same images; the machine's limits; sampling
rates; training rates by number type, and with XLA's convolutions; PixelCNN++'s coarser
grids by conditionals and by static phases; where "auto" should change its method;
convolutions as gathered products beside XLA's own; and with the time left, if the
folder holds MNIST's four files, a training of `mnist-binary`. Each part writes a table,
a plot and a JSON file as soon as it is done, and a part or a row for which there is no
time is left out, so a stop costs what is under way. A part that fails is said at the
end, with exit status 1; the others are measured all the same.
"""

import dataclasses
import sys
import traceback
from collections.abc import Callable
from functools import partial

import quality
import report
import tyro
import worker
from accelerator_common import Bounds, Part, Settings
from accelerator_sampling import equality, limits, phases, sampling, threshold
from accelerator_training import convolutions, training
from matplotlib.figure import Figure

import pixelcnn_jax as pj
from pixelcnn_jax import data

PARTS = (equality, limits, sampling, training, phases, threshold, convolutions)


def train_with_the_rest(settings: Settings, bounds: Bounds) -> None:
    """`mnist-binary`, for as long as there is time: bits/dim over the minutes."""
    # A fifth for compiling, evaluating and drawing.
    minutes = max(0.0, 0.8 * bounds.seconds / 60)
    if minutes < 1 or settings.data_dir is None:
        print("no time, or no --data-dir, for a training")
        return
    quality.main(
        quality.Settings(
            "mnist-binary",  # pyright: ignore[reportArgumentType]
            recipes=("gated",),
            minutes=(round(minutes, 1),),
            data_dir=settings.data_dir,
            workdir=settings.output / "runs",
            output=settings.output,
        )
    )


def measure(
    part: Callable[[Settings, Bounds], Part], settings: Settings, bounds: Bounds
) -> None:
    write(settings, part(settings, bounds))


def write(settings: Settings, part: Part) -> None:
    results = {
        **report.environment(),
        "title": f"Accelerator: {part.name}",
        "note": part.note,
        "columns": part.columns,
        "rows": part.rows,
    }
    report.write(settings.output, part.name, results, draw(part))


def draw(part: Part) -> Figure:
    """Bars of the last column."""
    figure = Figure(figsize=(8, 1 + 0.3 * len(part.rows)), layout="constrained")
    axes = figure.subplots()
    numbers = [_number(row) for row in part.rows]
    bars = axes.barh(range(len(numbers)), numbers)
    axes.set_yticks(
        range(len(numbers)), [", ".join(r[: part.names]) for r in part.rows]
    )
    axes.bar_label(bars, [row[-1] for row in part.rows], padding=3, fontsize=8)
    axes.margins(x=0.12)  # for what stands beside the bars
    axes.invert_yaxis()
    axes.set_xlabel(part.columns[-1])
    axes.set_ylabel(", ".join(part.columns[: part.names]))
    # Bars of a logarithmic axis begin anywhere: only where others would not be seen.
    if numbers and min(numbers) > 0 and max(numbers) > 20 * min(numbers):
        report.log_x(axes)
    return figure


def _number(row: list[str]) -> float:
    return float(row[-1].split()[0].replace(",", ""))  # without its unit


def main(settings: Settings) -> None:
    worker.configure()
    if settings.data_dir is not None:  # if it can't be read, say so now
        run = pj.preset("mnist-binary")
        data.load(dataclasses.replace(run.data, data_dir=settings.data_dir), run.model)
    bounds, failed = Bounds(settings.minutes), []

    def attempt(name: str, work: Callable[[], None]) -> None:
        left = bounds.seconds
        try:
            work()
        # Whatever it is: the machine may be there but once.
        except Exception:
            traceback.print_exc()
            failed.append(name)
        else:
            print(f"{name} took {left - bounds.seconds:.0f} s\n")

    for part in PARTS:
        # The limits are needed for the shares of others.
        wanted = part is limits or part.__name__ in settings.parts
        if wanted and bounds.seconds > 0:
            attempt(part.__name__, partial(measure, part, settings, bounds))
    attempt("the training", partial(train_with_the_rest, settings, bounds))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; their errors stand above")


if __name__ == "__main__":
    main(report.apart(tyro.cli(Settings, description=__doc__)))

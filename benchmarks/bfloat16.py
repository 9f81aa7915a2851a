"""What does bfloat16 compute cost in likelihood? On the digits, in minutes.

    python benchmarks/bfloat16.py

The shipped model computed in either number type, and the same short training in either.
"""

import dataclasses
import sys
from pathlib import Path
from typing import Literal

import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

import report

import pixelcnn_jax as pj
from pixelcnn_jax import cli, data
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.params import from_params, to_params
from pixelcnn_jax.training import Trainer


@dataclasses.dataclass(frozen=True)
class Settings:
    epochs: int = 15
    """Of the short training."""


def main(settings: Settings) -> None:
    config = pj.preset("digits")
    splits = data.load(config.data, config.model)
    _, params = to_params(pj.load("digits"))
    training = dataclasses.replace(config.training, epochs=settings.epochs)
    print(report.heading("bfloat16 against float32", report.environment()), "\n")
    names: tuple[Literal["float32", "bfloat16"], ...] = ("float32", "bfloat16")
    for dtype in names:
        model = pj.build_model(dataclasses.replace(config.model, dtype=dtype))
        graph, _ = to_params(model)
        shipped = evaluate(from_params(graph, params), splits.test.images)
        trainer = Trainer(model, training, splits.train.images)
        state = trainer.init()
        for epoch in range(settings.epochs):
            order = data.batch_order(0, epoch, len(splits.train), training.batch_size)
            state = trainer.run(state, trainer.put_order(order), 0, trainer.batches)
        trained = evaluate(trainer.model(state), np.asarray(splits.test.images))
        print(
            f"{dtype}: the shipped model {shipped.bits_per_dim:.5f}, trained for"
            f" {settings.epochs} epochs {trained.bits_per_dim:.4f} bits/dim"
        )


if __name__ == "__main__":
    cli.use_machine_well()
    main(tyro.cli(Settings, description=__doc__))

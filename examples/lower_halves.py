"""Are drawn lower halves of digits as likely as the true ones?

    python examples/lower_halves.py

Each test digit is completed from its upper half. If the model were the truth, the mean
log-probabilities of the true and of the drawn lower halves would agree.
"""

import dataclasses

import jax
import numpy as np
import tyro

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.likelihood import Evaluation, evaluate_pixels
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run of the digits, or the shipped model."""
    images: int = 10_000
    """Test images, at most."""
    seed: int = 0
    """Of the completions."""


def main(settings: Settings) -> None:
    pj.use_all_cores()
    run = Run.named(settings.workdir)
    config, model = run.config(), run.load()
    test = data.load(config.data, config.model).test.first(settings.images)
    labels = test.for_model(config.model).labels
    images = np.asarray(test.images[:])
    half = images.shape[1] // 2
    known = np.zeros(images.shape[1:3], bool)
    known[:half] = True
    _, drawn = pj.complete(
        model,
        jax.random.key(settings.seed),
        images,
        known,
        labels=labels,
        batch_size=256,
        with_log_prob=True,
    )
    given = {
        "true": -evaluate_pixels(model, images, labels),
        "drawn": np.asarray(drawn)[:, 0],
    }
    for name, log_prob_BHW in given.items():
        found = Evaluation(log_prob_BHW[:, half:].sum((1, 2), dtype=float), 1)
        print(
            f"{name} lower halves: {found.nats_per_image:.2f} +-"
            f" {found.nats_standard_error:.2f} nats"
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

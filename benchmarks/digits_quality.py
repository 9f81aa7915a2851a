"""How good are the samples of a digits model? A classifier's opinion.

A support vector machine learns the ten classes from the training digits. Its mean
confidence (probability of the likeliest class) on samples is set beside its mean
confidence on the held-out test digits.

    python benchmarks/digits_quality.py --workdir runs/digits
"""

import dataclasses
import sys
from pathlib import Path
from typing import cast

import jax
import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, data


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run of the digits preset, or the shipped model."""
    num_images: int = 500
    """Samples to judge."""
    seed: int = 0
    """Of the samples."""


def main(settings: Settings) -> None:
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.datasets import load_digits
    from sklearn.svm import SVC

    config = checkpoints.read_config(checkpoints.run_folder(settings.workdir))
    splits = data.load(
        dataclasses.replace(config.data, validation_images=0), config.model
    )
    _, labels = cast(tuple, load_digits(return_X_y=True))
    labels = labels[np.random.default_rng(0).permutation(1797)]
    classifier = CalibratedClassifierCV(SVC(C=10), cv=5, ensemble=False)  # pyright: ignore
    classifier.fit(splits.train.images.reshape(1500, -1), labels[:1500])
    model = pj.load(settings.workdir)
    samples = pj.sample(model, jax.random.key(settings.seed), settings.num_images)
    accuracy = classifier.score(splits.test.images.reshape(297, -1), labels[1500:])
    print(f"classifier: {accuracy:.3f} accuracy on the 297 test digits")
    for name, images in (
        ("test digits", splits.test.images),
        ("samples", np.asarray(samples)),
    ):
        confidence = classifier.predict_proba(images.reshape(len(images), -1)).max(1)
        print(
            f"{name}: mean confidence {confidence.mean():.3f},"
            f" {np.mean(confidence > 0.9):.2f} of them above 0.9"
        )


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

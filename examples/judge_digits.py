"""How good are the samples of a digits model? A classifier's opinion.

A support vector machine learns the ten classes from the training digits. Its mean
confidence (probability of the likeliest class) on samples is set beside its mean
confidence on the held-out test digits.

    python examples/judge_digits.py --workdir runs/digits
"""

import dataclasses

import jax
import numpy as np
import tyro
from sklearn.calibration import CalibratedClassifierCV
from sklearn.svm import SVC

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run of the digits preset, or the shipped model."""
    num_images: int = 500
    """Samples to judge."""
    seed: int = 0
    """Of the samples."""


def main(settings: Settings) -> None:
    run = Run.named(settings.workdir)
    config, model = run.config(), run.load()
    splits = data.load(
        dataclasses.replace(config.data, validation_images=0), config.model
    )
    train, test = splits.train, splits.test
    test_images = np.asarray(test.images)
    classifier = CalibratedClassifierCV(SVC(C=10), cv=5, ensemble=False)  # pyright: ignore
    classifier.fit(flat(np.asarray(train.images)), train.labels)
    accuracy = classifier.score(flat(test_images), test.labels)
    print(f"classifier: {accuracy:.3f} accuracy on the {len(test)} test digits")
    classes = config.model.num_classes
    labels = np.arange(settings.num_images) % classes if classes else None
    key = jax.random.key(settings.seed)
    samples = np.asarray(pj.sample(model, key, settings.num_images, labels=labels))
    for name, images in (
        ("test digits", test_images),
        ("samples", samples),
    ):
        confidence = classifier.predict_proba(flat(images)).max(1)
        print(
            f"{name}: mean confidence {confidence.mean():.3f},"
            f" {np.mean(confidence > 0.9):.2f} of them above 0.9"
        )
    if labels is not None:
        right = np.mean(classifier.predict(flat(samples)) == labels)
        print(f"samples: {right:.3f} of them taken for the class that was asked for")


def flat(images: np.ndarray) -> np.ndarray:
    return images.reshape(len(images), -1)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

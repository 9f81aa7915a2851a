"""What evaluation says of images that may not belong."""

from functools import partial
from typing import NamedTuple

import numpy as np

from pixelcnn_jax.anomaly import AnomalyScores, anomaly_scores, auroc
from pixelcnn_jax.layers import OtherConditions
from pixelcnn_jax.likelihood import Evaluation, ImageRows
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.output import say


class Comparison(NamedTuple):
    """What a model's images are compared with."""

    background: PixelModel | None
    """Subtracts what all images have in common."""
    outliers: ImageRows | None
    """Images that do not belong."""

    def report(
        self,
        model: PixelModel,
        images: ImageRows,
        batch_size: int,
        given: OtherConditions,
    ) -> dict[str, np.ndarray]:
        """Print what the scores tell, and return them by name, to be kept.

        Args:
            model: that is judged by.
            images: that belong.
            batch_size: images per call.
            given: what they are conditioned on; outliers are on nothing.
        """
        if self.background is None and self.outliers is None:
            return {}
        score = partial(
            anomaly_scores, model, background=self.background, batch_size=batch_size
        )
        ours = score(images, **given)
        kept = _named("", ours)
        if ours.ratio is not None:
            less = Evaluation(-ours.ratio, 1)
            say(
                f"  {less.nats_per_image:.3f} +- {less.nats_standard_error:.3f}"
                " nats/image less than under the background model"
            )
        if self.outliers is not None:
            theirs = score(self.outliers)
            kept |= _named("outlier_", theirs)
            _print_auroc(ours, theirs)
        return kept


def _named(prefix: str, scores: AnomalyScores) -> dict[str, np.ndarray]:
    fields = scores._asdict().items()
    return {f"{prefix}anomaly_{name}": x for name, x in fields if x is not None}


def _print_auroc(ours: AnomalyScores, theirs: AnomalyScores) -> None:
    """How well each score tells outliers from the model's own images."""
    names = {
        "likelihood": "by likelihood alone",
        "ratio": "by the likelihood ratio to the background model",
        "complexity": "by likelihood less PNG length",
    }
    say(f"  AUROC of {len(theirs.likelihood)} outliers; 0.5 is chance, 1 perfect:")
    for field, words in names.items():
        belong, strange = getattr(ours, field), getattr(theirs, field)
        if belong is not None and strange is not None:
            say(f"    {auroc(belong, strange):.4f} {words}")

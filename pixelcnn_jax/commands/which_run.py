"""The flags that name a trained model."""

from typing import Annotated, TypeAlias

import tyro

from pixelcnn_jax.runs import Which, shipped_models

RunName: TypeAlias = Annotated[
    str,
    tyro.conf.arg(
        help="A run's folder, or a model that ships with the package:"
        f" {', '.join(shipped_models())}."
    ),
]

Checkpoint: TypeAlias = Annotated[
    Which,
    tyro.conf.arg(
        help="The best on the validation images (the latest if there were none), or the"
        " latest."
    ),
]

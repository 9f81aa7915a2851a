"""What the texts of flags choose: sizes, classes."""

import re

import numpy as np

from pixelcnn_jax.data import classes_in_turn
from pixelcnn_jax.errors import UserError, require


def parse_size(text: str | None, name: str = "size") -> tuple[int, int] | None:
    """Height and width from the text of a flag, such as 32x64."""
    if text is None:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})x([1-9]\d{0,4})", text)
    if found is None:
        raise UserError(f"{name} must be height x width, such as 32x64, got {text}")
    return int(found[1]), int(found[2])


def parse_labels(
    text: str | None, num_images: int, num_classes: int
) -> np.ndarray | None:
    """The class of each image, int32 ``[num_images]``, from the text of a flag."""
    return classes_in_turn(parse_classes(text, num_classes), num_images)


def parse_classes(text: str | None, num_classes: int) -> list[int]:
    """The classes that the text of a flag names; all if it is None, [] for none."""
    if num_classes == 0:
        require(
            text is None,
            f"labels need a model with classes, got {text} for one without; leave them"
            " out",
        )
        return []
    if text == "none":
        return []
    named = f"0-{num_classes - 1}" if text is None else text
    parts = [
        re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part) for part in named.split(",")
    ]
    bounds = [(int(part[1]), int(part[2] or part[1])) for part in parts if part]
    require(
        all(parts) and all(low <= high < num_classes for low, high in bounds),
        f"labels must be classes from 0 to {num_classes - 1}, such as 3 or 0-2 or"
        f" 1,4, got {named}",
    )
    return [label for low, high in bounds for label in range(low, high + 1)]

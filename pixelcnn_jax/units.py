"""From nats to bits per dimension."""

import math
from typing import TypeVar

import jax
import numpy as np

Number = TypeVar("Number", float, np.ndarray, jax.Array)


def bits_per_dim(nats: Number, dims: int) -> Number:
    """``nats / (dims * ln 2)``, for one number or many.

    Args:
        nats: a negative log-likelihood, or an array of them.
        dims: how many dimensions it is of: H * W * C for one image.
    """
    return nats / (dims * math.log(2))

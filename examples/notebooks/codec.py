# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A codec in twenty lines
#
# Whoever can say how likely each value is can compress: a value of probability $p$
# takes $-\log_2 p$ bits. An arithmetic coder writes a whole image as one number in an
# interval that each value makes narrower, by its probability. Python's integers have as
# many digits as it takes, so the coder is as short as its idea. (`pj.compress` does the
# same for many images at a time, into a checked file.)

# %%
import os
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import data, pictures

pj.use_all_cores()
# Smaller numbers, to try the notebook out.
COUNT = 2 if "QUICK" in os.environ else 16
PICTURES = Path(os.environ.get("PICTURES", "pictures"))
PICTURES.mkdir(exist_ok=True)

config = pj.preset("digits")
model = pj.load("digits")
images = data.load(config.data, config.model).test.levels(data.TEST_SEED)[:COUNT]

# %% [markdown]
# ## The laws
#
# A stepper gives the law of the next value, given those before it. Encoder and decoder
# must compute the very same numbers: they run the same compiled step, and round its
# probabilities to whole parts of $2^{16}$, at least one for each level.

# %%
BITS = 16
graph, params = nnx.split(model)


@jax.jit
def law(params, state):
    stepper = pj.Stepper(nnx.merge(graph, params), COUNT)
    return stepper.next(state)


@jax.jit
def push(params, state, values):
    return pj.Stepper(nnx.merge(graph, params), COUNT).push(state, values)


def parts(log_probs):
    """Whole numbers ``[B, V]`` that add up to ``2 ** BITS``."""
    free = 2**BITS - log_probs.shape[1]
    found = 1 + np.floor(np.exp(np.float64(log_probs)) * free * (1 - 1e-6)).astype(int)
    found[:, 0] += 2**BITS - found.sum(1)
    return found


# %% [markdown]
# ## The codec


# %%
def encode(images):
    """A number of bytes for each image."""
    state, intervals = pj.Stepper(model, COUNT).begin(), [(0, 1)] * COUNT
    for values in images.reshape(COUNT, -1).T:
        log_probs, state = law(params, state)
        for i, (part, value) in enumerate(zip(parts(log_probs), values, strict=True)):
            low, width = intervals[i]
            low = (low << BITS) + width * int(part[:value].sum())
            intervals[i] = (low, width * int(part[value]))
        state = push(params, state, values)
    total = BITS * images[0].size
    return [shortest(low, width, total) for low, width in intervals]


def shortest(low, width, total):
    """The fewest bytes whose number, zeros after it, lies in the interval."""
    size = -(-(total - width.bit_length() + 1) // 8)
    spare = total - 8 * size
    return (-(-low >> spare)).to_bytes(size, "big") if spare > 0 else b""


def decode(codes):
    """The images again."""
    state, total = pj.Stepper(model, COUNT).begin(), BITS * images[0].size
    rest = [int.from_bytes(c, "big") << (total - 8 * len(c)) for c in codes]
    widths, found = [1] * COUNT, []
    for place in range(images[0].size):
        log_probs, state = law(params, state)
        below = total - BITS * (place + 1)  # bits that later values will need
        values = []
        for i, part in enumerate(parts(log_probs)):
            starts = np.cumsum(part) - part
            target = (rest[i] >> below) // widths[i]
            values.append(int(np.searchsorted(starts, target, side="right")) - 1)
            rest[i] -= (widths[i] * int(starts[values[-1]])) << below
            widths[i] *= int(part[values[-1]])
        found.append(np.array(values, np.int32))
        state = push(params, state, found[-1])
    return np.stack(found, 1).reshape(images.shape)


codes = encode(images)
back = decode(codes)
assert (back == images).all()

# %% [markdown]
# ## How good is it?
#
# As good as the model: the bytes are those of the likelihood, rounded up.

# %%
ideal = -np.asarray(pj.log_prob(model, images)) / np.log(2) / 8
raw = images[0].size * np.log2(model.config.levels) / 8
for code, bound in list(zip(codes, ideal, strict=True))[:8]:
    print(f"{len(code):3} bytes; the likelihood says {bound:5.1f}, raw are {raw:.0f}")
assert all(
    bound <= len(code) + 1 and len(code) <= bound + 2
    for code, bound in zip(codes, ideal, strict=True)
)
Image.fromarray(pictures.grid(back, model.config.levels)).save(PICTURES / "decoded.png")

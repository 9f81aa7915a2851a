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
# # Completions and scores
#
# What a trained model can do besides drawing whole images: complete them, say how
# likely they are, and where it hesitated.

# %%
import os
from pathlib import Path

import jax
import numpy as np
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import data, pictures

pj.use_all_cores()
# Smaller numbers, to try the notebook out.
COUNT = 4 if "QUICK" in os.environ else 8
PICTURES = Path(os.environ.get("PICTURES", "pictures"))
PICTURES.mkdir(exist_ok=True)


def show(picture, name):
    """Keeps a picture, and shows it in a notebook."""
    image = Image.fromarray(picture)
    image.save(PICTURES / f"{name}.png")
    return image


config = pj.preset("digits")
model = pj.load("digits")
test = np.asarray(data.load(config.data, config.model).test.levels(data.TEST_SEED))
LEVELS = model.config.levels

# %% [markdown]
# ## Completion
#
# The upper halves are known. Each unknown pixel is drawn in raster order, given all
# before it, so the lower halves follow exactly the model's law of them.

# %%
known = np.zeros((16, 16), bool)
known[:8] = True
images = test[:COUNT]
filled = np.asarray(
    pj.complete(model, jax.random.key(0), images, known, num_completions=COUNT - 1)
)
rows = np.concatenate([images[:, None], filled], axis=1)
labels = np.arange(COUNT).repeat(COUNT)
show(pictures.grid(rows.reshape(-1, 16, 16, 1), LEVELS, labels), "completions")

# %% [markdown]
# The first column is the truth. How likely is its lower half beside those that were
# drawn? The log-probability of a part is the sum over its pixels.

# %%
every = rows.reshape(-1, 16, 16, 1)
nats = np.asarray(pj.pixel_log_prob(model, every))[:, 8:].sum((1, 2))
nats = nats.reshape(COUNT, COUNT)
print(f"true lower halves:  {nats[:, 0].mean():.1f} nats")
print(f"drawn lower halves: {nats[:, 1:].mean():.1f} nats")

# %% [markdown]
# ## Where the model hesitated
#
# Before each pixel the model has a law of its level. The entropy of that law is high
# where the image could go on in several ways.

# %%
doubts = np.asarray(pj.entropy_map(model, every))
heat = pictures.to_heat(doubts, doubts.max())
show(pictures.arrange(heat, labels), "entropies")

# %% [markdown]
# ## Scores
#
# Bits per dimension of every test digit: the usual ones are cheap, the strange ones
# dear. A digit upside down is strange, and noise is out of the question.

# %%
bits = np.asarray(pj.bits_per_dim(model, test))
order = bits.argsort()
chosen = np.concatenate([test[order[:COUNT]], test[order[-COUNT:]]])
show(pictures.grid(chosen, LEVELS, np.arange(2).repeat(COUNT)), "likely_and_unlikely")

# %%
noise = np.random.default_rng(0).integers(0, LEVELS, test.shape)
for name, found in {
    "test digits": bits,
    "upside down": pj.bits_per_dim(model, test[:, ::-1]),
    "noise": pj.bits_per_dim(model, noise),
}.items():
    print(f"{name:12} {np.mean(found):.3f} bits/dim")

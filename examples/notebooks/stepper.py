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
# # A stepper
#
# `pj.Stepper` gives the law of the next value, takes the value that you choose, and
# goes on from there: for algorithms that are not in the package.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import pictures

pj.use_all_cores()
# Smaller numbers, to try the notebook out.
COUNT = 4 if "QUICK" in os.environ else 16
PICTURES = Path(os.environ.get("PICTURES", "pictures"))
PICTURES.mkdir(exist_ok=True)


def show(values_TB, name):
    """Keeps a picture of values in raster order, and shows it in a notebook."""
    images = np.asarray(values_TB).T.reshape(COUNT, 16, 16, 1)
    image = Image.fromarray(pictures.grid(images, model.config.levels))
    image.save(PICTURES / f"{name}.png")
    return image


model = pj.load("digits")
graph, params = nnx.split(model)

# %% [markdown]
# ## One value after another
#
# Three methods: `begin`, `next`, `push`. They are pure functions and a state is a
# value, so a whole image is one `scan`. What `choose` makes of a law is up to you.


# %%
def walk(choose, state, first, last):
    """Values ``[T, B]`` of some positions, their log-probabilities, the state."""

    @jax.jit
    def run(params, state):
        stepper = pj.Stepper(nnx.merge(graph, params), COUNT)

        def step(state, place):
            log_probs_BV, state = stepper.next(state)
            values_B = choose(log_probs_BV, place)
            chosen_B = jnp.take_along_axis(log_probs_BV, values_B[:, None], 1)[:, 0]
            return stepper.push(state, values_B), (values_B, chosen_B)

        return jax.lax.scan(step, state, jnp.arange(first, last))

    state, (values_TB, chosen_TB) = run(params, state)
    return values_TB, chosen_TB.sum(0), state


def draw(seed):
    """The choice that draws from the law: plain sampling."""

    def choose(log_probs_BV, place):
        key = jax.random.fold_in(jax.random.key(seed), place)
        return jax.random.categorical(key, log_probs_BV)

    return choose


begin = pj.Stepper(model, COUNT).begin()
values, log_prob, _ = walk(draw(0), begin, 0, 256)
images = np.asarray(values).T.reshape(COUNT, 16, 16, 1)
print("chain: ", log_prob[:3])
print("at once:", pj.log_prob(model, images)[:3])
np.testing.assert_allclose(log_prob, pj.log_prob(model, images), rtol=1e-3)
show(values, "drawn")

# %% [markdown]
# ## A rule of your own
#
# A choice may leave out what it does not like. Here the second brightest level is not
# allowed: the model makes do with the others.


# %%
def without_one(log_probs_BV, place):
    key = jax.random.fold_in(jax.random.key(0), place)
    return jax.random.categorical(key, log_probs_BV.at[:, 2].set(-jnp.inf))


values, _, _ = walk(without_one, begin, 0, 256)
assert not (np.asarray(values) == 2).any()
show(values, "without_one_level")

# %% [markdown]
# ## Several endings
#
# States are values, so one can be gone back to. The upper half of the first image is
# drawn once; from the state after it, every image of the batch goes on in its own way.


# %%
def alike(log_probs_BV, place):
    first = draw(3)(log_probs_BV, place)[0]
    return jnp.full(COUNT, first)


upper, _, middle = walk(alike, begin, 0, 128)
lower, _, _ = walk(draw(4), middle, 128, 256)
show(np.concatenate([upper, lower]), "endings")

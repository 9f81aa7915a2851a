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
# # From masked convolution to samples
#
# The section on PixelCNN of D. Foster's *Generative Deep Learning* (2nd ed., chapter
# 5), first in plain JAX, then with this package. A PixelCNN writes the probability of
# an image as a product over its pixels in raster order, each given all earlier ones:
# $p(x) = \prod_i p(x_i \mid x_1, \dots, x_{i-1})$.

# %%
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import data, pictures
from pixelcnn_jax.config import TrainingConfig

pj.use_all_cores()
# Smaller numbers, to try the notebook out.
QUICK = "QUICK" in os.environ
FEATURES, STEPS = (8, 20) if QUICK else (64, 600)
PICTURES = Path(os.environ.get("PICTURES", "pictures"))
PICTURES.mkdir(exist_ok=True)


def show(picture, name):
    """Keeps a picture, and shows it in a notebook."""
    image = Image.fromarray(picture)
    image.save(PICTURES / f"{name}.png")
    return image


# %% [markdown]
# ## The data
#
# Handwritten digits that come with scikit-learn, 16x16 pixels of 4 grey levels, as in
# the book's experiment. A pixel is one of four classes, so its law is a softmax.

# %%
config = pj.preset("digits")
splits = data.load(config.data, config.model)
train = np.asarray(splits.train.levels(data.TRAIN_SEED))
test = np.asarray(splits.test.levels(data.TEST_SEED))
LEVELS = config.model.levels
show(pictures.grid(train[:16], LEVELS), "digits")

# %% [markdown]
# ## The masked convolution
#
# An ordinary convolution sees all around a pixel. Multiplied by a mask of zeros and
# ones its kernel sees only what comes earlier. Type A, for the first layer, hides the
# pixel itself as well; type B shows it, since from there on a position holds only what
# the first layer has let through.


# %%
def mask(size, kind):
    """Ones where a kernel may look, ``[size, size]``."""
    seen = np.zeros((size, size), np.float32)
    half = size // 2
    seen[:half] = 1
    seen[half, : half + (kind == "B")] = 1
    return seen


def masked_conv(x, layer, kind):
    """``[B, H, W, C]`` to ``[B, H, W, D]``."""
    kernel = layer["kernel"] * mask(len(layer["kernel"]), kind)[:, :, None, None]
    y = jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + layer["bias"]


both = np.stack([mask(5, "A"), mask(5, "B")])[..., None].astype(int)
show(pictures.grid(both, 2), "masks")

# %% [markdown]
# ## The network
#
# A masked 7x7 layer, residual blocks of 1x1, masked 3x3 and 1x1 layers, and a softmax.


# %%
def make(key, size, features, outputs):
    """A layer with the book's initial weights."""
    limit = np.sqrt(6 / (size**2 * (features + outputs)))
    shape = (size, size, features, outputs)
    kernel = jax.random.uniform(key, shape, minval=-limit, maxval=limit)
    return {"kernel": kernel, "bias": jnp.zeros(outputs)}


def network(params, images):
    """Logits ``[B, H, W, LEVELS]`` of each pixel, given all earlier ones."""
    x = images / LEVELS
    x = jax.nn.relu(masked_conv(x, params["first"], "A"))
    for first, middle, last in params["blocks"]:
        y = jax.nn.relu(masked_conv(x, first, "B"))
        y = jax.nn.relu(masked_conv(y, middle, "B"))
        x = x + jax.nn.relu(masked_conv(y, last, "B"))
    return masked_conv(x, params["out"], "B")


keys = iter(jax.random.split(jax.random.key(0), 17))
half = FEATURES // 2
params = {
    "first": make(next(keys), 7, 1, FEATURES),
    "blocks": [
        [
            make(next(keys), 1, FEATURES, half),
            make(next(keys), 3, half, half),
            make(next(keys), 1, half, FEATURES),
        ]
        for _ in range(3)
    ],
    "out": make(next(keys), 1, FEATURES, LEVELS),
}

# %% [markdown]
# **Does a pixel see itself?** The Jacobian of the logits says exactly what depends on
# what. Whatever comes at or after a pixel must have no influence at all: zero, not
# nearly zero.

# %%
image = jnp.asarray(train[:1], jnp.float32)
jacobian = jax.jacobian(lambda x: network(params, x).sum(-1))(image)
seen = np.abs(np.asarray(jacobian).reshape(256, 256)) > 0
assert not np.triu(seen).any(), "a pixel sees itself, or the future"
field = seen[9 * 16 + 7].reshape(1, 16, 16, 1).astype(int)
show(pictures.grid(field, 2), "receptive_field")


# %% [markdown]
# ## Training
#
# One pass gives the law of every pixel at once, so the loss is the cross entropy of all
# pixels. In bits per pixel, four levels that are all alike cost 2.


# %%
def loss(params, images) -> jax.Array:
    """Bits per dimension."""
    nats = optax.softmax_cross_entropy_with_integer_labels(
        network(params, images), images[..., 0]
    )
    return nats.mean() / jnp.log(2)


def train_network(params, steps):
    """The parameters after so many updates, of 64 images each."""
    optimizer, rng = optax.adam(1e-3), np.random.default_rng(0)

    @jax.jit
    def update(params, state, images):
        value, gradient = jax.value_and_grad(loss)(params, images)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), state, value

    state = optimizer.init(params)
    for step in range(steps):
        params, state, bits = update(params, state, rng.choice(train, 64))
        if step % max(1, steps // 5) == 0:
            print(f"step {step:4}: {bits:.3f} bits/dim")
    return params


trained = train_network(params, STEPS)
print(f"test: {jax.jit(loss)(trained, test):.3f} bits/dim")

# %% [markdown]
# ## Samples, the book's way
#
# Pixel after pixel: run the network on the image so far, draw one pixel, put it in. The
# whole network runs 256 times, and of each run one pixel is used.


# %%
@jax.jit
def draw(params, key):
    def visit(place, images):
        row, column = place // 16, place % 16
        logits = network(params, images)[:, row, column]
        pixel = jax.random.categorical(jax.random.fold_in(key, place), logits)
        return images.at[:, row, column, 0].set(pixel)

    return jax.lax.fori_loop(0, 256, visit, jnp.zeros((16, 16, 16, 1), jnp.int32))


samples = np.asarray(draw(trained, jax.random.key(1)))
show(pictures.grid(samples, LEVELS), "book_samples")

# %% [markdown]
# ## The same with the package
#
# The book's network in full, the same steps, and samples from caches: what was computed
# for earlier pixels stays where it is needed, and each step computes one position.

# %%
small = pj.Config(
    model=pj.PixelCNNConfig(
        height=16, width=16, levels=LEVELS, features=FEATURES, num_blocks=3
    ),
    training=TrainingConfig(
        epochs=max(1, STEPS * 64 // len(train)), batch_size=64, learning_rate=1e-3
    ),
)
model, history = pj.fit(small, train[:64] if QUICK else train)
print(f"test: {pj.bits_per_dim(model, test).mean():.3f} bits/dim")
samples = pj.sample(model, jax.random.key(1), 16)
show(pictures.grid(np.asarray(samples), LEVELS), "package_samples")

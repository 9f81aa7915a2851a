"""Draws upper halves of digits given their lower halves, by Metropolis and Hastings.

    python examples/metropolis.py --output metropolis.png

A completion draws each pixel given those before it, and can't look ahead at a lower
half that is known. A Markov chain can: it proposes to draw a few pixels anew from the
model's law of them, as a stepper gives it, and accepts by how likely all other pixels
then are. In the long run the images are those of the model given what is known.

    W. K. Hastings, Monte Carlo sampling methods using Markov chains, 1970
"""

import dataclasses
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from flax import nnx
from PIL import Image

import pixelcnn_jax as pj
from pixelcnn_jax import data, pictures
from pixelcnn_jax.runs import Run


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run whose model has no classes, or the shipped model."""
    chains: int = 16
    """Test images, each with a chain of its own."""
    steps: int = 100
    """Proposals of each chain."""
    length: int = 12
    """Pixels that a proposal draws anew, one after another in raster order."""
    seed: int = 0
    """Another one draws other images."""
    output: Path | None = None
    """A picture, four rows: the images, what is known, the start, the end."""


class Chain(NamedTuple):
    """Where the chains are."""

    values_TB: jax.Array
    """The images, value after value in raster order."""
    log_probs_TB: jax.Array
    """Of each value given those before it."""


def redraw(
    stepper: pj.Stepper, key: jax.Array, values_TB: jax.Array, anew_TB: jax.Array
) -> Chain:
    """The images with some values drawn anew from the model's law of them."""

    def step(state, inputs):
        key, old_B, anew_B = inputs
        log_probs_BV, state = stepper.next(state)
        drawn_B = jax.random.categorical(key, log_probs_BV)
        values_B = jnp.where(anew_B, drawn_B, old_B)
        own_B = jnp.take_along_axis(log_probs_BV, values_B[:, None], axis=1)[:, 0]
        return stepper.push(state, values_B), (values_B, own_B)

    keys = jax.random.split(key, len(values_TB))
    _, found = jax.lax.scan(step, stepper.begin(), (keys, values_TB, anew_TB))
    return Chain(*found)


@partial(jax.jit, static_argnums=(0, 5, 6))
def sample(
    graph: nnx.GraphDef[pj.PixelModel],
    params: nnx.State,
    key: jax.Array,
    values_TB: jax.Array,
    known_TB: jax.Array,
    steps: int,
    length: int,
) -> tuple[Chain, Chain, jax.Array]:
    """The chains at their start and at their end, and the share of accepted steps."""
    model = nnx.merge(graph, params)
    total, chains = values_TB.shape
    stepper = pj.Stepper(model, chains)
    place_T1 = jnp.arange(total)[:, None]

    def propose(number, carry):
        chain, accepted = carry
        keys = jax.random.split(jax.random.fold_in(key, number), 3)
        first_B = jax.random.randint(keys[0], (chains,), 1 - length, total)
        anew_TB = (place_T1 >= first_B) & (place_T1 < first_B + length) & ~known_TB
        new = redraw(stepper, keys[1], chain.values_TB, anew_TB)
        # What is drawn anew has the model's law in both directions and cancels out.
        change_TB = jnp.where(anew_TB, 0, new.log_probs_TB - chain.log_probs_TB)
        noise_B = jnp.log(jax.random.uniform(keys[2], (chains,)))
        take_B = noise_B < change_TB.sum(0)
        chain = jax.tree.map(lambda a, b: jnp.where(take_B, a, b), new, chain)
        return chain, accepted + take_B.mean() / steps

    start = redraw(stepper, jax.random.fold_in(key, steps), values_TB, ~known_TB)
    begin = (start, jnp.float32(0))
    end, accepted = jax.lax.fori_loop(0, steps, propose, begin)
    return start, end, accepted


def main(settings: Settings) -> None:
    run = Run.named(settings.workdir)
    config, model = run.config(), run.load()
    digits = data.load(config.data, config.model).test.first(settings.chains)
    images = np.asarray(digits.images, np.int32)
    known = np.zeros(images.shape, bool)
    known[:, images.shape[1] // 2 :] = True
    graph, params = nnx.split(model)
    start, end, accepted = sample(
        graph,
        params,
        jax.random.key(settings.seed),
        images.reshape(len(images), -1).T,
        known.reshape(len(images), -1).T,
        settings.steps,
        settings.length,
    )
    print(f"accepted: {accepted:.2f} of the proposals")
    for name, chain in (("start", start), ("end", end)):
        print(f"{name}: {chain.log_probs_TB.sum(0).mean():.2f} nats/image")
    if settings.output is not None:
        ends = [chain.values_TB.T.reshape(images.shape) for chain in (start, end)]
        rows = np.concatenate([images, images * known, *ends])
        labels = np.repeat(np.arange(4), len(images))
        picture = pictures.grid(rows, model.config.levels, labels)
        Image.fromarray(picture).save(settings.output)


if __name__ == "__main__":
    main(tyro.cli(Settings, description=__doc__))

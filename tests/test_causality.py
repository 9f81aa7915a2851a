"""No output sees itself or later ones; all of the receptive field is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from tests.conftest import random_images, tiny_model

SHAPES = [
    dict(height=7, width=6),
    dict(height=4, width=9, first_kernel_size=7, num_blocks=1),
    dict(height=5, width=5, first_kernel_size=3, kernel_size=5),
    dict(height=4, width=5, channels=3, features=12, levels=3),
]


def dependence(model: pj.PixelCNN, x: jax.Array) -> np.ndarray:
    """Sum over levels of |d logits / d input|: ``[H, W, C, H, W, C]``."""
    jacobian = jax.jit(jax.jacrev(lambda x: model.network(x[None])[0]))(x)
    return np.asarray(jnp.abs(jacobian).sum(3))


def earlier(shape: tuple[int, ...]) -> np.ndarray:
    """What comes strictly earlier in raster order, ``[H, W, C, H, W, C]``."""
    size = int(np.prod(shape))
    return np.tril(np.ones((size, size), bool), -1).reshape(*shape, *shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_sees_itself_or_later_ones(shape: dict):
    model = tiny_model(**shape)
    x = model.encode(jnp.asarray(random_images(model, 1)))[0]
    seen = dependence(model, x)
    assert (seen[~earlier(x.shape)] == 0).all()
    assert seen.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_exactly_the_receptive_field_is_seen(shape: dict):
    model = tiny_model(**shape)
    graph, state = nnx.split(model)
    # With positive weights and inputs no ReLU is dead and nothing cancels. Were all
    # logits of a pixel equal functions, the sum over levels would still be positive.
    positive = nnx.merge(graph, jax.tree.map(lambda w: jnp.abs(w) + 0.01, state))
    x = model.encode(jnp.asarray(random_images(model, 1)))[0] + 0.1
    assert ((dependence(positive, x) > 0) == model.receptive_field()).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_flipping_a_pixel_moves_no_earlier_conditional(shape: dict):
    model = tiny_model(**shape)
    images = random_images(model, 1)
    logits = model(jnp.asarray(images))
    before = np.asarray(model.distribution.log_prob(logits, images))
    order = earlier(images.shape[1:])
    apply = jax.jit(lambda images: model(images))
    for place in np.ndindex(*images.shape[1:]):
        other = images.copy()
        other[(0, *place)] = (other[(0, *place)] + 1) % model.config.levels
        after = model.distribution.log_prob(apply(other), other)
        unmoved = order[place]  # all that comes before `place`
        assert (np.asarray(after)[0][unmoved] == before[0][unmoved]).all()
        assert after[0][place] != before[0][place]


def test_the_module_holds_its_parameters_and_nothing_else():
    model = tiny_model()
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    kernels_and_biases = 2 * len(model.causal_layers())
    assert len(jax.tree.leaves(params)) == kernels_and_biases


def test_weights_behind_the_mask_have_no_effect():
    model = nnx.clone(tiny_model())
    images = jnp.asarray(random_images(model, 2))
    before = model(images)
    for layer in model.causal_layers():
        layer.kernel[...] = jnp.where(layer.mask == 0, jnp.nan, layer.kernel[...])
    after = model(images)
    # nan * 0 is nan: only taps that are closed altogether may hold one unseen.
    first = model.first
    assert first.mask[-1, first.kernel_size // 2 :].sum() == 0
    assert (before == after).all()


def test_the_books_network_has_the_published_size():
    model = pj.build_model(pj.PixelCNNConfig())
    layers = model.causal_layers()
    full = [
        layer.kernel_size**2 * layer.in_features * layer.out_features
        + layer.out_features
        for layer in layers
    ]
    live = [int(layer.mask.sum()) + layer.out_features for layer in layers]
    assert (sum(full), sum(live)) == (307_460, 222_340)


def test_activations_neither_grow_nor_vanish_at_initialisation():
    model = pj.build_model(pj.PixelCNNConfig())
    images = random_images(model, 2)
    assert 0.01 < float(jax.jit(lambda x: model(x))(images).std()) < 1
    initial = float(pj.bits_per_dim(model, images).mean())
    assert abs(initial - 2) < 0.05  # log2 of 4 levels

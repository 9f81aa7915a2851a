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
    dict(height=3, width=4, channels=3, distribution="logistic_mixture", levels=8),
    dict(gated=True),
    dict(gated=True, height=4, width=7, kernel_size=5, num_layers=1),
    dict(gated=True, height=3, width=4, channels=3, levels=3),
    dict(gated=True, height=3, width=4, channels=2, distribution="logistic_mixture"),
]


def dependence(model, x: jax.Array) -> np.ndarray:
    """Which outputs move with which inputs: |derivative|, ``[H, W, C, H, W, C]``.

    C is 1 where the distribution, not the masks, carries the order of the channels.
    """
    jacobian = jax.jit(jax.jacrev(lambda x: model.network(x[None])[0]))(x)
    jacobian = np.abs(np.asarray(jacobian))
    if model.config.distribution == "categorical":
        return jacobian.sum(3)  # over levels
    return jacobian.sum((2, 5))[:, :, None, :, :, None]


def earlier(shape: tuple[int, ...]) -> np.ndarray:
    """What comes strictly earlier in raster order, ``[H, W, C, H, W, C]``."""
    size = int(np.prod(shape))
    return np.tril(np.ones((size, size), bool), -1).reshape(*shape, *shape)


def order_of(model) -> np.ndarray:
    """What each output of the network may see, ``[H, W, C, H, W, C]``."""
    c = model.config
    return earlier((c.height, c.width, c.ordered_channels))


def conditionals(model, images) -> jax.Array:
    """Log-probability of each channel given all earlier ones; of a mixture, of each
    pixel: ``[H, W, C]`` for a batch of one."""
    outputs = model(images)
    if model.config.distribution == "categorical":
        log_probs = jax.nn.log_softmax(outputs)
        return jnp.take_along_axis(log_probs, images[..., None], -1)[0, ..., 0]
    return model.distribution.log_prob(outputs, images)[0, ..., None]


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pixel_sees_itself_or_later_ones(shape: dict):
    model = tiny_model(**shape)
    x = model.encode(jnp.asarray(random_images(model, 1)))[0]
    seen = dependence(model, x)
    assert (seen[~order_of(model)] == 0).all()
    assert seen.any()


@pytest.mark.parametrize("shape", SHAPES)
def test_exactly_the_receptive_field_is_seen(shape: dict):
    model = tiny_model(**shape)
    graph, state = nnx.split(model)
    # With positive weights and inputs no ReLU is dead and nothing cancels; small ones
    # keep gates from saturating.
    positive = nnx.merge(graph, jax.tree.map(lambda w: 0.1 * jnp.abs(w) + 0.01, state))
    c = model.config
    x = jax.random.uniform(
        jax.random.key(0), (c.height, c.width, c.channels), minval=0.1
    )
    assert ((dependence(positive, x) > 0) == model.receptive_field()).all()


def test_a_deep_gated_model_leaves_nothing_unseen():
    def seen(num_layers: int) -> np.ndarray:
        config = pj.GatedPixelCNNConfig(features=1, num_layers=num_layers)
        return nnx.eval_shape(lambda: pj.build_model(config)).receptive_field()

    assert (seen(13) == earlier((16, 16, 1))).all()
    assert 0.38 < 1 - seen(5).sum() / (256 * 255 / 2) < 0.40


@pytest.mark.slow
def test_the_gradient_of_a_deep_gated_model_reaches_every_earlier_pixel():
    model = pj.build_model(pj.GatedPixelCNNConfig(features=2, head_features=2))
    graph, state = nnx.split(model)
    small = nnx.merge(graph, jax.tree.map(lambda w: 0.2 * jnp.abs(w) + 0.05, state))
    x = jax.random.uniform(jax.random.key(0), (16, 16, 1), minval=0.1)
    for row, column in ((0, 1), (1, 0), (9, 15), (15, 0), (15, 15)):
        pick = lambda x: small.network(x[None])[0, row, column].sum()  # noqa: B023, E731
        seen = np.asarray(jax.jit(jax.grad(pick))(x)).ravel() != 0
        assert (seen == (np.arange(256) < row * 16 + column)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_flipping_a_pixel_moves_no_earlier_conditional(shape: dict):
    model = tiny_model(**shape)
    images = random_images(model, 1)
    apply = jax.jit(lambda images: conditionals(model, images))
    before = np.asarray(apply(images))
    order = order_of(model)
    for place in np.ndindex(*images.shape[1:]):
        other = images.copy()
        other[(0, *place)] = (other[(0, *place)] + 1) % model.config.levels
        after = np.asarray(apply(other))
        own = (*place[:2], min(place[2], model.config.ordered_channels - 1))
        unmoved = order[own]  # all that comes before `own`
        assert (after[unmoved] == before[unmoved]).all()
        assert after[own] != before[own]


@pytest.mark.parametrize("gated", [False, True])
def test_the_module_holds_its_parameters_and_nothing_else(gated: bool):
    model = tiny_model(gated=gated, num_classes=3)
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert not jax.tree.leaves(rest)
    kernels_and_biases = 2 * len(model.causal_layers())
    tables = len(model.class_biases())
    assert tables == (2 * 3 if gated else 3)
    assert len(jax.tree.leaves(params)) == kernels_and_biases + tables


def test_labels_must_fit_the_model():
    images = random_images(tiny_model(), 2)
    with pytest.raises(pj.UserError, match="this has 3, got none"):
        tiny_model(num_classes=3)(images)
    with pytest.raises(pj.UserError, match="this has 0, got some"):
        tiny_model()(images, np.zeros(2, int))


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

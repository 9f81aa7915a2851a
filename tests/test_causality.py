"""No output sees itself or later ones; all of the receptive field is seen."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.layers import CausalConv
from pixelcnn_jax.models import PixelModel
from pixelcnn_jax.models.receptive_field import dependence, receptive_field
from tests import oracles
from tests.conftest import random_images, some_conditions
from tests.family import FAMILY, each_model, member


def earlier(shape: tuple[int, ...]) -> np.ndarray:
    """What comes strictly earlier in raster order, ``[H, W, C, H, W, C]``."""
    size = int(np.prod(shape))
    return np.tril(np.ones((size, size), bool), -1).reshape(*shape, *shape)


def order_of(model: PixelModel) -> np.ndarray:
    """What each output of the network may see, ``[H, W, C, H, W, C]``."""
    c = model.config
    return earlier((c.height, c.width, model.distribution.ordered_channels))


def conditionals(model: PixelModel, images: jax.Array) -> jax.Array:
    """Log-probability of each network step's part of each pixel: ``[H, W, steps]``."""
    outputs = model(images, **some_conditions(model, len(images)))
    steps = range(model.distribution.steps_per_pixel)
    parts = [model.distribution.step_log_prob(outputs, images, s)[0] for s in steps]
    return jnp.stack(parts, -1)


@each_model
def test_no_pixel_sees_itself_or_later_ones(name: str):
    model = member(name)
    x = jnp.asarray(random_images(model, 1)[0], jnp.float32)
    seen = dependence(model, x)
    assert (seen[~order_of(model)] == 0).all()
    assert seen.any()


@each_model
def test_exactly_the_receptive_field_is_seen(name: str):
    model, field = member(name), FAMILY[name].field
    if field is None:
        pytest.skip("the registry has no oracle of what this model sees")
    assert (receptive_field(model) == field(model.config)).all()


def blind_share(config, field) -> float:
    """Of all pairs of an output and an earlier pixel, those that see nothing."""
    seen = field(config).reshape(config.height * config.width, -1)
    every = earlier((config.height, config.width, 1)).reshape(seen.shape)
    assert not (seen & ~every).any()
    return 1 - seen.sum() / every.sum()


def test_the_books_network_has_the_known_blind_spot():
    config = pj.PixelCNNConfig()
    assert 0.445 < blind_share(config, oracles.book_field) < 0.455
    # Eight pixels, besides the first, which has no context, see all of theirs.
    seen = oracles.book_field(config).reshape(256, 256)
    assert (seen.sum(1) == np.arange(256))[1:].sum() == 8


def test_a_deep_gated_model_leaves_nothing_unseen():
    def blind(num_layers: int) -> float:
        config = pj.GatedPixelCNNConfig(num_layers=num_layers)
        return blind_share(config, oracles.gated_field)

    assert blind(13) == 0
    assert 0.38 < blind(5) < 0.40


@pytest.mark.slow
def test_the_gradient_of_a_deep_gated_model_reaches_every_earlier_pixel():
    config = pj.GatedPixelCNNConfig(features=2, head_features=2)
    seen = receptive_field(pj.build_model(config), rows=(0, 1, 9, 15))
    expected = earlier((16, 16, 1))
    for row in (0, 1, 9, 15):
        assert (seen[row] == expected[row]).all()


@each_model
def test_flipping_a_pixel_moves_no_earlier_conditional(name: str):
    model = member(name)
    images = random_images(model, 1)
    apply = jax.jit(lambda images: conditionals(model, images))
    before = np.asarray(apply(images))
    order, levels = order_of(model), model.config.levels
    for place in np.ndindex(*images.shape[1:]):
        other = images.copy()
        other[(0, *place)] = (other[(0, *place)] + levels // 2) % levels
        after = np.asarray(apply(other))
        own = (*place[:2], min(place[2], before.shape[2] - 1))
        unmoved = order[own]  # all that comes before `own`
        assert (after[unmoved] == before[unmoved]).all()
        assert after[own] != before[own]


@each_model
def test_images_do_not_influence_each_other(name: str):
    model = member(name)
    images, given = random_images(model, 3), some_conditions(model, 3)
    apply = jax.jit(lambda images, given: model(images, **given))
    other = images.copy()
    other[1] = (other[1] + 1) % model.config.levels
    before = np.asarray(apply(images, given))
    others = [apply(other, given)]
    for name, values in given.items():  # nor do their conditions
        changed = values.copy()
        changed[1] = values[0]
        others.append(apply(images, given | {name: changed}))
    for after in map(np.asarray, others):
        assert (before[[0, 2]] == after[[0, 2]]).all() and (before[1] != after[1]).any()


@each_model
def test_the_module_holds_its_parameters_and_nothing_else(name: str):
    _, params, rest = nnx.split(member(name), nnx.Param, ...)
    assert jax.tree.leaves(params) and not jax.tree.leaves(rest)


@each_model
def test_every_parameter_is_alive(name: str):
    """No weight that no output can see: every entry of every leaf has a gradient."""
    model = member(name)
    graph, params = nnx.split(model)
    # Larger than every kernel, so that each tap lies inside for some position.
    images = np.random.default_rng(0).integers(0, 2, (2, 8, 8, model.config.channels))
    given = some_conditions(model, 2, (8, 8))
    positive = jax.tree.map(lambda w: 0.1 * np.abs(np.asarray(w)) + 0.01, params)

    def total(params):
        return (jnp.sin(nnx.merge(graph, params)(images, **given)) ** 2).sum()

    gradient = nnx.merge(graph, jax.jit(jax.grad(total))(positive))
    for layer_name, layer in gradient.causal_layers().items():
        if isinstance(layer, CausalConv):
            moved = np.asarray(layer.kernel[...]) != 0
            assert (moved == (layer.mask == 1)).all(), layer_name


def test_labels_must_fit_the_model():
    plain, by_class = member("book"), member("book-classes")
    with pytest.raises(pj.UserError, match="this has labels, got none"):
        by_class(random_images(by_class, 2))
    with pytest.raises(pj.UserError, match="this has none, got labels"):
        plain(random_images(plain, 2), np.zeros(2, int))


def test_the_books_network_stores_its_live_parameters_only():
    model = pj.build_model(pj.PixelCNNConfig())
    stored = sum(x.size for x in jax.tree.leaves(nnx.state(model)))
    assert stored == 222_340


def test_activations_neither_grow_nor_vanish_at_initialisation():
    model = pj.build_model(pj.PixelCNNConfig())
    images = random_images(model, 2)
    assert 0.01 < float(jax.jit(lambda x: model(x))(images).std()) < 1
    initial = float(pj.bits_per_dim(model, images).mean())
    assert abs(initial - 2) < 0.05  # log2 of 4 levels

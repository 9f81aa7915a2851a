"""What images are conditioned on reaches every pixel, and is checked."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from tests.conftest import random_images, slowly, some_conditions, tiny_model
from tests.family import member

KEY = jax.random.key(3)
ALL_KINDS = dict(num_classes=3, condition_features=2, condition_channels=1)


def kinds_model(**overrides) -> pj.PixelModel:
    return tiny_model(height=4, width=6, **ALL_KINDS | overrides)


@pytest.mark.parametrize(
    "name", ["book-colour", *slowly("gated-wide", "pp-odd", "snail-odd")]
)
def test_conditions_reach_every_pixel(name: str):
    model = member(name)
    graph, state = nnx.split(model)
    positive = nnx.merge(graph, jax.tree.map(lambda w: 0.1 * jnp.abs(w) + 0.01, state))
    images, given = random_images(model, 1), some_conditions(model, 1)

    @jax.jit
    def spread(given):
        """How far apart the outputs of a pixel are for other conditions."""
        outputs = positive(images, **given)[0]
        return outputs.reshape(*outputs.shape[:2], -1)

    before = spread(given)
    for name, values in given.items():
        for place in np.ndindex(values.shape[1:]):
            other = values.copy()
            old = other[0, *place]
            other[0, *place] = old + 1 if name == "condition" else (old + 1) % 2
            moved = (spread(given | {name: other}) != before).any(-1)
            assert moved.all(), (name, place)


def test_maps_of_any_size_that_divides_the_images_will_do():
    """Repeated maps say the same to the layers, but for what the reader sees."""
    model = nnx.clone(kinds_model(num_classes=0, condition_features=0))
    for block in model.reader.map.blocks:  # a reader that sees no neighbours
        block.kernel[...], block.bias[...] = 0 * block.kernel[...], 0 * block.bias[...]
    images = random_images(model, 2)
    coarse = np.random.default_rng(0).normal(size=(2, 2, 3, 1)).astype(np.float32)
    fine = coarse.repeat(2, 1).repeat(2, 2)
    a, b = (pj.log_prob(model, images, condition_map=x) for x in (coarse, fine))
    np.testing.assert_allclose(a, b, rtol=1e-5)


GOOD = some_conditions(kinds_model(), 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=None), r"for a model of 3 classes: integers \[2\], got none"),
        (dict(condition=None), r"model of 2 condition_features: floats \[2, 2\]"),
        (dict(condition_map=None), r"condition_map must .* floats \[2, h, w, 1\]"),
        (dict(condition=[1.0, 2.0]), "condition must be an array, got list"),
        (dict(condition=np.zeros((2, 3))), r"\[2, 2\], a vector for each image, got"),
        (dict(condition=np.full((2, 2), np.nan)), "must be finite numbers"),
        (dict(condition_map=np.zeros((2, 2, 3))), "a map for each image, got float64"),
        (dict(condition_map=np.zeros((2, 4, 5, 1))), "divide .* 4 by 6, got 4 by 5"),
        (dict(condition_map=np.zeros((2, 8, 6, 1))), "divide .* 4 by 6, got 8 by 6"),
        (dict(condition_map=np.zeros((2, 2, 3, 1), bool)), "got bool"),
    ],
)
def test_wrong_conditions_are_refused(change: dict, message: str):
    model, given = kinds_model(), GOOD | change
    images = random_images(model, 2)
    with pytest.raises(pj.UserError, match=message):
        pj.log_prob(model, images, **given)
    with pytest.raises(pj.UserError, match=message):
        pj.sample(model, KEY, 2, **given)
    with pytest.raises(pj.UserError, match=message):
        pj.complete(model, KEY, images, np.ones((4, 6), bool), **given)
    with pytest.raises(pj.UserError, match=message):
        pj.Stepper(model, 2, **given)


def test_wrong_codes_are_refused():
    model = tiny_model(condition_channels=1, condition_levels=3)
    images = random_images(model, 2)
    for codes, message in (
        (np.full((2, 3, 5, 1), 3), "condition_map must lie in 0 to 2, got 3 to 3"),
        (np.zeros((2, 3, 5, 1)), r"must be integers \[2, h, w, 1\].*got float64"),
    ):
        with pytest.raises(pj.UserError, match=message):
            pj.log_prob(model, images, condition_map=codes)


def test_conditions_of_a_model_without_are_refused():
    model = tiny_model()
    images = random_images(model, 2)
    for name in ("condition", "condition_map"):
        with pytest.raises(pj.UserError, match=f"{name} must be left out for a model"):
            pj.log_prob(model, images, **{name: GOOD[name]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(condition_features=-1), "condition_features must be at least 0"),
        (dict(condition_levels=3), "condition_channels is 0, got 3"),
        (dict(condition_width=0), "condition_width must be at least 1"),
    ],
)
def test_wrong_settings_are_refused(fields: dict, message: str):
    with pytest.raises(pj.UserError, match=message):
        pj.PixelCNNConfig(**fields)


def test_an_image_set_keeps_what_belongs_together():
    images = np.arange(4, dtype=np.uint8).reshape(4, 1, 1, 1)
    found = pj.ImageSet(
        images, condition=np.arange(4.0)[:, None], condition_map=images / 2
    )
    chosen = found.choose(np.array([2, 0]))
    assert chosen.images.ravel().tolist() == [2, 0]
    assert chosen.condition.ravel().tolist() == [2, 0]
    assert chosen.condition_map.ravel().tolist() == [1, 0]
    assert found.first(1).condition.tolist() == [[0]]
    plain = found.for_model(pj.PixelCNNConfig())
    assert plain.condition is None and plain.condition_map is None
    with pytest.raises(pj.UserError, match="condition must be one per image, 4, got 3"):
        dataclasses.replace(found, condition=np.zeros((3, 1)))

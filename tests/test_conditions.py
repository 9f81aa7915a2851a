"""What images are conditioned on reaches every pixel, and is checked."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.commands import sample
from pixelcnn_jax.commands.given_conditions import in_turn
from pixelcnn_jax.layers import Conditions, OtherConditions
from pixelcnn_jax.training.randomness import Randomness
from tests.conftest import random_images, refused, slowly, some_conditions, tiny_model
from tests.family import member

KEY = jax.random.key(3)
ALL_KINDS = dict(num_classes=3, condition_features=2, condition_channels=1)


def kinds_model(**overrides) -> pj.PixelModel:
    return tiny_model(height=4, width=6, **ALL_KINDS | overrides)


@pytest.mark.parametrize(
    "name", ["book-colour", *slowly("gated-wide", "pp-odd", "snail-odd")]
)
def test_conditions_reach_every_pixel(name: str):
    assert_reach_every_pixel(member(name))


def test_cells_reach_pixels_that_convolutions_of_the_map_do_not():
    wide = tiny_model(height=2, width=9, condition_channels=1, condition_width=4)
    assert some_conditions(wide, 1)["condition_map"].shape == (1, 1, 9, 1)
    assert_reach_every_pixel(wide)


def assert_reach_every_pixel(model: pj.PixelModel) -> None:
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
        (
            dict(condition=np.full((2, 2), 2**32)),
            "32 bits, got 4294967296 to .* floats",
        ),
        (dict(condition_map=np.full((2, 2, 3, 1), 2**31, "u4")), "fit in 32 bits"),
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
        (dict(condition_features=-2), "condition_features must be at least 0"),
        (dict(condition_levels=3), "condition_channels is 0, got 3"),
        (dict(condition_width=0), "condition_width must be at least 1"),
        (dict(condition_dropout=0.1), "needs a model with conditions, got 0.1"),
        (dict(condition_dropout=1.0, num_classes=2), "at least 0 and below 1, got 1.0"),
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


# --- without conditions, and more with them


def test_what_is_not_given_is_what_training_hides():
    model = kinds_model(condition_dropout=0.2)
    images = random_images(model, 2)
    hidden = Conditions(**GOOD, present=np.array([True, False]))

    @jax.jit
    def outputs(given):
        return model.given(images, given)

    part, whole = outputs(hidden), outputs(Conditions(**GOOD))
    none = outputs(Conditions())
    np.testing.assert_allclose(part[0], whole[0], atol=1e-5)
    np.testing.assert_allclose(part[1], none[1], atol=1e-5)
    assert (whole[1] != none[1]).any()
    with pytest.raises(pj.UserError, match="for a model of 2 condition_features"):
        pj.log_prob(model, images, labels=GOOD["labels"])


def test_conditions_are_hidden_image_by_image():
    randomness = Randomness(0, False, False, condition_dropout=0.25)
    index = jnp.arange(4000)
    shown = np.asarray(randomness.present(jnp.int32(3), index))
    assert abs(shown.mean() - 0.75) < 0.03
    some = randomness.present(jnp.int32(3), index[17:20])
    assert (np.asarray(some) == shown[17:20]).all()
    assert (np.asarray(randomness.present(jnp.int32(4), index)) != shown).any()
    assert Randomness(0, False, False).present(jnp.int32(3), index) is None


GUIDED = [
    dict(channels=2, features=8, condition_width=4),
    dict(distribution="logistic_mixture", num_mixtures=2, levels=9, channels=2),
    dict(gated=True),
]


@pytest.mark.slow
@pytest.mark.parametrize("fields", GUIDED)
def test_guidance_extrapolates_from_the_law_without_conditions(fields: dict):
    model = kinds_model(condition_dropout=0.2, **fields)
    given = some_conditions(model, 3)
    usual = dict(temperature=0.0, guidance=2.5, **given)
    images = pj.sample(model, KEY, 3, method="cached", **usual)
    law = model.distribution
    with_, without = model(images, **given), model(images)
    for channel in range(model.config.channels):
        a, b = (law.conditional(x, images, channel) for x in (with_, without))
        assert (images[..., channel] == (b + 2.5 * (a - b)).argmax(-1)).all()
    known = np.zeros((4, 6), bool)
    known[:2] = True
    completed = pj.complete(model, KEY, images, known, **usual)
    assert (completed[:, 0] == images).all()


@pytest.mark.slow
def test_guided_images_do_not_depend_on_the_method_or_the_batches():
    model = kinds_model(condition_dropout=0.2)
    given = some_conditions(model, 3)
    ways = [dict(method=m) for m in ("full", "cached", "wavefront")]
    ways.append(dict(method="cached", batch_size=2))
    first, *others = [
        pj.sample(model, KEY, 3, guidance=1.5, with_log_prob=True, **given, **way)
        for way in ways
    ]
    for images, nats in others:
        assert (images == first[0]).all()
        np.testing.assert_allclose(nats, first[1], atol=1e-4)
    expected = pj.pixel_log_prob(model, first[0], **given)
    np.testing.assert_allclose(first[1], expected, atol=1e-4)  # the model's own law
    parts = pj.stream(model, KEY, 3, batch_size=2, guidance=1.5, **given)
    assert (np.concatenate(list(parts)) == first[0]).all()


def test_what_a_stream_was_given_is_not_changed_later():
    model, labels = tiny_model(num_classes=3), np.array([0, 1])
    expected = pj.sample(model, KEY, 2, labels=labels.copy())
    parts = pj.stream(model, KEY, 2, batch_size=1, labels=labels)
    labels[:] = 2
    assert (np.concatenate(list(parts)) == expected).all()


def test_guidance_that_makes_no_sense_is_refused():
    without, model = kinds_model(), kinds_model(condition_dropout=0.2)
    for guidance, who, given, message in (
        (2.0, without, GOOD, "trained with model.condition_dropout, got 2.0 without"),
        (2.0, model, {}, "guidance needs conditions"),
        (-1.0, model, GOOD, "number of at least 0, got -1.0; 1 is off"),
        (float("inf"), model, GOOD, "got inf"),
        ("2", model, GOOD, "got '2'"),
    ):
        with pytest.raises(pj.UserError, match=message):
            pj.sample(who, KEY, 2, guidance=guidance, **given)


# --- the command


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model of all kinds of conditions, and a file of two images' ones."""
    pj.save(kinds_model(condition_dropout=0.2), tmp_path / "model")
    np.savez(tmp_path / "given.npz", **GOOD)
    return tmp_path


def test_the_command_takes_conditions_and_guidance(folder: Path):
    fixed = ["--workdir", str(folder / "model"), "--num-images", "3"]
    fixed += ["--output", str(folder / "out.npz")]
    file = ["--conditions", str(folder / "given.npz")]
    sample.run([*fixed, *file, "--guidance", "1.5", "--labels", "0,1"], "sample")
    in_turn = {name: values[[0, 1, 0]] for name, values in GOOD.items()}
    expected = pj.sample(
        kinds_model(condition_dropout=0.2),
        jax.random.key(0),
        3,
        guidance=1.5,
        **in_turn,
    )
    found = np.load(folder / "out.npz")
    assert (found["images"] == expected).all()
    assert (found["labels"] == in_turn["labels"]).all()
    sample.run([*fixed, "--labels", "none"], "sample")
    assert "labels" not in np.load(folder / "out.npz")


def test_conditions_that_memory_cannot_hold_are_not_made():
    given: OtherConditions = {
        "condition": np.zeros((2, 256), np.float32),
        "condition_map": None,
    }
    rows = in_turn(given, 3)["condition"]
    assert rows is not None and rows.shape == (3, 256)
    with pytest.raises(pj.UserError, match="the conditions of 1000000000000 images"):
        in_turn(given, 10**12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conditions", "none.npz"], "--conditions must be a .npy or .npz file of"),
        (["--labels", "none", "--guidance", "-2"], "number of at least 0, got -2.0"),
        (["--labels", "0"], "model of 2 condition_features: floats [64, 2], got none"),
    ],
)
def test_the_command_refuses(arguments, message, folder: Path, capsys):
    fixed = ["--workdir", str(folder / "model"), "--output", str(folder / "x.npz")]
    assert message in refused("sample", [*fixed, *arguments], capsys)

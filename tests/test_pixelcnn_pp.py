"""What is PixelCNN++'s own: its size, its initialisation, its grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax import drawing
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.layers import NO_CONDITIONS, ImagePass, NormedConv
from pixelcnn_jax.masks import square
from tests import oracles
from tests.conftest import (
    assert_same_weights,
    random_images,
    slowly,
    whole_and_resumed,
)
from tests.family import stirred
from tests.test_causality import blind_share


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(filters=64, num_resnets=2), 3_874_632),
        pytest.param(dict(), 53_659_080, marks=pytest.mark.slow),
        pytest.param(dict(filters=192), 77_244_104, marks=pytest.mark.slow),
        pytest.param(dict(filters=64), 8_610_504, marks=pytest.mark.slow),
    ],
)
def test_it_has_the_published_size(settings: dict, expected: int):
    config = pj.PixelCNNPPConfig(**settings)
    model = nnx.eval_shape(lambda: pj.build_model(config))
    assert sum(x.size for x in jax.tree.leaves(nnx.state(model))) == expected


@pytest.mark.parametrize(("num_resnets", "percent"), [(5, 0.27), (1, 2.9)])
def test_it_leaves_a_few_earlier_pixels_unseen(num_resnets: int, percent: float):
    config = pj.PixelCNNPPConfig(num_resnets=num_resnets)
    blind = 100 * blind_share(config, oracles.pp_field)
    assert blind == pytest.approx(percent, rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (5, 7), (8, 8), (13, 10), (28, 28), (32, 32)]
)
def test_any_size_is_sampled_the_same_by_all_methods(height: int, width: int):
    settings = dict(height=height, width=width, resolutions=3)
    model = stirred(pj.PixelCNNPPConfig.tiny(**settings))
    key = jax.random.key(0)
    full, cached = (pj.sample(model, key, 2, method=m) for m in ("full", "cached"))
    assert (full == cached).all() and len(np.unique(full)) > 1


def test_a_softmax_over_colours_is_refused():
    with pytest.raises(pj.UserError, match="which pixelcnn_pp has not, got .* 3; try"):
        pj.PixelCNNPPConfig(distribution="categorical")


@pytest.mark.slow
def test_calibration_gives_each_layer_its_mean_and_deviation():
    model = nnx.clone(pj.build_model(pj.PixelCNNPPConfig.tiny(filters=8)))
    assert model.needs_calibration
    images = random_images(model, 64)
    model.calibrate(images)
    seen: dict[str, tuple[float, float]] = {}

    class Watching(ImagePass):
        def __call__(self, layer, x):
            y = layer(x)
            if isinstance(layer, NormedConv):
                rows, columns = layer.shift
                inside = y[:, :, rows:, columns:]
                deviation = float(inside.std((1, 2, 3)).mean()) / layer.first_deviation
                seen[str(len(seen))] = (float(jnp.abs(inside.mean())), deviation)
            return y

    model._under(Watching(), images, NO_CONDITIONS)
    assert len(seen) > 20
    for mean, deviation in seen.values():
        assert mean < 1e-4 and deviation == pytest.approx(1, abs=0.02)


@pytest.mark.slow
def test_calibration_is_the_same_for_any_devices_and_part_of_resume(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4, (24, 6, 5, 1), dtype=np.uint8)
    config = pj.Config(
        model=pj.PixelCNNPPConfig.tiny(dropout=0.2),
        training=TrainingConfig(epochs=2, batch_size=12, ema_decay=0.9),
    )
    whole, again = whole_and_resumed(config, images, tmp_path / "run")
    assert_same_weights(whole.model, again.model)
    # The first weights are not those of the seed alone.
    gain = pj.build_model(config.model).first_v.gain[...]
    assert (np.abs(np.asarray(whole.model.first_v.gain[...]) - gain) > 0.2).any()


def test_folding_changes_no_output():
    layer = NormedConv(4, 6, square(3), rngs=nnx.Rngs(0))
    layer.gain[...] = jnp.arange(1.0, 7.0)
    x = jax.random.normal(jax.random.key(0), (4, 2, 5, 5))
    before = layer(x)
    layer.fold()
    np.testing.assert_allclose(layer(x), before, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "resolutions", "first_row"),
    # Whole cells; and a walk that begins and ends within one.
    [(2, 4, 2, 0), *slowly((4, 5, 2, 1), (8, 4, 3, 0))],
)
def test_static_phases_draw_the_same_images(height, width, resolutions, first_row):
    model = stirred(
        pj.PixelCNNPPConfig.tiny(height=height, width=width, resolutions=resolutions)
    )
    keys = drawing.image_keys(jax.random.key(0), jnp.arange(3))
    given = drawing.NOTHING_GIVEN
    if first_row:
        known = np.broadcast_to(np.arange(height)[:, None] < 1, (3, height, width))
        given = drawing.Given(images=random_images(model, 3), known=known)
    way = drawing.Way("cached", height, width, first_row)
    draw = jax.jit(drawing.draw_batch, static_argnums=1)
    conditional = draw(model, way, keys, 1.0, given).images
    static = draw(model, way._replace(static_phases=True), keys, 1.0, given).images
    assert (static == conditional).all()

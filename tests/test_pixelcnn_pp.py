"""What is PixelCNN++'s own: its size, its grids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax import drawing
from pixelcnn_jax.layers import GatedResnet, NormedConv
from pixelcnn_jax.masks import square
from tests import oracles
from tests.conftest import random_images
from tests.family import stirred
from tests.test_causality import blind_share
from tests.test_shifted import assert_same_by_all_methods


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
    ("height", "width", "resolutions", "num_resnets"), [(3, 4, 1, 2), (3, 5, 4, 1)]
)
def test_any_depth_is_sampled_the_same_by_all_methods(
    height: int, width: int, resolutions: int, num_resnets: int
):
    config = pj.PixelCNNPPConfig.tiny(
        height=height, width=width, resolutions=resolutions, num_resnets=num_resnets
    )
    assert_same_by_all_methods(stirred(config))


@pytest.mark.slow
def test_the_way_up_reads_the_short_cuts_in_reverse(monkeypatch):
    model = stirred(pj.PixelCNNPPConfig.tiny(num_resnets=2))
    names = {
        id(module): f"{path[1]} {path[2]} {path[3]}"
        for path, module in nnx.iter_modules(model)
        if isinstance(module, GatedResnet)
    }
    found, read = {}, {}
    original = GatedResnet.__call__

    def watch(self, x, other, conditions, apply):
        name = names[id(self)]
        found[name] = original(self, x, other, conditions, apply)
        if "decode" in name:
            # Behind what the horizontal stream reads of the vertical one.
            read[name] = other[-model.config.filters :]
        return found[name]

    monkeypatch.setattr(GatedResnet, "__call__", watch)
    model(random_images(model, 2))

    def sources(level: int, stream: str, block: int) -> list[str]:
        wanted = read[f"{level} decode_{stream} {block}"]
        return [k for k, v in found.items() if np.array_equal(v, wanted)]

    # The last of each level reads what came into it, which is no block's output. The
    # coarsest level has no short-cut from its last block to the next.
    for stream in "vh":
        coarsest = [sources(1, stream, block) for block in range(2)]
        assert coarsest == [[f"1 encode_{stream} 0"], []]
        expected = [[f"0 encode_{stream} 1"], [f"0 encode_{stream} 0"], []]
        assert [sources(0, stream, block) for block in range(3)] == expected


def test_folding_changes_no_output():
    layer = NormedConv(4, 6, square(3), rngs=nnx.Rngs(0))
    layer.gain[...] = jnp.arange(1.0, 7.0)
    x = jax.random.normal(jax.random.key(0), (4, 2, 5, 5))
    before = layer(x)
    layer.fold()
    np.testing.assert_allclose(layer(x), before, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("height", "width", "resolutions", "first_row"),
    # Whole cells; and a walk that begins and ends within one.
    [(2, 4, 2, 0), (4, 5, 2, 1), (8, 4, 3, 0)],
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

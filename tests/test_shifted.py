"""What the models of shifted convolutions share: sizes, first layers, calibration."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig
from pixelcnn_jax.layers import NO_CONDITIONS, ImagePass, NormedConv
from pixelcnn_jax.models import PixelModel
from tests.conftest import assert_same_weights, random_images, whole_and_resumed
from tests.family import stirred
from tests.processes import ROOT

KINDS = {"pp": pj.PixelCNNPPConfig, "snail": pj.PixelSNAILConfig}
SMALL = {"pp": dict(resolutions=3), "snail": dict(skips=True, num_blocks=2)}
each_kind = pytest.mark.parametrize("kind", KINDS)


def tiny(kind: str, **settings):
    return KINDS[kind].tiny(**SMALL[kind], **settings)


def assert_same_by_all_methods(model: pj.PixelModel) -> None:
    key = jax.random.key(0)
    full, cached = (pj.sample(model, key, 2, method=m) for m in ("full", "cached"))
    assert (full == cached).all() and len(np.unique(full)) > 1


@pytest.mark.slow
@each_kind
@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (5, 7), (8, 8), (13, 10), (28, 28), (32, 32)]
)
def test_any_size_is_sampled_the_same_by_all_methods(
    kind: str, height: int, width: int
):
    assert_same_by_all_methods(stirred(tiny(kind, height=height, width=width)))


@each_kind
def test_a_softmax_over_colours_is_refused(kind: str):
    name = KINDS[kind].kind
    with pytest.raises(pj.UserError, match=f"which {name} has not, got .* 3; try"):
        KINDS[kind](distribution="categorical")


@each_kind
def test_a_folded_copy_leaves_its_model_as_it_was(kind: str):
    model = pj.build_model(KINDS[kind].tiny())
    before = jax.tree.map(np.array, nnx.state(model))
    folded = model.folded()
    assert all(layer.is_folded for layer in _convolutions(folded))
    after = nnx.state(model)
    assert jax.tree.all(jax.tree.map(lambda x, y: (x == y).all(), before, after))
    assert not any(layer.is_folded for layer in _convolutions(model))


def _convolutions(model: PixelModel) -> list:
    return [x for x in model.causal_layers().values() if hasattr(x, "is_folded")]


@pytest.mark.slow
@each_kind
def test_first_layers_have_no_bias_where_their_output_was_moved_from(kind: str):
    model = stirred(tiny(kind))
    x = jnp.ones((2, 1, 4, 5))
    above, left = model.first_above(x), model.first_left(x)
    assert (above[:, :, 0] == 0).all() and (above[:, :, 1:] != 0).all()
    assert (left[..., 0] == 0).all() and (left[..., 1:] != 0).all()
    if kind == "pp":
        first = model.first_v(x)
        assert (first[:, :, 0] == 0).all() and (first[:, :, 1:] != 0).all()


class Watching(ImagePass):
    """An image pass that keeps the outputs of all normalised layers."""

    def __init__(self, dropout_keys: jax.Array):
        super().__init__(dropout_keys)
        self.seen: list[tuple[NormedConv, jax.Array]] = []

    def __call__(self, layer, x):
        y = super().__call__(layer, x)
        if isinstance(layer, NormedConv):
            self.seen.append((layer, y))
        return y

    def coarser(self, shrink, grow, body, x):
        y, found = super().coarser(shrink, grow, body, x)
        self.seen.append((grow, y))
        return y, found


@pytest.mark.slow
@each_kind
def test_calibration_gives_each_channel_its_mean_and_deviation(kind: str):
    model = nnx.clone(pj.build_model(tiny(kind, dropout=0.2)))
    assert model.needs_calibration
    images, keys = random_images(model, 64), jax.random.split(jax.random.key(0), 64)
    model.calibrate(images, dropout_keys=keys)
    watching = Watching(keys)
    model._under(watching, images, NO_CONDITIONS)
    layers = model.causal_layers().values()
    assert {id(layer) for layer, _ in watching.seen} == {
        id(layer) for layer in layers if isinstance(layer, NormedConv)
    }
    for layer, y in watching.seen:
        rows, columns = layer.shift
        inside = np.asarray(y[:, :, rows:, columns:])
        np.testing.assert_allclose(inside.mean((1, 2, 3)), 0, atol=2e-5)
        deviations = inside.std((1, 2, 3))
        np.testing.assert_allclose(deviations, layer.first_deviation, rtol=1e-3)


CALIBRATED = """
import hashlib
import jax
import numpy as np
import pixelcnn_jax as pj
from pixelcnn_jax.params import to_params
from pixelcnn_jax.training.calibration import calibrated
images = np.random.default_rng(0).integers(0, 4, (24, 6, 5, 1), dtype=np.uint8)
for kind in (pj.PixelCNNPPConfig, pj.PixelSNAILConfig):
    training = pj.config.TrainingConfig(batch_size=12)
    config = pj.Config(model=kind.tiny(dropout=0.2), training=training)
    images_set = pj.data.ImageSet(images, None).for_model(config.model)
    model = calibrated(pj.build_model(config.model), config, images_set)
    leaves = jax.tree.leaves(to_params(model)[1])
    print(hashlib.sha256(b"".join(np.asarray(x).tobytes() for x in leaves)).hexdigest())
print(jax.device_count())
"""


@pytest.mark.slow
def test_calibration_is_the_same_for_any_number_of_devices():
    one, two = (
        subprocess.run(
            [sys.executable, "-c", CALIBRATED],
            env={**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": count},
            cwd=ROOT,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for count in ("1", "2")
    )
    assert one[:-1] == two[:-1] and (one[-1], two[-1]) == ("1", "2")


@pytest.mark.slow
@each_kind
def test_training_resumes_exactly(kind: str, tmp_path):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 4, (24, 6, 5, 1), dtype=np.uint8)
    config = pj.Config(
        model=KINDS[kind].tiny(dropout=0.2),
        training=TrainingConfig(epochs=2, batch_size=12, ema_decay=0.9),
    )
    whole, again = whole_and_resumed(config, images, tmp_path / "run")
    assert_same_weights(whole.model, again.model)
    # The first weights are not those of the seed alone.
    gain = pj.build_model(config.model).last.gain[...]
    assert (np.abs(np.asarray(whole.model.last.gain[...]) - gain) > 0.2).any()


PAPERS = dict(learning_rate=1e-3, beta1=0.95, beta2=0.9995, ema_decay=0.9995)


@pytest.mark.parametrize(
    ("name", "model", "training"),
    [
        (
            "fashion-mnist-pp",  # the book's second notebook of the chapter
            dict(
                height=32,
                width=32,
                num_resnets=1,
                resolutions=2,
                filters=32,
                num_mixtures=5,
                dropout=0.3,
            ),
            dict(learning_rate=1e-3, batch_size=128, epochs=10),
        ),
        (
            "cifar10-pp",  # arXiv:1701.05517 and the authors' code
            dict(filters=192, num_resnets=5, num_mixtures=10, dropout=0.5),
            PAPERS | dict(learning_rate_decay=0.999995),
        ),
        (
            "cifar10-snail",  # the code of the authors of arXiv:1712.09763
            dict(filters=256, num_blocks=12, num_resnets=4, dropout=0.5),
            PAPERS | dict(learning_rate_decay=0.999998),
        ),
    ],
)
def test_presets_have_the_published_settings(name: str, model: dict, training: dict):
    found = pj.preset(name)
    assert vars(found.model).items() >= model.items()
    assert vars(found.training).items() >= training.items()

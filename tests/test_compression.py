"""What was compressed comes back, as short as the likelihood says, or not at all."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax import coding, compression, data, machine
from pixelcnn_jax.config import DataConfig
from pixelcnn_jax.container import Container
from tests.conftest import (
    DATA_DIR,
    needs_real_data,
    random_images,
    some_conditions,
    tiny_model,
)
from tests.family import each_model, member

pytest.importorskip("constriction")
ROOT = Path(__file__).parents[1]


def bytes_of_likelihood(model, images, **given) -> float:
    return -float(pj.log_prob(model, images, **given).sum()) / np.log(256)


@each_model
def test_every_member_is_lossless(name: str):
    model = member(name)
    images, given = random_images(model, 4), some_conditions(model, 4)
    packed = pj.compress(model, images, **given)
    labels = given.pop("labels", None)  # they are in the file
    found, classes = compression.decompress_with_labels(model, packed, **given)
    assert found.dtype == np.int32 and (found == images).all()
    assert (classes == labels) is True or (classes == labels).all()
    expected = bytes_of_likelihood(model, images, labels=labels, **given)
    assert len(packed) < 1.01 * expected + 64


def test_a_hundred_digits_take_what_the_likelihood_says():
    model = pj.load("digits")
    config = pj.preset("digits")
    images = data.load(config.data, model.config).test.images[:100]
    packed = pj.compress(model, images)
    assert len(packed) < 1.01 * bytes_of_likelihood(model, images) + 64
    assert (pj.decompress(model, packed) == images).all()


def test_another_number_of_cores_is_named_where_it_may_be_the_cause(monkeypatch):
    model = tiny_model()
    images = random_images(model, 3)
    monkeypatch.setenv("NPROC", "3")
    packed = pj.compress(model, images)
    monkeypatch.delenv("NPROC")
    assert (pj.decompress(model, packed) == images).all()
    monkeypatch.setattr(compression, "checksum", lambda _: b"")
    with pytest.raises(pj.UserError, match=r"NPROC=3 set, .* \(here \d+\)$"):
        pj.decompress(model, packed)


WIDE = """
import sys
import numpy as np
import pixelcnn_jax as pj
config = pj.PixelCNNPPConfig.tiny(
    height=6, width=6, channels=3, filters=160, levels=64,
    distribution="logistic_mixture", num_mixtures=3,
)
model = pj.build_model(config)
images = np.random.default_rng(0).integers(0, 64, (6, 6, 6, 3))
if len(sys.argv) > 2:
    open(sys.argv[1], "wb").write(pj.compress(model, images))
assert (pj.decompress(model, open(sys.argv[1], "rb").read()) == images).all()
"""


@pytest.mark.slow
def test_as_many_threads_as_wrote_a_file_open_it(tmp_path: Path):
    """Whatever the cores of the process: by the variable that the error names."""
    path, code = str(tmp_path / "x"), [sys.executable, "-c", WIDE]

    def run(number: str, command: list[str]) -> None:
        environment = {**os.environ, "NPROC": number, "JAX_PLATFORMS": "cpu"}
        subprocess.run(command, check=True, cwd=ROOT, env=environment)

    run("1", [*code, path, "write"])
    run("1", [*code, path])


@needs_real_data
@pytest.mark.slow
def test_a_hundred_clothes_take_what_the_likelihood_says():
    model = tiny_model(height=16, width=16)
    clothes = DataConfig("fashion_mnist", data_dir=f"{DATA_DIR}/fashion_mnist")
    images = data.load(clothes, model.config).test.images[:100]
    packed = pj.compress(model, images)
    assert len(packed) < 1.01 * bytes_of_likelihood(model, images) + 64


def test_more_images_than_lanes_and_another_size(monkeypatch):
    monkeypatch.setattr(coding, "LANES", 3)
    model = tiny_model()
    images = np.random.default_rng(0).integers(0, 4, (7, 4, 3, 1), np.uint8)
    packed = pj.compress(model, images)
    assert (pj.decompress(model, packed) == images).all()


@pytest.fixture(scope="module")
def packed() -> bytes:
    model = tiny_model()
    return pj.compress(model, random_images(model, 3))


def test_damaged_data_are_refused(packed: bytes):
    model = tiny_model()
    for length in range(len(packed)):
        with pytest.raises(pj.UserError, match="the compressed data must") as error:
            pj.decompress(model, packed[:length])
        assert "\n" not in str(error.value)
    for place in range(len(packed)):
        flipped = bytearray(packed)
        flipped[place] ^= 1 << place % 8
        with pytest.raises(pj.UserError, match="the compressed data must"):
            pj.decompress(model, bytes(flipped))


def test_the_header_names_where_it_can_be_read(packed: bytes):
    named = Container.from_bytes(packed).environment
    assert f"pixelcnn_jax {pj.__version__} jax {jax.__version__} jaxlib" in named
    assert f"{platform.machine()} {jax.devices()[0].device_kind}" in named


def test_no_data_at_all_are_refused():
    with pytest.raises(pj.UserError, match="the compressed data must be what compress"):
        Container.from_bytes(b"PXL1" + bytes(4))


def test_another_model_or_place_is_refused(packed: bytes, monkeypatch):
    with pytest.raises(pj.UserError, match="the same weights, got others"):
        pj.decompress(tiny_model(seed=1), packed)
    with pytest.raises(pj.UserError, match="another model, got PixelCNN"):
        pj.decompress(tiny_model(dropout=0.5), packed)
    here = compression.environment(tiny_model())
    monkeypatch.setattr(compression, "environment", lambda model: "jax 99 elsewhere")
    with pytest.raises(pj.UserError, match=f"{here}, got jax 99 elsewhere"):
        pj.decompress(tiny_model(), packed)


def test_a_coder_computes_by_its_own_precision(packed: bytes, monkeypatch):
    taken, law = set(), coding.next_law

    def note(*arguments):
        taken.add(jax.config.jax_default_matmul_precision)
        return law(*arguments)

    monkeypatch.setattr(coding, "next_law", note)
    coding._programs.cache_clear()
    with jax.default_matmul_precision("tensorfloat32"):
        pj.decompress(tiny_model(), packed)
    coding._programs.cache_clear()
    assert taken == {"highest"}


def test_programs_for_a_gpu_have_options_that_xla_knows():
    assert machine.deterministic("cpu") is None
    options = machine.deterministic("gpu")
    assert options == {"xla_gpu_deterministic_ops": True}
    assert jax.jit(lambda x: x + 1, compiler_options=options)(1) == 2


def test_a_step_that_computes_otherwise_gives_no_wrong_image(packed: bytes):
    """As on a processor that rounds otherwise: the marks fit, the weights do not."""
    other = tiny_model(seed=1)
    found = Container.from_bytes(packed)
    forged = found._replace(weights=compression.fingerprints(other)[1])
    with pytest.raises(pj.UserError, match="come out as they went in, and did not"):
        pj.decompress(other, forged.to_bytes())


def test_a_wrong_word_gives_no_wrong_image(packed: bytes):
    found = Container.from_bytes(packed)
    words = found.words.copy()
    words[0] ^= 1 << 20
    forged = found._replace(words=words).to_bytes()
    with pytest.raises(pj.UserError, match="come out as they went in, and did not"):
        pj.decompress(tiny_model(), forged)


def test_what_could_not_be_opened_is_not_written():
    with pytest.raises(pj.UserError, match="sides of at most 32767 to be compressed"):
        pj.compress(tiny_model(), np.zeros((1, 1, 2**15, 1), int))


def test_wrong_words_give_no_wrong_labels():
    pytest.importorskip("constriction")
    model = tiny_model(num_classes=5)
    packed = pj.compress(model, random_images(model, 3), np.arange(3))
    found = Container.from_bytes(packed)
    forged = found._replace(words=np.full(4, 2**32 - 1, np.uint32)).to_bytes()
    with pytest.raises(pj.UserError, match="come out as they went in, and did not"):
        pj.decompress(model, forged)


def test_wrong_images_are_refused():
    model = tiny_model()
    with pytest.raises(pj.UserError, match="at least 1, got 0"):
        pj.compress(model, np.zeros((0, 6, 5, 1), int))
    with pytest.raises(pj.UserError, match="0 to 3, got 9 to 9"):
        pj.compress(model, np.full((1, 6, 5, 1), 9))


def test_a_broken_model_is_refused():
    broken = nnx.clone(tiny_model())
    broken.last.bias[...] = jnp.full_like(broken.last.bias[...], jnp.nan)
    with pytest.raises(pj.UserError, match="probabilities of a model must be finite"):
        pj.compress(broken, random_images(broken, 3))


def test_a_missing_coder_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    model = tiny_model()
    with pytest.raises(pj.UserError, match="pip install 'pixelcnn_jax.compression"):
        pj.compress(model, random_images(model, 1))

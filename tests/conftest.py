"""Two CPU devices, exact float32 products, and what several test files use."""

import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("TQDM_DISABLE", "1")
# The tests run hundreds of programs once: compile them fast rather than well.
FAST = "--xla_backend_optimization_level=0"
if version("jaxlib").startswith("0.10."):  # later ones end at a flag they don't know
    FAST += " --xla_cpu_use_fusion_emitters=false"
    FAST += " --xla_cpu_parallel_codegen_split_count=1"  # the cores have their workers
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST}".strip()
# Many tests compile the same programs: one folder for all workers and the processes
# that they start. A file that another one is still writing is compiled anew.
os.environ.update(
    JAX_COMPILATION_CACHE_DIR=str(Path(__file__).parents[1] / ".pytest_cache/xla"),
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS="0",
    JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES="-1",
)

import jax  # noqa: E402

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_default_matmul_precision", "highest")

import dataclasses  # noqa: E402
import gc  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
from flax import nnx  # noqa: E402

import pixelcnn_jax as pj  # noqa: E402
from pixelcnn_jax.config import DataConfig, TrainingConfig  # noqa: E402
from pixelcnn_jax.params import to_params  # noqa: E402
from pixelcnn_jax.runs import Run  # noqa: E402

DATA_DIR = os.environ.get("PIXELCNN_DATA_DIR")
needs_real_data = pytest.mark.skipif(
    DATA_DIR is None, reason="PIXELCNN_DATA_DIR names no folder with the real data sets"
)


def pytest_collection_finish():
    """Collect garbage seldom: what is compiled and traced stays, and is much."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def slowly(*values):
    """Values of a parameter with which a test runs only among the slow ones."""
    many = [value if isinstance(value, tuple) else (value,) for value in values]
    return [pytest.param(*each, marks=pytest.mark.slow) for each in many]


def tiny_model(seed: int = 0, scale: float = 2.0, gated: bool = False, **overrides):
    """A small stirred network; see `tests.family.stirred`."""
    from tests.family import stirred

    kind = pj.GatedPixelCNNConfig if gated else pj.PixelCNNConfig
    return stirred(kind.tiny(**overrides), seed, scale)


def random_images(model, count: int, seed: int = 0) -> np.ndarray:
    c = model.config
    rng = np.random.default_rng(seed)
    shape = (count, c.height, c.width, c.channels)
    return rng.integers(0, c.levels, shape).astype(np.int32)


def some_labels(model, count: int) -> np.ndarray | None:
    """Classes in turn; None for a model without."""
    classes = model.config.num_classes
    return np.arange(count) % classes if classes else None


def some_conditions(
    model, count: int, size: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    """What a model takes besides images of this size, of each image other ones."""
    c, rng = model.config, np.random.default_rng(1)
    height, width = size or (c.height, c.width)
    # Where a cell can't be two pixels, it is a whole column, and one pixel wide.
    cells = 1 if height % 2 else height // 2, width if width % 2 else width // 2
    found = {}
    if c.num_classes:
        found["labels"] = some_labels(model, count)
    if c.condition_features:
        shape = (count, c.condition_features)
        found["condition"] = rng.normal(size=shape).astype(np.float32)
    if c.condition_channels:
        shape, levels = (count, *cells, c.condition_channels), c.condition_levels
        values = rng.integers(levels, size=shape) if levels else rng.normal(size=shape)
        found["condition_map"] = values.astype(np.int32 if levels else np.float32)
    return found


def same_conditions(model, count: int) -> dict[str, np.ndarray]:
    """What a model takes besides images, the same for all of them."""
    one = some_conditions(model, 1)
    return {name: values.repeat(count, 0) for name, values in one.items()}


@pytest.fixture
def tiny_config(tmp_path: Path) -> pj.Config:
    """A run on the digits that takes seconds."""
    return pj.Config(
        workdir=str(tmp_path / "run"),
        model=pj.PixelCNNConfig.tiny(height=5, width=6),
        data=DataConfig(validation_images=1300),
        training=TrainingConfig(epochs=2, batch_size=48, learning_rate=3e-3),
    )


def with_training(config: pj.Config, **fields) -> pj.Config:
    training = dataclasses.replace(config.training, **fields)
    return dataclasses.replace(config, training=training)


def whole_and_resumed(
    config: pj.Config, images, workdir: Path
) -> tuple[pj.Fit, pj.Fit]:
    """A training of two epochs in one go, and one that stopped after the first."""
    whole = pj.fit(config, images)
    pj.fit(with_training(config, epochs=1), images, workdir=str(workdir))
    return whole, pj.fit(config, images, workdir=str(workdir))


def assert_same_weights(a: pj.PixelModel, b: pj.PixelModel) -> None:
    """To the bit."""
    leaves = [jax.tree.leaves(nnx.state(model)) for model in (a, b)]
    assert all((x == y).all() for x, y in zip(*leaves, strict=True))


def refused(command: str, arguments: list[str], capsys) -> str:
    """The error line of a command that must end with status 2, in this process."""
    from pixelcnn_jax.commands.main import COMMANDS, run_command

    with pytest.raises(SystemExit) as end:
        run_command(COMMANDS[command], arguments, command)
    assert end.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def run_of(folder: Path, model: pj.PixelModel) -> Path:
    """A run's folder that holds this model, of the digits."""
    folder.mkdir(exist_ok=True)
    run = Run(folder)
    data = DataConfig(validation_images=1300)
    run.write_config(pj.Config(workdir=str(folder), model=model.config, data=data))
    run.checkpoints.save(1, {"params": to_params(model)[1]}, None)
    return folder


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Path:
    """A run of a tiny model without conditions."""
    return run_of(tmp_path_factory.mktemp("plain"), tiny_model())


@pytest.fixture(scope="session")
def image_file(tmp_path_factory) -> Path:
    """Three images for the model of `plain`."""
    path = tmp_path_factory.mktemp("images") / "in.npz"
    np.savez(path, images=random_images(tiny_model(), 3))
    return path

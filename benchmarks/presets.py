"""How far does a preset get in a few updates? Its figure for machines without a GPU.

    python benchmarks/presets.py mnist-binary --updates 30 --data-dir MNIST

The preset's own model, batches and optimizer, its warm-up shortened to a tenth of the
updates; then the negative log-likelihood of the first test images.
"""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

import jax
import numpy as np
import tyro

sys.path.insert(0, str(Path(__file__).parents[1]))

import report

import pixelcnn_jax as pj
from pixelcnn_jax import cli, data
from pixelcnn_jax.likelihood import evaluate
from pixelcnn_jax.training import Trainer


@dataclasses.dataclass(frozen=True)
class Settings:
    preset: Annotated[str, tyro.conf.Positional]
    """Its name, as for train.py."""
    updates: int = 30
    """Updates to make."""
    test_images: int = 500
    """Test images to evaluate."""
    data_dir: str | None = None
    """Folder of the data, as for train.py."""
    arrays: Path | None = None
    """Instead: a folder with train.npz and test.npz, each with uint8 images
    [N, H, W, C]."""


def load(settings: Settings, config: pj.Config) -> tuple[data.ImageSet, data.ImageSet]:
    """Training and test images."""
    if settings.arrays is None:
        source = dataclasses.replace(config.data, data_dir=settings.data_dir)
        splits = data.load(source, config.model)
        return splits.train, splits.test
    folder, c = settings.arrays, config.model

    def read(part: str) -> data.ImageSet:
        images = np.load(folder / f"{part}.npz", allow_pickle=False)["images"]
        resized = data.resize(images, c.height, c.width)
        return data.ImageSet(data.quantize(resized, c.levels), None)

    return read("train"), read("test")


def main(settings: Settings) -> None:
    config = pj.preset(settings.preset)
    training = dataclasses.replace(
        config.training, warmup_steps=settings.updates // 10, schedule="constant"
    )
    train, test = load(settings, config)
    labels = train.labels if config.model.num_classes else None
    trainer = Trainer(
        pj.build_model(config.model, config.seed),
        training,
        train.images,
        labels=labels,
        dynamic=config.data.quantization == "dynamic",
    )
    order = data.batch_order(config.seed, 0, len(train), training.batch_size)
    began = time.perf_counter()
    state = trainer.run(trainer.init(), trainer.put_order(order), 0, settings.updates)
    jax.block_until_ready(state)
    seconds = time.perf_counter() - began
    few = slice(settings.test_images)
    labels = None if labels is None or test.labels is None else test.labels[few]
    found = evaluate(trainer.model(state), test.images[few], labels, 64)
    print(report.heading(f"Preset {settings.preset}", report.environment()), "\n")
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    print(
        f"{parameters:,} parameters, {settings.updates} updates of"
        f" {training.batch_size} images in {seconds:.0f} s, compilation included;"
        f" {len(found.nats)} test images:"
        f" {found.nats_per_image:.2f} +- {found.nats_standard_error:.2f} nats/image,"
        f" {found.bits_per_dim:.3f} bits/dim"
    )


if __name__ == "__main__":
    cli.use_machine_well()
    main(tyro.cli(Settings, description=__doc__))

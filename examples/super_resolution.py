"""4x super-resolution of the digits: a coarse image conditions a fine model.

Of each 16x16 digit the mean of every 4x4 block is kept, a 4x4 map. A Gated PixelCNN
draws the fine image given the map. Beside it, the same network without the map: what
the map saves, in bits per dimension, is what it tells of the image.

    python examples/super_resolution.py [--quick]
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro

import pixelcnn_jax as pj
from pixelcnn_jax import data, likelihood, pictures
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.files import write_bytes

FACTOR = 4

NETWORK = pj.GatedPixelCNNConfig(features=32, num_layers=4, head_features=64)
QUICK = pj.GatedPixelCNNConfig(features=4, num_layers=1, head_features=4)


@dataclasses.dataclass(frozen=True)
class Settings:
    epochs: int = 10
    """Passes over the 1,300 training digits, of each of the two models."""
    seed: int = 0
    """Of training and samples."""
    show: int = 8
    """Test digits in the picture."""
    samples: int = 6
    """Fine images drawn for each of them."""
    output: str = "super_resolution.png"
    """The picture: a digit, its map, samples given the map."""
    quick: bool = False
    """One pass with small networks over few digits: tries the program out."""


def coarse(images: np.ndarray, levels: int) -> np.ndarray:
    """The mean of every block of levels ``[N, H, W, C]``, float32 from 0 to 1."""
    count, height, width, channels = images.shape
    shape = (count, height // FACTOR, FACTOR, width // FACTOR, FACTOR, channels)
    means = images.reshape(shape).mean((2, 4)) / (levels - 1)
    return means.astype(np.float32)


def with_maps(images: data.ImageSet, levels: int) -> data.ImageSet:
    """The set with what its images are conditioned on."""
    maps = coarse(np.asarray(images.images), levels)
    return dataclasses.replace(images, condition_map=maps)


def trained(settings: Settings, splits: data.Splits, *, channels: int) -> pj.PixelModel:
    """A model of the digits, given maps of so many channels; of 0, given nothing."""
    network = QUICK if settings.quick else NETWORK
    config = pj.Config(
        seed=settings.seed,
        model=dataclasses.replace(network, dropout=0.2, condition_channels=channels),
        training=TrainingConfig(
            epochs=1 if settings.quick else settings.epochs,
            batch_size=32,
            learning_rate=2e-3,
            schedule="cosine",
            ema_decay=0.99,
        ),
    )
    levels, most = config.model.levels, 64 if settings.quick else None
    sets = [x.choose(slice(most)) for x in (splits.train, splits.validation)]
    sets = [with_maps(x, levels) for x in sets]
    return pj.fit(config, *sets).model


def main(settings: Settings) -> None:
    splits = data.load(DataConfig(), NETWORK)
    levels = NETWORK.levels
    test = np.asarray(splits.test.images)[: settings.show if settings.quick else None]
    maps = coarse(test, levels)

    free = trained(settings, splits, channels=0)
    bits = likelihood.evaluate(free, test)
    print(f"without the map: {bits.bits_per_dim:.4f} bits/dim of {len(test)} digits")
    model = trained(settings, splits, channels=1)
    bits = likelihood.evaluate(model, test, condition_map=maps)
    print(f"given the map:   {bits.bits_per_dim:.4f} bits/dim")

    chosen = slice(settings.show)
    drawn = np.asarray(
        pj.sample(
            model,
            jax.random.key(settings.seed),
            settings.show * settings.samples,
            condition_map=maps[chosen].repeat(settings.samples, 0),
        )
    )
    error = np.abs(coarse(drawn, levels) - maps[chosen].repeat(settings.samples, 0))
    print(f"maps of the samples: off by {error.mean():.3f} of a scale from 0 to 1")

    def shades(images: np.ndarray) -> np.ndarray:
        return np.rint(images * (255 / (levels - 1))).astype(np.uint8)

    blocks = (maps[chosen] * (levels - 1)).repeat(FACTOR, 1).repeat(FACTOR, 2)
    samples = drawn.reshape(settings.show, settings.samples, *test.shape[1:])
    rows = [test[chosen, None], blocks[:, None], samples]
    strips = np.concatenate([shades(x) for x in rows], 1)
    each = np.arange(settings.show).repeat(strips.shape[1])
    grid = pictures.grid(strips.reshape(-1, *test.shape[1:]), 256, each)
    write_bytes(Path(settings.output), pictures.to_png(grid))
    print(f"{settings.output}: a digit, its map, samples given the map")


if __name__ == "__main__":
    pj.use_all_cores()
    main(tyro.cli(Settings, description=__doc__))

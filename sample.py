"""Draw images from a trained model: python sample.py [OPTIONS]"""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np

import pixelcnn_jax as pj
from pixelcnn_jax import checkpoints, cli, images, sampling
from pixelcnn_jax.errors import require


@dataclasses.dataclass(frozen=True)
class Settings:
    workdir: str = "digits"
    """A run's folder, or the model that ships with the package: digits."""
    checkpoint: checkpoints.Which = "best"
    """The best on the validation images (the latest if there were none), or the
    latest."""
    num_images: int = 64
    """How many images to draw."""
    seed: int = 0
    """The same seed draws the same images."""
    temperature: float = 1.0
    """1 samples the model; less gives likelier images, 0 the likeliest levels."""
    batch_size: int = 256
    """Images drawn at a time: bounds memory, changes no image."""
    method: sampling.Method = "cached"
    """How to sample; the images are the same. full is the slow textbook loop."""
    output: str = "samples.png"
    """.png: a grid to look at; .npy or .npz: the levels as integers [N, H, W, C]."""


def main(args: list[str]) -> None:
    about = "Draw images from a trained model."
    settings = cli.parse(Settings, Settings(), args, "sample.py", about)
    output = Path(settings.output)
    require(
        output.suffix in (".png", ".npy", ".npz"),
        f"--output must end in .png, .npy or .npz, got {output}; try samples.png",
    )
    require(
        output.parent.is_dir() and not output.is_dir(),
        f"--output must be a file in an existing folder, got {output}",
    )
    model = pj.load(settings.workdir, settings.checkpoint)
    began = time.perf_counter()
    drawn = np.asarray(
        pj.sample(
            model,
            jax.random.key(settings.seed),
            settings.num_images,
            temperature=settings.temperature,
            method=settings.method,
            batch_size=settings.batch_size,
        )
    )
    seconds = time.perf_counter() - began
    levels = model.config.levels
    if output.suffix == ".png":
        images.save_png(output, images.grid(drawn, levels))
    elif output.suffix == ".npy":
        np.save(output, drawn)
    else:
        np.savez_compressed(output, images=drawn, levels=levels)
    print(f"{output}: {len(drawn)} images in {seconds:.1f} s, compilation included")


if __name__ == "__main__":
    cli.main(main)

"""A prior over codes: a small VQ of the digits, codes in, samples of codes out.

k-means turns each 2x2 patch of a digit into the number of the patch nearest to it, so a
digit becomes 4x4 codes. A Gated PixelCNN learns them, from a file as any VQ-VAE could
write it, and draws new codes, which the VQ turns back into digits.

    python examples/vq_codes.py [--quick]
"""

import dataclasses
from pathlib import Path

import jax
import numpy as np
import tyro
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits

import pixelcnn_jax as pj
from pixelcnn_jax import data, pictures
from pixelcnn_jax.config import DataConfig, TrainingConfig
from pixelcnn_jax.files import write_bytes
from pixelcnn_jax.runs import Run

PATCH = 2

# A code is a name, and no brightness: the network learns a vector for each.
NETWORK = pj.GatedPixelCNNConfig(
    features=64,
    num_layers=4,
    head_features=128,
    dropout=0.3,
    pixel_input="embedding",
    embedding_features=16,
)
QUICK = pj.GatedPixelCNNConfig(
    features=8, num_layers=1, head_features=8, pixel_input="embedding"
)


@dataclasses.dataclass(frozen=True)
class Settings:
    codes: int = 128
    """Patches that k-means chooses."""
    epochs: int = 20
    """Passes over the codes."""
    seed: int = 0
    """Of k-means, training and samples."""
    folder: str = "runs/vq-codes"
    """For codes.npy, the run, and digits.png: digits, what the VQ keeps of them, and
    samples."""
    quick: bool = False
    """One pass with a small network: tries the program out."""


def to_patches(images: np.ndarray) -> np.ndarray:
    """Patches ``[N, h, w, PATCH**2]`` of images ``[N, H, W]``."""
    count, height, width = images.shape
    cut = images.reshape(count, height // PATCH, PATCH, width // PATCH, PATCH)
    return cut.swapaxes(2, 3).reshape(*cut.shape[:2], width // PATCH, PATCH**2)


def to_images(patches: np.ndarray) -> np.ndarray:
    """What `to_patches` has cut."""
    count, height, width = patches.shape[:3]
    cut = patches.reshape(count, height, width, PATCH, PATCH).swapaxes(2, 3)
    return cut.reshape(count, height * PATCH, width * PATCH)


def train_prior(settings: Settings, path: Path) -> Path:
    """A run on the codes of a file; height, width and levels are taken from it."""
    config = pj.Config(
        seed=settings.seed,
        model=QUICK if settings.quick else NETWORK,
        training=TrainingConfig(
            epochs=1 if settings.quick else settings.epochs,
            batch_size=32,
            learning_rate=2e-3,
            schedule="cosine",
            ema_decay=0.99,
        ),
    ).from_data()
    return pj.train(
        dataclasses.replace(
            config,
            workdir=f"{settings.folder}/run",
            data=DataConfig("images", path=str(path), validation_images=150),
        )
    )


def main(settings: Settings) -> None:
    digits = np.asarray(load_digits(return_X_y=True)[0]).reshape(-1, 8, 8)
    patches = to_patches(digits)
    vq = KMeans(settings.codes, random_state=settings.seed)
    codes = vq.fit_predict(patches.reshape(-1, PATCH**2)).reshape(patches.shape[:3])
    path = Path(settings.folder) / "codes.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, codes)
    book = vq.cluster_centers_
    kept = to_images(book[codes])
    print(f"{path}: {codes.shape} codes of {settings.codes} values")
    print(f"error of the VQ: {np.abs(kept - digits).mean():.2f} of 16 grey levels")

    run = train_prior(settings, path)
    model = pj.load(run)
    config = Run(run).config()
    splits = data.load(config.data, config.model)
    test = np.asarray(splits.test.images)
    bits = np.asarray(pj.bits_per_dim(model, test)).mean()
    alone = independent_bits(np.asarray(splits.train.images), test, settings.codes)
    print(f"test codes: {bits:.3f} bits each, {alone:.3f} if each place were alone")

    drawn = pj.sample(model, jax.random.key(settings.seed), 16)
    samples = to_images(book[np.asarray(drawn)[..., 0]])
    rows = np.concatenate([digits[:16], kept[:16], samples])
    shades = np.rint(rows * (255 / 16)).clip(0, 255).astype(np.uint8)[..., None]
    grid = pictures.grid(shades, 256, np.arange(3).repeat(16))
    picture = Path(settings.folder) / "digits.png"
    write_bytes(picture, pictures.to_png(grid))
    print(f"{picture}: digits, what the VQ keeps of them, samples")


def independent_bits(train: np.ndarray, test: np.ndarray, codes: int) -> float:
    """Of a code of ``test`` by how often it is at its place in ``train``."""
    counts = np.stack([(train == code).sum(axis=0) for code in range(codes)]) + 0.1
    shares = np.log2(counts / counts.sum(axis=0))
    places = np.indices(test.shape[1:])
    return float(-np.mean([shares[(image, *places)] for image in test]))


if __name__ == "__main__":
    pj.use_all_cores()
    main(tyro.cli(Settings))

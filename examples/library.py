"""The library in a minute: python examples/library.py"""

import jax
import numpy as np

import pixelcnn_jax as pj
from pixelcnn_jax.config import TrainingConfig

# Every core of a CPU computes. To be called before anything else of JAX.
pj.use_all_cores()

# A trained model: the folder of a run, or the one that ships with the package.
model = pj.load("digits")

# 64 images in one compiled program: int32 [64, 16, 16, 1] in [0, levels).
images = pj.sample(model, jax.random.key(0), 64)

# The exact likelihood of any images, in nats and in bits per dimension.
print("samples:", pj.bits_per_dim(model, images).mean(), "bits/dim")
noise = np.random.default_rng(0).integers(0, 4, images.shape)
print("noise:  ", pj.bits_per_dim(model, noise).mean(), "bits/dim")

# Everything works inside jit. Cooler samples are likelier ones.
cooler = jax.jit(lambda key: pj.sample(model, key, 64, temperature=0.7))
print("cooler: ", pj.bits_per_dim(model, cooler(jax.random.key(0))).mean(), "bits/dim")

# The network itself: logits [B, H, W, C, V], each given all earlier pixels.
print("chance of a black first pixel:", jax.nn.softmax(model(images))[0, 0, 0, 0, 0])

# Any network of the family, untrained.
wide = pj.build_model(pj.PixelCNNConfig(height=28, width=28, levels=256), seed=0)
print("untrained, 256 levels:", pj.bits_per_dim(wide, np.zeros((1, 28, 28, 1), int)))

# Training on arrays in memory: levels [N, H, W, C]. Here stripes of two levels.
stripes = np.random.default_rng(0).integers(0, 2, (256, 8, 1, 1)).repeat(8, axis=2)
config = pj.Config(
    model=pj.PixelCNNConfig.tiny(height=8, width=8, levels=2),
    training=TrainingConfig(epochs=5, batch_size=32, learning_rate=1e-2),
)
trained, history = pj.fit(config, stripes[:192], stripes[192:])
print("stripes:", history[-1].validation_bits_per_dim, "bits/dim")

# Many draws with the same weights: put them on the devices once.
sampler = pj.Sampler(trained)
print(sampler(jax.random.key(0), 1)[0, :, :, 0])

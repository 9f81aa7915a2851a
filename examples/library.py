"""The library in a minute: python examples/library.py"""

import jax
import numpy as np

import pixelcnn_jax as pj

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

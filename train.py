"""Train a PixelCNN: python train.py [PRESET] [OPTIONS]"""

from pixelcnn_jax.doors import door

if __name__ == "__main__":
    door("train")

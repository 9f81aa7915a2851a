"""Train a PixelCNN: python train.py [PRESET] [OPTIONS]"""

from pixelcnn_jax.commands.main import door
from pixelcnn_jax.commands.train import COMMAND

if __name__ == "__main__":
    door(COMMAND)

"""Draw images from a trained model: python sample.py [OPTIONS]"""

from pixelcnn_jax.commands.main import door
from pixelcnn_jax.commands.sample import COMMAND

if __name__ == "__main__":
    door(COMMAND)

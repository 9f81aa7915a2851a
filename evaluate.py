"""The likelihood of a data set under a trained model: python evaluate.py [OPTIONS]"""

from pixelcnn_jax.commands.evaluate import COMMAND
from pixelcnn_jax.commands.main import door

if __name__ == "__main__":
    door(COMMAND)

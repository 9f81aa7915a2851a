"""The likelihood of a data set under a trained model: python evaluate.py [OPTIONS]"""

from pixelcnn_jax.doors import door

if __name__ == "__main__":
    door("evaluate")

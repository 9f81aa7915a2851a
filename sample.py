"""Draw images from a trained model: python sample.py [OPTIONS]"""

from pixelcnn_jax.doors import door

if __name__ == "__main__":
    door("sample")

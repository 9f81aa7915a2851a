"""python -m pixelcnn_jax"""

from pixelcnn_jax.doors import main

main()

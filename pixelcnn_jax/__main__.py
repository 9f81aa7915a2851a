"""python -m pixelcnn_jax"""

from pixelcnn_jax.commands.main import main

main()

"""Parameters as version 0.1.0 stored them, and what they are now.

That version kept a kernel as ``[rows, K, C, D]``, with entries that no output could
see, and a model's class vectors in one list. Only the two models that it had are
concerned; later ones have never been stored so.
"""

import jax
import jax.numpy as jnp

from pixelcnn_jax.layers import CausalConv
from pixelcnn_jax.masks import reach
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.gated import GatedPixelCNN
from pixelcnn_jax.params import to_params

Params = dict[str, jax.Array]


def old_shapes(model: PixelModel) -> dict[str, jax.ShapeDtypeStruct]:
    """The parameters of a model as 0.1.0 would have stored them; it may be abstract."""
    _, params = to_params(model)
    layers = model.causal_layers()
    shapes = {}
    for name, value in params.items():
        layer = layers.get(name.removesuffix(".kernel"))
        shape = value.shape
        if isinstance(layer, CausalConv):
            above, left, _ = reach(layer.taps)
            # As wide as the whole kernel: the masked half to the right was stored too.
            shape = (above + 1, 2 * left + 1, *value.shape[1:])
        shapes[_old_name(model, name)] = jax.ShapeDtypeStruct(shape, value.dtype)
    return shapes


def convert(model: PixelModel, old: Params) -> Params:
    """Values under 0.1.0's names, such as weights or their moments, as they are now."""
    _, params = to_params(model)
    layers = model.causal_layers()
    new = {}
    for name in params:
        value = old[_old_name(model, name)]
        layer = layers.get(name.removesuffix(".kernel"))
        if isinstance(layer, CausalConv):
            above, left, _ = reach(layer.taps)
            rows, columns = zip(*layer.taps, strict=True)
            value = value[
                jnp.array(rows) + above, jnp.array(columns) + left
            ]  # [T, C, D]
        new[name] = value
    return new


def _old_name(model: PixelModel, name: str) -> str:
    """The name of a parameter in 0.1.0."""
    if name.endswith(".table"):
        return f"biases.{_index_of_table(model, name)}.table"
    return name.replace(".middle.", ".spread.")


def _index_of_table(model: PixelModel, name: str) -> int:
    """Where a class table stood in the model's list of them, in the order of use."""
    place = name.split(".")
    if isinstance(model, GatedPixelCNN):
        # Each gated layer had two, the vertical stack's first.
        return 2 * int(place[1]) + (place[2] == "horizontal_condition")
    return 0 if place[0] == "condition" else 1 + int(place[1])

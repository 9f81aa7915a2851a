"""Classes from a generative model, by Bayes' rule."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from pixelcnn_jax.arguments import require_probabilities
from pixelcnn_jax.layers import Conditions, OtherConditions
from pixelcnn_jax.likelihood import (
    ImageRows,
    image_log_prob,
    of_each_class,
    split_for,
)
from pixelcnn_jax.models.base import PixelModel
from pixelcnn_jax.models.graph import Graph
from pixelcnn_jax.models.input_checks import require_classes

Array = jax.Array | np.ndarray


def class_log_posterior(
    model: PixelModel,
    images: Array,
    prior: Array | None = None,
    *,
    condition: Array | None = None,
    condition_map: Array | None = None,
) -> jax.Array:
    """Log-probability of each class given the image.

    ``log p(k | x) = log prior_k + log p(x | k) - log sum_j prior_j p(x | j)``. One pass
    of the network for each class. Works inside ``jit`` and under ``grad``.

    Args:
        model: a model with classes, K of them.
        images: integers ``[B, H, W, C]`` in ``[0, levels)``.
        prior: the probability of each class, float ``[K]``, such as its frequency;
            None: all the same. Inside ``jit`` its values are not checked.
        condition, condition_map: of each image, for a model that has them; see
            `sample`.

    Returns:
        float32 ``[B, K]``, in nats; the exponentials of a row sum to one.

    Raises:
        UserError: the model has no classes, the prior is none, or see `log_prob`.
    """
    classes = require_classes("a posterior of classes", model)
    if prior is None:
        prior = np.full(classes, 1 / classes, np.float32)
    require_probabilities("the prior", prior, classes)
    any_class = np.zeros(getattr(images, "shape", ())[:1], np.int32)
    given = Conditions(any_class, condition, condition_map)
    graph, params = split_for(model, images, given)
    log_prior = jnp.log(jnp.asarray(prior, jnp.float32))
    arrays = jax.tree.map(jnp.asarray, (images, given))
    return _posterior(graph, params, *arrays, log_prior)


@partial(jax.jit, static_argnums=0)
def _posterior(
    graph: Graph,
    params: nnx.State,
    images: jax.Array,
    given: Conditions,
    log_prior: jax.Array,
) -> jax.Array:
    model = graph.model(params)

    def of_class(label: jax.Array) -> jax.Array:
        labels = jnp.full(len(images), label)
        return image_log_prob(model, images, given._replace(labels=labels))

    # One class after another: all at once would take K times the memory.
    likelihood_KB = lax.map(of_class, jnp.arange(len(log_prior)))
    return jax.nn.log_softmax(likelihood_KB.T + log_prior)


def evaluate_classes(
    model: PixelModel,
    images: ImageRows,
    batch_size: int = 128,
    *,
    condition: np.ndarray | None = None,
    condition_map: np.ndarray | None = None,
) -> np.ndarray:
    """Log-likelihood of every image given each class, float64 ``[N, K]``, in nats.

    Arguments and errors as for `evaluate`; the model has K classes.
    """
    classes = range(require_classes("a likelihood of each class", model))
    given = OtherConditions(condition=condition, condition_map=condition_map)
    return of_each_class(model, images, classes, batch_size, given)

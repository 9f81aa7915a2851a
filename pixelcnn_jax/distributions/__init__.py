"""What a network's last layer parameterises: a distribution over a pixel's levels."""

from pixelcnn_jax.config import ModelConfig
from pixelcnn_jax.distributions.base import Distribution
from pixelcnn_jax.distributions.categorical import Categorical
from pixelcnn_jax.distributions.logistic_mixture import DiscretizedLogisticMixture

__all__ = [
    "Categorical",
    "DiscretizedLogisticMixture",
    "Distribution",
    "build_distribution",
]


def build_distribution(config: ModelConfig) -> Distribution:
    """The output distribution that a model's config names."""
    if config.distribution == "categorical":
        return Categorical(config.channels, config.levels)
    return DiscretizedLogisticMixture(
        config.channels, config.levels, config.num_mixtures
    )

"""Rules that several settings share."""

from pixelcnn_jax.errors import require


def require_at_least(group: str, config: object, field: str, least: int) -> None:
    value = getattr(config, field)
    require(
        value >= least,
        f"{group}.{field} must be at least {least}, got {value}; try {least}",
    )


def require_share(group: str, config: object, field: str, example: float) -> None:
    value = getattr(config, field)
    require(
        0 <= value < 1,
        f"{group}.{field} must be at least 0 and below 1, got {value}; try {example}",
    )


def require_one_of(group: str, config: object, field: str, names: str) -> None:
    value = getattr(config, field)
    require(
        value in names.split(),
        f"{group}.{field} must be one of {', '.join(names.split())}, got {value!r}",
    )

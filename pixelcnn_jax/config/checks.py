"""Rules that several settings share."""

from typing import Any

from pixelcnn_jax.errors import require


def require_at_least(group: str, config: Any, field: str, least: int) -> None:
    value = getattr(config, field)
    require(
        value >= least,
        f"{group}.{field} must be at least {least}, got {value}; try {least}",
    )


def require_one_of(group: str, config: Any, field: str, names: str) -> None:
    value = getattr(config, field)
    require(
        value in names.split(),
        f"{group}.{field} must be one of {', '.join(names.split())}, got {value!r}",
    )

"""The share of a logistic that lies in a bin, in logarithms."""

import math

import jax
import jax.numpy as jnp

# Below x = e**-20 float32 loses x / 2 beside 1; at e**4.4 = 81, exp(-x) is still a
# normal float32.
MIN_LOG_X, MAX_LOG_X = -20.0, 4.4
"""Outside, `log1mexp` equals log x or 0 to float32; inside, nothing overflows."""

# exp(-20) = 2e-9 is lost beside 1 in float32.
FAR = 20.0
"""Beyond, a logistic's tail is exp(-z) to float32."""


def log_bin_mass(
    offsets: jax.Array, log_scales: jax.Array, is_first: jax.Array, is_last: jax.Array
) -> jax.Array:
    """Log of what logistics leave in bins, whose centres are at offsets from the means.

    Between the edges a < b of a bin that is sigmoid(b) - sigmoid(a)
    = sigmoid(b) sigmoid(-a) (1 - exp(a - b)): a product, so no digits cancel in either
    tail, with b - a = 2 / scale taken directly. The first and the last bin take the
    tails, and so lack a factor each.

    Args:
        offsets, log_scales: in half-widths of a bin.
        is_first, is_last: which bins are at the edge. All arguments broadcast.
    """
    inverse_scales = jnp.exp(-log_scales)
    odds_above, log_below = _tail((offsets + 1) * inverse_scales, is_last)
    odds_below, log_above = _tail((1 - offsets) * inverse_scales, is_first)
    between = jnp.where(is_first | is_last, 0, log1mexp(math.log(2) - log_scales))
    # One logarithm for both sigmoids: (1 + p) (1 + q) = 1 + (p + q + p q).
    both = odds_above + odds_below + odds_above * odds_below
    return log_below + log_above + between - jnp.log1p(both)


def _tail(edges: jax.Array, is_dropped: jax.Array) -> tuple[jax.Array, jax.Array]:
    """``(odds, rest)`` such that log sigmoid(edges) = rest - log1p(odds).

    The odds of lying beyond are exp(-edges), stopped where they would overflow; the
    rest is what that leaves out. There are no kinks but at the stop, where all
    derivatives agree to float32. Every term is finite, so a dropped one leaves no nan
    in gradients.
    """
    odds = jnp.exp(jnp.minimum(-edges, FAR))
    rest = jnp.minimum(edges + FAR, 0)
    return jnp.where(is_dropped, 0, odds), jnp.where(is_dropped, 0, rest)


@jax.custom_jvp
def log1mexp(log_x: jax.Array) -> jax.Array:
    """``log(1 - exp(-x))`` from ``log x``, finite and exact for every x > 0.

    It takes the logarithm since x may be below the smallest float, where the value is
    ``log x`` itself. The two cases of Mächler 2012, Accurately Computing log(1 -
    exp(-|a|)), with log1p by the correction of Kahan, so that they share one logarithm.
    """
    x = _exp_in_range(log_x)
    mass, tail = -jnp.expm1(-x), jnp.exp(-x)  # 1 - tail, both without lost digits
    rounded_tail = 1 - mass
    correction = tail / jnp.where(rounded_tail > 0, rounded_tail, 1)
    large = jnp.where(rounded_tail > 0, jnp.log(mass) * correction, -tail)
    value = jnp.where(x < math.log(2), jnp.log(mass), large)
    return jnp.where(log_x < MIN_LOG_X, log_x, value)


# By hand, since Kahan's correction lives on rounding, which derivatives do not see.
@log1mexp.defjvp
def _log1mexp_jvp(primals, tangents):
    (log_x,), (tangent,) = primals, tangents
    x = _exp_in_range(log_x)
    # The same terms as in the value, which XLA then computes once.
    return log1mexp(log_x), x * jnp.exp(-x) / -jnp.expm1(-x) * tangent


def _exp_in_range(log_x: jax.Array) -> jax.Array:
    return jnp.exp(jnp.clip(log_x, MIN_LOG_X, MAX_LOG_X))

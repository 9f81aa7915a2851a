"""What the rest of the package may ask of an output distribution."""

from typing import Protocol

import jax


class Distribution(Protocol):
    """The law of one pixel, given numbers that a network puts out for it.

    To write a distribution, make an immutable class that can be hashed (a frozen
    dataclass) of everything below, and give it a line in `build_distribution` and one
    in the tests' ``REGISTRY``. It owes:

    1. Sizes: `channels` and `levels` of a pixel; the `num_outputs` that the last layer
       has for it; the `steps_per_pixel` after each of which the network is told what
       was drawn; the `ordered_channels` that the masks must keep apart.
    2. A layout: `outputs` turns the last layer's values into float32 arrays with all
       of a pixel's numbers on the last axes. What stands before them is ``[...]``
       here: any axes of positions, the same for the pixels.
    3. The law, three times: `log_prob` of a pixel, split over network steps by
       `step_log_prob`, and over channels by `conditional`. All three agree.
    4. Draws of that law: `draw`, once for each network step.

    Everything is pure, and works under ``jit``, ``vmap`` and differentiation in the
    outputs, forward and reverse, twice too.
    """

    @property
    def channels(self) -> int:
        """Channels of a pixel: the symbols that a coder reads for it."""
        ...

    @property
    def levels(self) -> int:
        """Values that a channel can take, V."""
        ...

    @property
    def num_outputs(self) -> int:
        """Network outputs that a pixel needs, P."""
        ...

    @property
    def steps_per_pixel(self) -> int:
        """Network steps that drawing one pixel takes."""
        ...

    @property
    def ordered_channels(self) -> int:
        """Channels whose order the network's masks must carry.

        1 if the distribution itself carries it, so that a pixel is whole to the masks.
        """
        ...

    def outputs(self, raw: jax.Array, axis: int = -1) -> jax.Array:
        """The last layer's values as float32, a pixel's numbers last.

        Args:
            raw: floats with `num_outputs` values on ``axis``: 0 after a pass over
                images (``[P, B, H, W]``), -1 after a step (``[F, B, P]``).
            axis: where they stand. The other axes keep their order.
        """
        ...

    def log_prob(self, outputs: jax.Array, pixels: jax.Array) -> jax.Array:
        """Log-probability of each pixel in nats, all channels together.

        Args:
            outputs: what `outputs` returned.
            pixels: integers ``[..., C]`` in ``[0, V)``. Outside of that the result is
                -inf.

        Returns:
            float32 ``[...]``.
        """
        ...

    def step_log_prob(
        self, outputs: jax.Array, pixels: jax.Array, step: int
    ) -> jax.Array:
        """Nats of what one network step draws; over all steps they sum to `log_prob`.

        Args:
            outputs: the network's after the draws of earlier steps.
            pixels: integers ``[..., C]``; what later steps draw is not read.
            step: which of the `steps_per_pixel`.

        Returns:
            float32 ``[...]``.
        """
        ...

    def conditional(
        self, outputs: jax.Array, before: jax.Array, channel: int
    ) -> jax.Array:
        """Log-probabilities of all levels of a channel, given the earlier channels.

        Their exponentials sum to one over the levels, and the pixel's own values of
        them sum to `log_prob` over the channels.

        Args:
            outputs: the network's after the draws of earlier channels.
            before: integers ``[..., C]``; those from ``channel`` on are not read.
            channel: which of the `channels`.

        Returns:
            float32 ``[..., V]``, nats.
        """
        ...

    def draw(
        self,
        pixel_keys: jax.Array,
        outputs: jax.Array,
        before: jax.Array,
        step: int,
        temperature: jax.Array | float,
    ) -> jax.Array:
        """The pixels with what this network step draws filled in.

        A pixel's noise depends on its key only, whatever the other axes.

        Args:
            pixel_keys: one key per pixel, ``[...]``.
            outputs: the network's after the draws of earlier steps.
            before: int32 ``[..., C]``, known up to this step.
            step: which of the `steps_per_pixel`.
            temperature: 1 draws from the law; 0 gives its likeliest value, as each
                distribution defines it.

        Returns:
            int32 ``[..., C]``.
        """
        ...

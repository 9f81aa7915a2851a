import numpy as np
import pytest

from pixelcnn_jax.masks import (
    causal_mask,
    channel_of_feature,
    live_taps,
    receptive_field,
    wavefront_lag,
)
from tests.conftest import tiny_model


def test_mask_a_sees_above_and_left_only():
    expected = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert causal_mask(5, "A", 1, 1)[:, :, 0, 0].tolist() == expected


def test_mask_b_sees_itself_too():
    assert causal_mask(3, "B", 1, 1)[:, :, 0, 0].tolist() == [[1, 1, 1], [1, 1, 0]]


def test_a_pointwise_mask_sees_itself_under_b_and_nothing_under_a():
    assert causal_mask(1, "B", 1, 1).tolist() == [[[[1]]]]
    assert causal_mask(1, "A", 1, 1).tolist() == [[[[0]]]]


def test_centre_keeps_the_order_of_the_channels():
    # Six input and three output features of an image with three channels.
    centre_a = causal_mask(3, "A", 6, 3, 3)[1, 1]
    centre_b = causal_mask(3, "B", 6, 3, 3)[1, 1]
    rows_a = [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    rows_b = [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]]
    assert centre_a.tolist() == rows_a
    assert centre_b.tolist() == rows_b


def test_other_taps_see_every_channel():
    mask = causal_mask(3, "A", 3, 3, 3)
    assert mask[0].all() and mask[1, 0].all() and not mask[1, 2].any()


def test_the_vertical_stack_sees_rows_above_and_its_own_features_only():
    first = causal_mask(5, "A", 1, 1, stack="vertical")[:, :, 0, 0]
    assert first.tolist() == [[1] * 5, [1] * 5, [0] * 5]
    later = causal_mask(3, "B", 1, 1, stack="vertical")[:, :, 0, 0]
    assert later.tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_horizontal_stack_sees_the_row_so_far():
    first = causal_mask(5, "A", 1, 1, stack="horizontal")[:, :, 0, 0]
    assert first.tolist() == [[1, 1, 0, 0, 0]]
    later = causal_mask(3, "B", 1, 1, stack="horizontal")[:, :, 0, 0]
    assert later.tolist() == [[1, 1, 0]]


def test_both_halves_of_a_gate_keep_the_order_of_the_channels():
    centre = causal_mask(1, "B", 2, 4, 2, stack="horizontal", parts=2)[0, 0]
    assert centre.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]
    assert channel_of_feature(12, 3, 2).tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_features_must_divide_into_channels():
    assert channel_of_feature(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="multiple of 1 x 3 channels, got 8;.* 9"):
        channel_of_feature(8, 3)


def test_live_taps_are_in_raster_order():
    assert live_taps(causal_mask(3, "A", 1, 1)) == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert live_taps(causal_mask(3, "A", 3, 3, 3))[-1] == (1, 1)


@pytest.mark.parametrize("size", [0, 2])
def test_even_kernels_are_refused(size: int):
    with pytest.raises(ValueError, match="odd"):
        causal_mask(size, "A", 1, 1)


def test_receptive_field_of_one_layer_is_its_mask():
    seen = receptive_field([(3, "A")], 3, 4)[1, 1, 0, :, :, 0]
    assert seen.astype(int).tolist() == [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]


def test_the_books_network_has_the_known_blind_spot():
    layers = [(7, "A"), *[(3, "B")] * 5]
    seen = receptive_field(layers, 16, 16)[:, :, 0, :, :, 0].reshape(256, 256)
    earlier = np.tril(np.ones((256, 256), bool), -1)
    assert not (seen & ~earlier).any()
    blind = 1 - seen.sum() / earlier.sum()
    assert 0.445 < blind < 0.455
    # Eight pixels, besides the first, which has no context, see all of theirs.
    assert (seen.sum(1) == np.arange(256))[1:].sum() == 8


@pytest.mark.parametrize(
    ("first", "other", "channels", "lag"),
    [
        (7, 3, 1, 4),
        (3, 5, 1, 2),
        (3, 7, 1, 3),
        (3, 9, 1, 4),
        (7, 3, 3, 4),
        (3, 7, 3, 4),
    ],
)
def test_wavefront_lag(first: int, other: int, channels: int, lag: int):
    assert wavefront_lag([(first, "A"), (other, "B"), (1, "B")], channels) == lag
    model = tiny_model(
        first_kernel_size=first, kernel_size=other, channels=channels, features=12
    )
    assert model.wavefront_lag == lag

import numpy as np
import pytest
from flax import nnx

import pixelcnn_jax as pj
from pixelcnn_jax.masks import (
    above,
    as_square,
    block,
    channel_of_feature,
    kernel_mask,
    lag,
    left,
    live_taps,
    square,
)


def drawn(taps, mask_type="B") -> list[list[int]]:
    """The picture of a mask with one channel, as books draw it."""
    live = live_taps(taps, mask_type)
    mask = kernel_mask(live, mask_type, 1, 1)
    return as_square(live, mask)[:, :, 0, 0].astype(int).tolist()


def test_mask_a_sees_above_and_left_only():
    assert drawn(square(5), "A") == [
        [1, 1, 1, 1, 1],
        [1, 1, 1, 1, 1],
        [1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
    ]


def test_mask_b_sees_itself_too():
    assert drawn(square(3)) == [[1, 1, 1], [1, 1, 0], [0, 0, 0]]


def test_a_pointwise_kernel_sees_itself_under_b_and_nothing_under_a():
    assert drawn(square(1)) == [[1]]
    assert live_taps(square(1), "A") == ()


def test_the_vertical_stack_sees_rows_above_and_its_own_features_only():
    assert drawn(above(3, "A"), "A") == [[1, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert drawn(above(3)) == [[1, 1, 1], [1, 1, 1], [0, 0, 0]]


def test_the_horizontal_stack_sees_the_row_so_far():
    five = [[0] * 5, [0] * 5, [1, 1, 0, 0, 0], [0] * 5, [0] * 5]
    assert drawn(left(5), "A") == five
    assert drawn(left(3)) == [[0, 0, 0], [1, 1, 0], [0, 0, 0]]


def test_a_block_ends_with_the_centre():
    assert block(2, 2) == ((-1, -1), (-1, 0), (0, -1), (0, 0))


def test_centre_keeps_the_order_of_the_channels():
    # Six input and three output features of an image with three channels.
    centre_a = kernel_mask(square(3), "A", 6, 3, 3)[-1]
    centre_b = kernel_mask(square(3), "B", 6, 3, 3)[-1]
    rows_a = [[0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1], [0, 0, 0], [0, 0, 0]]
    rows_b = [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 0, 1], [0, 0, 1]]
    assert centre_a.tolist() == rows_a
    assert centre_b.tolist() == rows_b


def test_other_taps_see_every_channel():
    assert kernel_mask(square(3), "A", 3, 3, 3)[:-1].all()


def test_both_halves_of_a_gate_keep_the_order_of_the_channels():
    centre = kernel_mask(left(1), "B", 2, 4, 2, parts=2)[0]
    assert centre.tolist() == [[1, 1, 1, 1], [0, 1, 0, 1]]
    assert channel_of_feature(12, 3, 2).tolist() == [0, 0, 1, 1, 2, 2] * 2


def test_features_must_divide_into_channels():
    assert channel_of_feature(6, 3).tolist() == [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match="multiple of 1 x 3 channels, got 8;.* 9"):
        channel_of_feature(8, 3)


def test_taps_are_in_raster_order():
    for taps in (square(5), above(3), left(5), block(3, 2)):
        assert list(taps) == sorted(taps)
    assert live_taps(square(3), "A", 3)[-1] == (0, 0)


@pytest.mark.parametrize("kernel", [square, above, left])
@pytest.mark.parametrize("size", [0, 2])
def test_even_kernels_are_refused(kernel, size: int):
    with pytest.raises(ValueError, match="odd"):
        kernel(size)


def test_a_picture_stands_for_its_taps():
    values = np.arange(1, 14)
    assert as_square(square(5), values)[:3].ravel().tolist() == [*range(1, 14), 0, 0]


def test_a_kernel_that_needs_its_whole_row_has_no_lag():
    assert lag(above(3), strict=False) is None
    assert lag(above(5, "A"), strict=True) == 3
    assert lag(left(3), strict=True) == 1


@pytest.mark.parametrize(
    ("first", "other", "channels", "expected"),
    [
        (7, 3, 1, 4),
        (3, 5, 1, 2),
        (3, 7, 1, 3),
        (3, 9, 1, 4),
        (7, 3, 3, 4),
        (3, 7, 3, 4),
    ],
)
def test_wavefront_lag(first: int, other: int, channels: int, expected: int):
    config = pj.PixelCNNConfig.tiny(
        first_kernel_size=first, kernel_size=other, channels=channels, features=12
    )
    model = nnx.eval_shape(lambda: pj.build_model(config))
    assert model.wavefront_lag == expected

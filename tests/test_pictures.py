import numpy as np
from PIL import Image

from pixelcnn_jax import pictures
from pixelcnn_jax.files import write_bytes


def test_levels_span_black_to_white():
    assert pictures.to_pixels(np.arange(4), 4).tolist() == [0, 85, 170, 255]
    assert pictures.to_pixels(np.arange(2), 2).tolist() == [0, 255]


def test_a_grid_shows_the_images_in_order():
    levels = np.arange(6).reshape(6, 1, 1, 1)
    picture = pictures.grid(levels, 6)
    scale = round(512 / (3 * 2))
    gap = scale // 2
    assert picture.shape == (2 * (scale + gap) + gap, 3 * (scale + gap) + gap, 3)
    centres = gap + scale // 2 + (scale + gap) * np.arange(3)
    shown = picture[centres[:2]][:, centres, 0]
    assert shown.tolist() == [[0, 51, 102], [153, 204, 255]]
    assert (picture[0] == 64).all()


def test_a_grid_has_a_row_for_each_class():
    levels = np.arange(5).reshape(5, 1, 1, 1)
    picture = pictures.grid(levels, 5, np.array([7, 2, 7, 2, 2]))
    scale = round(512 / (3 * 2))
    gap = scale // 2
    centres = gap + scale // 2 + (scale + gap) * np.arange(3)
    shown = pictures.to_pixels(np.array([[1, 3, 4], [0, 2, 0]]), 5)
    shown[1, 2] = 64  # no sixth image
    assert (picture[centres[:2]][:, centres, 0] == shown).all()


def test_a_grid_of_few_classes_is_no_ribbon():
    images = np.arange(64, dtype=np.uint8)[:, None, None, None]
    images = images.repeat(8, axis=1).repeat(8, axis=2)
    picture = pictures.grid(images, 64, np.arange(64) % 2)
    height, width = picture.shape[:2]
    # Four rows of sixteen, of tiles that are enlarged.
    assert (height, width) == pictures.grid_size(images.shape, np.arange(64) % 2)
    assert 100 < height < width < 600
    shown = picture[height // 8 :: height // 4, width // 32 :: width // 16, 0]
    levels = np.rint(shown / 255 * 63).astype(int)
    assert levels[:2].ravel().tolist() == list(range(0, 64, 2))
    assert levels[2:].ravel().tolist() == list(range(1, 64, 2))


def test_colour_stays_colour():
    red = np.zeros((1, 2, 2, 3), int)
    red[..., 0] = 3
    picture = pictures.grid(red, 4)
    assert picture[picture.shape[0] // 2 - 2, 200].tolist() == [255, 0, 0]


def test_every_channel_of_four_is_shown():
    levels = np.arange(4).reshape(1, 1, 1, 4)
    picture = pictures.grid(levels, 4)
    assert set(np.unique(picture).tolist()) == {0, 64, 85, 170, 255}


def test_png_and_curves_are_pictures(tmp_path):
    picture = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    write_bytes(tmp_path / "a.png", pictures.to_png(picture))
    assert (np.asarray(Image.open(tmp_path / "a.png")) == picture).all()
    curves = {"training": [1.0, 0.5], "validation": [1.1, np.nan]}
    pictures.save_curves(tmp_path / "b.png", [1, 2], curves)
    assert Image.open(tmp_path / "b.png").size == (720, 480)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.png", "b.png"]

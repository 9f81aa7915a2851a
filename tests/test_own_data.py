"""Images of your own are taken as they are, and what can't be is named."""

import dataclasses
import os
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from PIL import Image, PngImagePlugin

import pixelcnn_jax as pj
from pixelcnn_jax import data
from pixelcnn_jax.commands import evaluate, train
from pixelcnn_jax.config import FROM_DATA, DataConfig
from pixelcnn_jax.data import array_files, decoding, preparation, sizing
from pixelcnn_jax.runs import Run
from tests.conftest import refused

GREY = np.random.default_rng(0).integers(0, 256, (40, 4, 5), dtype=np.uint8)
COLOUR = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)


def seeded() -> np.random.Generator:
    """A new one for each test: what a test gets may not hang on which ran before."""
    return np.random.default_rng(2)


def settled(path: Path, model: pj.PixelCNNConfig | None = None, **fields) -> pj.Config:
    """The settings that the data at a path give, beside what a test gives."""
    default = pj.Config(model=pj.PixelCNNConfig.tiny(features=12)).from_data()
    fields = {"path": str(path), **fields}
    config = dataclasses.replace(
        default,
        model=model or default.model,
        data=dataclasses.replace(default.data, **fields),
    )
    return data.settled(config, data.open_own(config.data))


def loaded(path: Path, model: pj.PixelCNNConfig | None = None, **fields) -> data.Splits:
    config = settled(path, model, **fields)
    return data.load(config.data, config.model)


def as_given(**fields) -> pj.PixelCNNConfig:
    """A model whose other settings are left to the data."""
    unknown = dict.fromkeys(("height", "width", "channels", "levels"), FROM_DATA)
    return pj.PixelCNNConfig.tiny(**{"features": 12, **unknown, **fields})


def everything(splits: data.Splits) -> np.ndarray:
    parts = (splits.train, splits.validation, splits.test)
    return np.concatenate([np.asarray(part.images) for part in parts])


def save(path: Path, pixels: np.ndarray, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


# --- image files


@pytest.mark.parametrize("suffix", decoding.SUFFIXES)
def test_every_format_is_read(tmp_path: Path, suffix: str):
    lossless = {"lossless": True} if suffix == ".webp" else {}
    path = save(tmp_path / f"x{suffix.upper()}", GREY[0].repeat(8, 0), **lossless)
    found = decoding.read_pixels(path)[..., :1]
    assert found.shape == (32, 5, 1) and found.dtype == np.uint8
    error = np.abs(found[..., 0] - np.int64(GREY[0].repeat(8, 0)))
    assert error.max() <= (200 if suffix in (".jpg", ".jpeg") else 0)


def test_what_a_file_says_of_its_image_is_obeyed(tmp_path: Path):
    turned = Image.Exif()
    turned[decoding.ORIENTATION] = 6
    path = save(tmp_path / "turned.png", GREY[0], exif=turned)
    assert decoding.read_header(path)[:2] == (5, 4)
    assert (decoding.read_pixels(path)[..., 0] == np.rot90(GREY[0], -1)).all()

    clear = np.concatenate([COLOUR, GREY[0][..., None]], axis=-1)
    path = save(tmp_path / "clear.png", clear)
    assert decoding.read_header(path).alpha
    assert (decoding.read_pixels(path) == COLOUR).all()

    for name, rgb in (("grey", COLOUR[..., :1].repeat(3, -1)), ("colour", COLOUR)):
        picture = Image.fromarray(rgb).quantize(20)
        picture.save(tmp_path / "palette.png", transparency=b"\0\1")
        found = decoding.read_pixels(tmp_path / "palette.png")
        header = decoding.read_header(tmp_path / "palette.png")
        assert header.channels == found.shape[-1] == (1 if name == "grey" else 3)
        assert header.alpha and (found == rgb[..., : found.shape[-1]]).all()

    frames = [Image.fromarray(x) for x in GREY[:3]]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert (decoding.read_pixels(tmp_path / "x.gif")[..., 0] == GREY[0]).all()


def late(content: bytes) -> bytes:
    """A PNG's bytes with what stands before its pixels and tells of them behind."""
    chunks, at = [], 8
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        chunks.append(content[at:end])
        at = end
    moved = [x for x in chunks if x[4:8] in (b"eXIf", b"iTXt", b"zTXt")]
    rest = [x for x in chunks if x not in moved]
    return content[:8] + b"".join([*rest[:-1], *moved, rest[-1]])


def turned_file(place: Path, pixels: np.ndarray, kind: str, way: int) -> Path:
    """An image whose file says that it is to be turned."""
    exif, text = Image.Exif(), PngImagePlugin.PngInfo()
    exif[decoding.ORIENTATION] = way
    xmp = f'<rdf:Description tiff:Orientation="{way}"/>'
    text.add_itxt("XML:com.adobe.xmp", xmp, zip="zip" in kind)
    tag, suffix = {decoding.ORIENTATION: way}, kind.split()[-1]
    options = {
        ".tif": {"tiffinfo": tag, "compression": "tiff_lzw" if "lzw" in kind else None},
        ".png": {"pnginfo": text} if "xmp" in kind else {"exif": exif},
        ".webp": {"exif": exif, "lossless": True},
    }[suffix]
    path = save(place / f"x{suffix}", pixels, **options)
    path.write_bytes(late(path.read_bytes()) if "late" in kind else path.read_bytes())
    return path


@pytest.mark.parametrize(
    "kind",
    [
        *(".tif", "lzw .tif", ".png", "late .png", ".webp"),
        *("xmp .png", "xmp zip .png", "xmp late .png", "xmp zip late .png"),
    ],
)
@pytest.mark.parametrize("way", range(1, 9))
def test_a_turned_image_is_turned_once_in_its_header_and_its_pixels(
    kind: str, way: int, tmp_path: Path
):
    deep = seeded().integers(0, 2**16, (4, 5), dtype=np.uint16)
    for pixels in (GREY[0], COLOUR, deep)[: 2 if kind == ".webp" else 3]:
        path = turned_file(tmp_path, pixels, kind, way)
        # What stands in the first row and in the first column, by TIFF's numbers.
        flips = {2: (1,), 3: (0, 1), 4: (0,), 6: (1,), 7: (0, 1), 8: (0,)}.get(way, ())
        expected = np.flip(pixels if way < 5 else pixels.swapaxes(0, 1), flips)
        found = decoding.read_pixels(path)[..., : 3 if pixels.ndim == 3 else 1]
        assert (found.reshape(expected.shape) == expected).all()
        assert decoding.read_header(path)[:2] == expected.shape[:2]


def test_a_png_is_not_decoded_for_its_header(tmp_path: Path, monkeypatch):
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "of somebody")
    path = save(tmp_path / "x.png", GREY[0], pnginfo=text)
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", None)
    assert decoding.read_header(path)[:2] == (4, 5)


def test_an_image_of_another_size_than_its_header_said_is_named(tmp_path: Path):
    for number in range(3):
        save(tmp_path / f"{number}.png", GREY[number])
    config = settled(tmp_path)
    pixels = data.open_own(config.data).pixels
    save(tmp_path / "1.png", GREY[1, :3])
    message = "^/.*/1.png must be as large as its header said, 4 x 5, got 3 x 5; save"
    with pytest.raises(pj.UserError, match=message):
        pixels.read(np.arange(3))


@pytest.mark.parametrize("read", [decoding.read_header, decoding.read_pixels])
def test_an_image_for_which_memory_runs_out_is_named(read, tmp_path: Path, monkeypatch):
    def full(*_):
        raise MemoryError

    path = save(tmp_path / "x.png", GREY[0])
    monkeypatch.setattr(decoding, "_is_grey", full)
    with pytest.raises(pj.UserError, match="^/.*/x.png must fit in memory when it is"):
        read(path)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits_are_16_bits(tmp_path: Path, suffix: str):
    # None of them white, even in 8 bits.
    deep = seeded().integers(0, 255 << 8, (4, 5), dtype=np.uint16)
    for number in range(12):
        save(tmp_path / f"{number}{suffix}", deep)
    assert (decoding.read_pixels(tmp_path / f"0{suffix}")[..., 0] == deep).all()
    assert settled(tmp_path).model.levels == 256
    assert (loaded(tmp_path).train.images[0, ..., 0] == deep >> 8).all()
    found = loaded(tmp_path, as_given(levels=1024)).train.images[0, ..., 0]
    assert (found == deep >> 6).all()
    # One of 8 bits among them: white stays white.
    save(tmp_path / "a.png", np.full((4, 5), 255, np.uint8))
    assert everything(loaded(tmp_path)).max(axis=(1, 2, 3)).tolist().count(255) == 1


def test_levels_in_a_file_say_that_its_images_are_levels(tmp_path: Path, capsys):
    path, dark = tmp_path / "x.npz", GREY % 3
    np.savez(path, images=dark, levels=4)
    assert settled(path).model.levels == 4  # though none is 3
    assert np.unique(everything(loaded(path))).tolist() == [0, 1, 2]
    assert capsys.readouterr().err == ""
    np.savez(path, images=dark)
    assert settled(path).model.levels == 256
    assert "0 to 2, are taken as brightness of 255 at most" in capsys.readouterr().err
    for levels in (2, 1, 2**17, 4.0, [4], "4"):
        np.savez(path, images=dark, levels=levels)
        with pytest.raises(pj.UserError, match=r"^levels of .*|^/.*/x.npz must hold"):
            settled(path)


def test_colours_make_widths_their_multiples(tmp_path: Path, capsys):
    for number in range(20):
        save(tmp_path / f"{number}.png", COLOUR)
    model = pj.GatedPixelCNNConfig.tiny(features=32, head_features=64)
    config = pj.Config(model=model).from_data()
    own = dataclasses.replace(config.data, path=str(tmp_path))
    config = dataclasses.replace(config, data=own)
    found = data.settled(config, data.open_own(own)).model
    assert isinstance(found, pj.GatedPixelCNNConfig)
    assert (found.channels, found.features, found.head_features) == (3, 33, 66)
    told = capsys.readouterr().err
    assert "model.head_features becomes 66 instead of 64, for 3 channels" in told
    with pytest.raises(pj.UserError, match="features must be a positive multiple of 3"):
        dataclasses.replace(model, channels=3)


# --- folders


def test_folders_are_classes_and_splits(tmp_path: Path):
    for number, image in enumerate(GREY):
        part = ("train", "validation", "test")[number % 3]
        save(tmp_path / part / ("10", "9")[number % 2] / f"{number:02}.png", image)
    config, found = settled(tmp_path), loaded(tmp_path)
    expected = (4, 5, 1, 256, 2, 13)
    fields = ("height", "width", "channels", "levels", "num_classes")
    model = config.model
    given = [getattr(model, field) for field in fields]
    assert (*given, config.data.validation_images) == expected
    for place, part in enumerate((found.train, found.validation, found.test)):
        # The numbers of the folders in their order: 9 is class 0, 10 is class 1.
        numbers = [x for label in (0, 1) for x in range(place, 40, 3) if x % 2 == label]
        assert part.labels is not None
        assert part.labels.tolist() == [1 - x % 2 for x in numbers]
        assert (part.images[..., 0] == GREY[numbers]).all()


def test_without_splits_a_tenth_each_is_held_out_by_a_fixed_seed(tmp_path: Path):
    for number, image in enumerate(GREY):
        save(tmp_path / f"{number:02}.png", image)
    (tmp_path / ".hidden.png").write_text("no image")
    (tmp_path / "notes.txt").write_text("no image")
    found = loaded(tmp_path)
    assert [len(x) for x in (found.train, found.validation, found.test)] == [32, 4, 4]
    assert found.train.labels is None and found.num_classes == 0
    assert sorted(map(bytes, everything(found))) == sorted(map(bytes, GREY))
    chosen = np.sort(np.random.default_rng(0).permutation(40)[:4])
    assert (found.test.images[..., 0] == GREY[chosen]).all()
    more = loaded(tmp_path, validation_images=7)
    assert len(more.validation) == 7
    assert (np.asarray(more.test.images) == found.test.images).all()
    assert len(loaded(tmp_path, validation_images=0).validation) == 0


def test_images_are_brought_to_one_size_and_one_kind(tmp_path: Path, capsys):
    save(tmp_path / "a.png", GREY[0])
    save(tmp_path / "b.png", np.full((8, 9), 200, np.uint8))
    save(tmp_path / "c.png", COLOUR)
    save(tmp_path / "d.png", np.dstack([COLOUR, GREY[0]]))
    kept = {"validation_images": 0}
    config = settled(tmp_path, **kept).model
    assert (config.height, config.width, config.channels) == (4, 5, 3)
    assert "transparency of 1 images is dropped, such as that of" in str(
        capsys.readouterr().err
    )
    a, b, c, d = loaded(tmp_path, **kept).train.images
    assert (a == GREY[0][..., None]).all() and (b == 200).all()
    assert (c == COLOUR).all() and (d == COLOUR).all()
    grey = loaded(tmp_path, as_given(channels=1), **kept).train.images[2, ..., 0]
    luma = Image.fromarray(COLOUR).convert("L")
    assert (grey == np.asarray(luma)).all()
    # The middle, of the least height and width.
    save(tmp_path / "b.png", np.arange(72, dtype=np.uint8).reshape(8, 9))
    cut = loaded(tmp_path, fit="crop", **kept).train.images[1]
    assert cut[..., 0].tolist() == np.arange(72).reshape(8, 9)[2:6, 2:7].tolist()


def test_dark_images_are_resized_too(tmp_path: Path):
    dark = np.zeros((8, 9), np.uint8)
    dark[::2] = 1
    save(tmp_path / "a.png", dark)
    save(tmp_path / "b.png", dark[1:])
    found = loaded(tmp_path, as_given(height=5, width=5), validation_images=0)
    assert found.train.images.max() <= 1


def test_shrinking_takes_the_mean_of_what_it_covers():
    stripes = np.tile(np.uint8([[0], [255]]), (16, 8, 2))[..., None]
    found = sizing.sized([stripes[0]], (4, 4, 1), "resize")
    assert found.shape == (1, 4, 4, 1) and abs(found - 127.5).max() < 20


# --- arrays


@pytest.mark.parametrize(
    ("array", "levels", "channels"),
    [
        (GREY, 256, 1),
        (np.stack([GREY] * 3, axis=-1), 256, 3),
        (seeded().integers(0, 500, (40, 4, 5, 2)), 500, 2),
        (np.asfortranarray(GREY.astype(">i4") + 3), 259, 1),
        (GREY % 2, 2, 1),
        (GREY > 99, 2, 1),
    ],
)
def test_arrays_are_brightness_or_codes(tmp_path: Path, array, levels, channels):
    np.save(tmp_path / "x.npy", array)
    config = settled(tmp_path / "x.npy")
    assert (config.model.levels, config.model.channels) == (levels, channels)
    found = everything(data.load(config.data, config.model))
    expected = [x.astype(found.dtype).tobytes() for x in array]
    assert sorted(map(bytes, found)) == sorted(expected)


def test_8_bit_codes_are_codes_if_that_is_said(tmp_path: Path):
    np.save(tmp_path / "x.npy", GREY % 64)
    assert settled(tmp_path / "x.npy").model.levels == 256
    assert settled(tmp_path / "x.npy", values="codes").model.levels == 64


def test_an_archive_says_which_image_is_what(tmp_path: Path):
    labels = np.arange(40) % 7
    for split in (np.arange(40) % 3, np.array(data.folders.SPLITS)[np.arange(40) % 3]):
        np.savez(tmp_path / "x.npz", images=GREY, labels=labels, split=split)
        found = loaded(tmp_path / "x.npz")
        for place, part in enumerate((found.train, found.validation, found.test)):
            assert (part.images[..., 0] == GREY[place::3]).all()
            assert part.labels is not None
            assert part.labels.tolist() == labels[place::3].tolist()
    vectors, maps = seeded().random((40, 3)), np.int64(GREY[:, ::2, :, None])
    given = dict(condition=vectors, condition_map=maps)
    np.savez(tmp_path / "x.npz", images=GREY, labels=labels, split=split, **given)
    found, model = loaded(tmp_path / "x.npz"), settled(tmp_path / "x.npz").model
    conditions = model.condition_features, model.condition_channels
    assert (*conditions, model.condition_levels) == (3, 1, maps.max() + 1)
    assert (found.test.condition == vectors[2::3].astype(np.float32)).all()
    assert (found.test.condition_map == maps[2::3]).all()
    np.savez(tmp_path / "y.npz", images=GREY, condition_map=maps / 2)
    assert settled(tmp_path / "y.npz").model.condition_levels == 0
    # More classes than are seen may be asked for.
    more = as_given(num_classes=9)
    assert loaded(tmp_path / "x.npz", more).num_classes == 9


@pytest.mark.parametrize("share", [0.33, 0.5])
def test_a_threshold_makes_two_levels(tmp_path: Path, share: float):
    np.save(tmp_path / "x.npy", GREY)
    config = settled(tmp_path / "x.npy", threshold=share, validation_images=0)
    assert config.model.levels == 2
    found = everything(data.load(config.data, config.model))
    # As the Keras example: np.where(x < (0.33 * 256), 0, 1).
    bright = np.int64(GREY)
    expected = np.where(bright < share * 256, 0, 1).astype(np.uint8)
    assert sorted(map(bytes, found)) == sorted(map(bytes, expected))
    named = DataConfig(threshold=share)  # of 17 values
    digits = data.load(named, pj.PixelCNNConfig(height=8, width=8, levels=2))
    plain = pj.PixelCNNConfig(height=8, width=8, levels=17)
    pixels = np.asarray(data.load(DataConfig(), plain).train.images)
    assert (np.asarray(digits.train.images) == (pixels >= share * 17)).all()


def test_own_images_are_binarised_dynamically(tmp_path: Path):
    np.save(tmp_path / "x.npy", GREY)
    found = loaded(tmp_path / "x.npy", quantization="dynamic")
    assert found.train.brightness and not found.test.brightness
    assert np.asarray(found.train.images).max() > 1
    assert set(np.asarray(found.test.images).ravel()) == {0, 1}


# --- larger than the memory


@pytest.mark.parametrize("kind", ["array", "folder", "dynamic"])
def test_what_is_read_on_demand_is_what_is_held(tmp_path: Path, kind, monkeypatch):
    if kind == "folder":
        for number, image in enumerate(GREY):
            save(tmp_path / f"{number:02}.png", image)
    path = tmp_path if kind == "folder" else tmp_path / "x.npy"
    np.save(tmp_path / "x.npy", GREY)
    fields = {"quantization": "dynamic"} if kind == "dynamic" else {}
    held = loaded(path, **fields)
    monkeypatch.setattr(preparation, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(preparation, "SLAB_BYTES", 1000)
    lazy = loaded(path, **fields)
    images, expected = lazy.train.images, held.train.images
    assert isinstance(images, data.Lazy) and images.shape == expected.shape
    assert images.nbytes == expected.nbytes and images.dtype == expected.dtype
    some = np.array([5, 0, 31])
    assert (images[some] == expected[some]).all()
    assert (images[3:9] == expected[3:9]).all()
    assert (np.asarray(images) == expected).all()
    drawn = np.asarray(lazy.test.images)
    assert (drawn == lazy.test.images[:]).all()
    assert drawn.shape == held.test.images.shape
    if kind == "dynamic":
        assert set(drawn.ravel()) == {0, 1}


@pytest.mark.parametrize(("large", "small"), [(400, 8), (8, 8)])
def test_no_more_is_held_than_the_largest_take(
    large: int, small: int, tmp_path: Path, monkeypatch
):
    """Neither of large images beside a small one, nor of small ones made large."""
    for number, size in enumerate([large] * 40 + [small]):
        image = np.random.default_rng(number).integers(0, 255, (size, size), np.uint8)
        save(tmp_path / f"{number:02}.png", image)
    for module in (preparation, array_files):
        monkeypatch.setattr(module, "SLAB_BYTES", 2**20)
    side = 200 if large == small else 8
    model = as_given(height=side, width=side)
    settled(tmp_path, model)  # what is imported and kept
    tracemalloc.start()
    loaded(tmp_path, model)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22


def test_a_large_file_is_never_held_whole(tmp_path: Path, monkeypatch):
    path, count = tmp_path / "large.npy", 16 * 1024
    large = np.lib.format.open_memmap(path, "w+", np.int32, (count, 16, 16))
    large[0], large[-1] = 7, 8
    large.flush()
    del large
    for module in (preparation, array_files):
        monkeypatch.setattr(module, "SLAB_BYTES", 2**18)
    monkeypatch.setattr(preparation, "IN_MEMORY_BYTES", 2**18)
    tracemalloc.start()
    found = loaded(path)
    images = found.train.images
    for start in range(0, len(images), 1024):
        assert images[np.arange(start, min(start + 1024, len(images)))].max() <= 8
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(images, data.Lazy)
    assert peak < 2**22 <= path.stat().st_size / 4
    # Nor stays what was mapped: /proc lists the files in this process's memory.
    maps = Path("/proc/self/maps")
    assert not maps.exists() or str(path) not in maps.read_text()


# --- what is wrong


def bad(folder: Path) -> dict[str, Path]:
    """Paths that can't be learnt from, by what is wrong with them."""
    made = {name: folder / f"{name}.npy" for name in ("rank", "floats", "none")}
    made |= {name: folder / f"{name}.npy" for name in ("objects", "torn", "minus")}
    np.save(made["rank"], GREY[0])
    np.save(made["floats"], GREY / 255)
    np.save(made["none"], GREY[:0])
    np.save(made["objects"], np.array([{}, 1], object), allow_pickle=True)
    np.save(made["minus"], np.int64(GREY) - 9)
    made["torn"].write_bytes(made["rank"].read_bytes()[:140])
    archives = {
        "nameless": {"x": GREY},
        "labels": {"images": GREY, "labels": np.arange(9)},
        "classes": {"images": GREY, "labels": np.arange(40) - 1},
        "named": {"images": GREY, "split": np.array(["train", "dev"] * 20)},
        "endless": {"images": GREY, "condition": np.full((40, 2), np.inf)},
        "flat": {"images": GREY, "condition_map": np.zeros((40, 2, 5))},
        "trainless": {"images": GREY, "split": np.ones(40, int)},
    }
    for name, arrays in archives.items():
        made[name] = folder / f"{name}.npz"
        np.savez(made[name], **arrays)
    save(folder / "torn_image/x.png", GREY[0])
    torn = (folder / "torn_image/x.png").read_bytes()
    (folder / "torn_image/x.png").write_bytes(torn[:60])
    save(folder / "both/a/x.png", GREY[0])
    save(folder / "both/x.png", GREY[0])
    save(folder / "testing/test/x.png", GREY[0])
    save(folder / "unknown/train/a/x.png", GREY[0])
    save(folder / "unknown/test/b/x.png", GREY[0])
    save(folder / "hollow/a/x.png", GREY[0])
    (folder / "hollow/b").mkdir()
    (folder / "empty").mkdir()
    save(folder / "float_image/x.tif", np.float32(GREY[0]))
    (folder / "circle/a").mkdir(parents=True)
    (folder / "circle/a/b").symlink_to(folder / "circle/a")
    (folder / "pipe").mkdir()
    os.mkfifo(folder / "pipe/x.png")
    (folder / "device").mkdir()
    (folder / "device/x.png").symlink_to("/dev/zero")
    os.mkfifo(folder / "x.npy")
    made["fifo"] = folder / "x.npy"
    (folder / "x.txt").write_text("")
    made["text"] = folder / "x.txt"
    return made


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rank", r"rank.npy must hold images .* got shape \[4, 5\]"),
        ("floats", "floats.npy must hold integers, got float64"),
        ("none", r"none.npy must hold .*, at least one, got shape \[0, 4, 5\]"),
        ("objects", "objects.npy must be a .npy or .npz file of numbers, got"),
        ("torn", "torn.npy must be a .npy or .npz file of numbers, got"),
        ("minus", "minus.npy must hold codes of at least 0, got -9"),
        ("nameless", "nameless.npz must hold an array named images, got none"),
        ("labels", "labels of .*labels.npz must have an entry for each of the 40"),
        ("classes", "labels of .*classes.npz must be integers .* from -1"),
        ("named", "split of .*named.npz must be .* got .*dev"),
        ("trainless", "trainless.npz must .* some for train, got none for it"),
        ("endless", "condition of .*endless.npz must be finite numbers .* float64"),
        ("flat", r"condition_map of .*flat.npz must be .* got float64 \[40, 2, 5\]"),
        ("torn_image", "torn_image/x.png must be a whole image file"),
        ("both", "both must hold images or folders of images, got both: a and x.png"),
        ("testing", "testing must hold train .* got test"),
        ("unknown", "unknown/test must have the classes .*, a, got b"),
        ("hollow", "hollow/b must hold images .*, got none"),
        ("empty", "empty must hold images .*, got none"),
        ("float_image", "float_image/x.tif must hold integers, got floats"),
        ("circle", "folders deep, got links in a circle"),
        ("pipe", "pipe/x.png must be a file, got a pipe"),
        ("device", "device/x.png must be a file, got a pipe, a device"),
        ("fifo", "x.npy must be a file, got a pipe"),
        ("text", "must be a folder of images, a .npy or a .npz file, got .*x.txt"),
        ("missing", r"got .*missing \(No such file"),
        ("x" * 300, r"\(File name too long\)"),
        ("~none-of-that-name", "got ~none-of-that-name .*home"),
    ],
)
def test_what_cannot_be_learnt_is_named(tmp_path: Path, name: str, message: str):
    unknown = Path(name) if name.startswith("~") else tmp_path / name
    path = bad(tmp_path).get(name, unknown)
    with pytest.raises(pj.UserError, match=message) as refusal:
        loaded(path)
    assert "\n" not in str(refusal.value)


def test_files_made_to_fill_the_memory_are_refused(tmp_path: Path, monkeypatch):
    for suffix in (".png", ".tif"):
        path = save(tmp_path / suffix / f"x{suffix}", GREY[0])
        monkeypatch.setattr(decoding, "MAX_PIXELS", 19)
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 99)
        with pytest.raises(pj.UserError, match="at most 19 pixels, got 4 x 5"):
            loaded(path.parent)
        # What Pillow itself refuses.
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9)
        with pytest.raises(pj.UserError, match="at most 19 pixels, got far more"):
            loaded(path.parent)
    np.savez_compressed(tmp_path / "x.npz", images=np.zeros((99, 99, 99), np.uint8))
    monkeypatch.setattr(array_files, "MAX_BYTES", 2**16)
    with pytest.raises(pj.UserError, match="x.npz must hold at most 65536 bytes"):
        loaded(tmp_path / "x.npz")


@pytest.mark.parametrize(
    ("model", "fields", "message"),
    [
        ({"height": 8}, {}, "codes of 4 x 5, which can't be resized"),
        ({"levels": 40}, {}, "model.levels must be above the largest code .*, 258"),
        ({"levels": 2}, {"threshold": 0.3}, "largest code"),
        ({"channels": 3}, {}, "model.channels must be .*, 1, got 3; set"),
        ({"num_classes": 3}, {}, "labels for a model of 3 classes, got none; put"),
        ({}, {"validation_images": 36}, "fewer than 36, got 36"),
        ({}, {"values": "pixels"}, "must hold uint8 or uint16 .* got int64"),
    ],
)
def test_settings_that_contradict_the_data_are_refused(
    tmp_path: Path, model: dict, fields: dict, message: str
):
    np.save(tmp_path / "x.npy", np.int64(GREY) + 3)
    with pytest.raises(pj.UserError, match=message):
        loaded(tmp_path / "x.npy", as_given(**model), **fields)


def test_images_too_small_to_be_cut_are_named(tmp_path: Path):
    save(tmp_path / "a.png", GREY[0])
    with pytest.raises(pj.UserError, match=r"a.png must have at least 4 x 6 pixels"):
        loaded(tmp_path, as_given(width=6), fit="crop")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DataConfig(path="x"), "data.path is for images of your own, got x"),
        (lambda: DataConfig(fit="crop"), "data.fit is for images of your own"),
        (
            lambda: DataConfig(validation_images=-1),
            "validation_images must be at least",
        ),
        (lambda: DataConfig(threshold=1.0), "data.threshold must be above 0 and below"),
        (
            lambda: DataConfig(threshold=0.5, quantization="dynamic"),
            "data.threshold needs data.quantization bins, got dynamic",
        ),
        (
            lambda: pj.Config(data=DataConfig(threshold=0.5)),
            "makes images of 2 levels, got model.levels 4; set",
        ),
        (
            lambda: pj.Config(model=as_given()),
            "height, .* only if data.source is images",
        ),
        (lambda: pj.build_model(as_given()), "model.height, .* must be known to build"),
        (
            lambda: data.open_own(DataConfig("images")),
            "data.path must name .* got none",
        ),
    ],
)
def test_settings_for_other_data_are_refused(make, message: str):
    with pytest.raises(pj.UserError, match=message):
        make()


def test_train_names_the_flags_of_own_data(tmp_path: Path, capsys):
    usual = ["--workdir", str(tmp_path / "run"), "--data.source=images", "--data.path"]
    line = refused("train", [*usual, "no/such"], capsys)
    assert "--data.path must be a folder" in line and "no/such" in line
    np.save(tmp_path / "x.npy", np.int64(GREY))
    wrong = [*usual, str(tmp_path / "x.npy"), "--model.levels", "9"]
    assert "set --model.levels to 256" in refused("train", wrong, capsys)
    assert not (tmp_path / "run").exists()


# --- whole runs


@pytest.mark.slow
def test_a_run_on_own_images_writes_what_they_tell(tmp_path: Path, monkeypatch, capsys):
    """And reading on demand gives the weights of images in memory."""
    given = dict(labels=np.arange(40) % 3, condition=seeded().random((40, 2)))
    np.savez(tmp_path / "x.npz", images=GREY, **given)
    flags = (
        "--model.features 8 --model.num-blocks 1 --model.first-kernel-size 3"
        " --training.batch-size 8 --training.epochs 1 --training.ema-decay 0"
        f" --data.source images --data.path {tmp_path / 'x.npz'} --model.levels 4"
    ).split()
    for name in ("held", "resident", "lazy"):
        train.run(["digits", *flags, "--workdir", str(tmp_path / name)], "train")
        if name == "resident":
            monkeypatch.setattr("pixelcnn_jax.training.feed.RESIDENT_BYTES_ON_CPU", 0)
        # Read on demand from now on, though there is room for them on the devices.
        monkeypatch.setattr(preparation, "IN_MEMORY_BYTES", 0)
    config = Run(tmp_path / "lazy").config()
    model = config.model
    assert (model.height, model.width, model.levels, model.num_classes) == (4, 5, 4, 3)
    assert config.data.validation_images == 4 and model.condition_features == 2
    weights = [
        jax.tree.leaves(nnx.state(pj.load(tmp_path / name)))
        for name in ("held", "resident", "lazy")
    ]
    for held, resident, lazy in zip(*weights, strict=True):
        assert (resident == held).all() and (lazy == held).all()
    again = ["digits", *flags, "--workdir", str(tmp_path / "lazy")]
    train.run(again, "train")
    assert "is finished: 1 epochs" in capsys.readouterr().out
    evaluate.run(["--workdir", str(tmp_path / "lazy")], "evaluate")
    assert "test: 4 images" in capsys.readouterr().out

"""Folders of pictures by class are read as bytes, whatever their format, and faults in them are named."""

import os
import shutil

import numpy as np
import pytest
from PIL import Image

from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.data import folders, loading

RNG = np.random.default_rng(0)


def colours(height=8, width=8):
    return RNG.integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path, pixels, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path, **options)


def one(tmp_path, image, size=8, name="1.png", **options):
    """The pixels that a picture is read as, beside a colourful one."""
    save(tmp_path / "a" / name, image, **options)
    save(tmp_path / "b" / "1.png", colours(size, size))
    return folders.read(tmp_path, size).by_name["train_inputs"][0]


def test_classes_are_folders_and_pixels_those_of_the_files(tmp_path):
    kept = {name: colours() for name in ("dog/2.png", "dog/10.bmp", "cat/x/1.png", "cat/1.tiff")}
    for name, pixels in kept.items():
        save(tmp_path / name, pixels)
    made = folders.read(tmp_path, 8)
    assert made.class_names == ("cat", "dog") and made.by_name["train_labels"].tolist() == [0, 0, 1, 1]
    for found, name in zip(made.by_name["train_inputs"], sorted(kept), strict=True):
        np.testing.assert_array_equal(found, kept[name])
    (note,) = made.findings
    assert str(note) == "4 pictures of 8 × 8 pixels, in colour, of 2 classes by folder (cat, dog)"


def test_splits_and_a_pool_are_folders(tmp_path):
    for name in (
        "train/a/1.png",
        "train/b/1.png",
        "val/a/1.png",
        "Test/b/1.png",
        "unlabeled/1.png",
        "unlabeled/x/2.png",
    ):
        save(tmp_path / name, colours())
    made = folders.read(tmp_path, 8)
    labels = {name: array.tolist() for name, array in made.by_name.items() if name.endswith("labels")}
    assert labels == {"train_labels": [0, 1], "validation_labels": [0], "test_labels": [1]}
    assert len(made.by_name["unlabelled_inputs"]) == 2 and made.class_names == ("a", "b")


def test_all_grey_pictures_have_one_channel(tmp_path):
    grey = colours()[..., 0]
    save(tmp_path / "a" / "1.png", grey)
    save(tmp_path / "a" / "2.png", Image.fromarray(grey), mode="RGB")
    save(tmp_path / "b" / "1.png", Image.fromarray(grey), mode="1")
    made = folders.read(tmp_path, 8).by_name["train_inputs"]
    assert made.shape == (3, 8, 8, 1)
    np.testing.assert_array_equal(made[:2, ..., 0], [grey, grey])
    save(tmp_path / "b" / "2.png", colours())
    assert folders.read(tmp_path, 8).by_name["train_inputs"].shape == (4, 8, 8, 3)


def test_grey_of_sixteen_bits_is_scaled(tmp_path):
    deep = RNG.integers(0, 65536, (8, 8)).astype(np.uint16)
    found = one(tmp_path, deep)
    np.testing.assert_array_equal(found[..., 0], np.rint(deep / 257))


def test_palettes_and_alpha_lie_on_white(tmp_path):
    pixels = colours()
    palette = Image.fromarray(pixels).quantize(16)
    np.testing.assert_array_equal(one(tmp_path / "palette", palette), np.asarray(palette.convert("RGB")))
    alpha = RNG.integers(0, 256, (8, 8, 1), dtype=np.uint8)
    found = one(tmp_path / "alpha", np.concatenate([pixels, alpha], axis=-1))
    share = alpha / 255
    assert np.abs(found - (pixels * share + 255 * (1 - share))).max() <= 1
    palette.info["transparency"] = 3
    found = one(tmp_path / "both", palette, transparency=3)
    assert (found[np.asarray(palette) == 3] == 255).all()


def test_pictures_stand_upright(tmp_path):
    pixels = colours(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    found = one(tmp_path, pixels, exif=exif)
    np.testing.assert_array_equal(found, np.rot90(pixels, -1))


@pytest.mark.parametrize(("name", "mode"), [("1.jpg", "CMYK"), ("1.jpg", "L"), ("1.gif", "L"), ("1.webp", "RGB")])
def test_other_formats_are_read(name, mode, tmp_path):
    flat = Image.new("RGB", (8, 8), (200, 200, 200))
    found = one(tmp_path, flat.convert(mode), name=name)
    assert np.abs(found.astype(int) - 200).max() <= 4


def test_sizes_are_brought_to_one_and_said(tmp_path):
    for number, (height, width) in enumerate([(20, 30), (64, 16), (9, 9), (100, 100)]):
        save(tmp_path / "a" / f"{number}.png", np.full((height, width, 3), [10, 20, 200], np.uint8))
    made = folders.read(tmp_path, 12)
    assert (made.by_name["train_inputs"] == np.array([10, 20, 200])).all()
    assert made.by_name["train_inputs"].shape == (4, 12, 12, 3)
    assert "of 9 × 9 to 100 × 100 pixels" in str(made.findings[0])
    assert str(made.findings[0]).endswith("brought to 12 × 12 (data.size)")


def test_other_files_and_empty_folders_are_named(tmp_path):
    save(tmp_path / "a" / "1.png", colours())
    for name in ("a/Thumbs.db", ".DS_Store", "a/._1.png", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "c").mkdir()
    said = [str(each) for each in folders.read(tmp_path, 8).findings]
    assert said[1] == "folders without a picture are left out: c"
    assert said[2].startswith("4 other files left alone") and ".DS_Store" in said[2]


def test_hidden_and_linked_folders_are_no_class(tmp_path):
    for name in ("a/1.png", "a/.ipynb_checkpoints/1-checkpoint.png", "a/__MACOSX/1.png", "b/1.png"):
        save(tmp_path / name, colours())
    (tmp_path / "a" / "more").symlink_to(tmp_path / "b")
    (tmp_path / "c").symlink_to(tmp_path / "b")
    made = folders.read(tmp_path, 8)
    assert made.class_names == ("a", "b", "c") and made.by_name["train_labels"].tolist() == [0, 1, 2]
    assert str(made.findings[1]) == "1 other file left alone: a/more"


@pytest.mark.parametrize("inner", ["train/a", "a"])
def test_a_folder_around_all_others_is_named(inner, tmp_path):
    for number in range(2):
        save(tmp_path / "imgs" / inner / f"{number}.png", colours())
    with pytest.raises(ConfigError) as error:
        folders.read(tmp_path, 8)
    assert (
        str(error.value)
        == f"data.name: '{tmp_path}' has all pictures in one folder; name that, as {tmp_path.name}/imgs/"
    )
    folders.read(tmp_path / "imgs", 8)


def test_names_that_no_stream_can_print_are_shown(tmp_path):
    save(tmp_path / "a" / "1.png", colours())
    broken = os.fsencode(tmp_path) + b"/\xff"
    try:
        os.mkdir(broken)
    except OSError:
        pytest.skip("a file system of UTF-8")
    shutil.copy(tmp_path / "a" / "1.png", broken + b"/1.png")
    with pytest.raises(ConfigError, match="the folder \ufffd, whose name is no UTF-8; rename it"):
        folders.read(tmp_path, 8)


def test_pictures_that_are_beyond_memory_or_change_are_refused(tmp_path, monkeypatch):
    for name in ("a/1.png", "b/1.png"):
        save(tmp_path / name, colours())
    assert sorted(state.path for state in folders.read(tmp_path, 8).files) == [
        str(tmp_path / name) for name in ("a/1.png", "b/1.png")
    ]
    with pytest.raises(ConfigError, match=r"has 2 pictures of 1000000 × 1000000 pixels, about 11,175\.\d GiB"):
        folders.read(tmp_path, 1_000_000)
    pixels = folders._pixels

    def altering(image, size):
        save(tmp_path / "a" / "1.png", colours(9, 9))
        return pixels(image, size)

    monkeypatch.setattr(folders, "_pixels", altering)
    # Another thread may read it half-written.
    with pytest.raises(ConfigError, match=r"a/1\.png(' was altered while it was read|, no readable picture)"):
        folders.read(tmp_path, 8)


def test_all_faults_are_named_at_once(tmp_path):
    save(tmp_path / "train" / "a" / "1.jpg", colours(64, 64))
    whole = (tmp_path / "train" / "a" / "1.jpg").read_bytes()
    (tmp_path / "train" / "a" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "train" / "a" / "text.png").write_text("no picture")
    (tmp_path / "train" / "a" / "empty.png").write_bytes(b"")
    save(tmp_path / "train" / "loose.png", colours())
    save(tmp_path / "bird" / "1.png", colours())
    with pytest.raises(ConfigError) as error:
        folders.read(tmp_path, 8)
    lines = str(error.value).splitlines()
    assert len(lines) == 5 and all(line.startswith("data.name: ") for line in lines)
    for part in ("a/cut.jpg", "a/text.png", "a/empty.png", "train/loose.png", "has bird beside folders of splits"):
        assert sum(part in line for line in lines) == 1
    assert str(tmp_path / "train") not in str(error.value)


def test_a_folder_is_data_like_others(tmp_path):
    for label, level in (("cat", 40), ("dog", 200)):
        for number in range(30):
            pixels = np.clip(level + RNG.normal(0, 20, (10, 12, 3)), 0, 255).astype(np.uint8)
            save(tmp_path / "imgs" / label / f"{number}.png", pixels)
    for number in range(5):
        save(tmp_path / "imgs" / "unlabelled" / f"{number}.png", colours())
    config = DataConfig(name=f"{tmp_path}/imgs/", size=8, validation=10)
    first, again = (loading.load(config) for _ in range(2))
    assert first.fingerprints == again.fingerprints and first.output_names == ("cat", "dog")
    assert first.example_shape == (8, 8, 3) and first.train.inputs.dtype == np.uint8
    assert (first.train.labels == -1).sum() == 5
    assert any("65 pictures of 8 × 8, 10 × 12 pixels" in str(each) for each in first.findings)
    save(tmp_path / "imgs" / "cat" / "0.png", colours())
    assert loading.load(config).fingerprints != first.fingerprints
    with pytest.raises(ConfigError, match=r"data\.target"):
        loading.load(DataConfig(name=f"{tmp_path}/imgs/", target="cat"))
    with pytest.raises(ConfigError, match=r"data\.group"):
        loading.load(DataConfig(name=f"{tmp_path}/imgs/", group="cat"))

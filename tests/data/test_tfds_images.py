"""Sets are written as ArrayRecord by TFDS's own parts, so what is read here is what a prepared set is."""

import json
import os
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from pretrain.data import load, tfds_images
from tests.data.tfds_sets import (
    COLOUR,
    GREY,
    READ_AND_LIST,
    draw,
    examples,
    png,
    refusal,
    run_alone,
    same,
    write_pair,
    write_set,
)


@pytest.mark.parametrize("image", [COLOUR, GREY], ids=["colour", "grey"])
def test_reads_what_was_written(tmp_path, image):
    _, train, test = write_pair(tmp_path, shape=image.shape, image=image)
    for arrays in tfds_images.read("insects", str(tmp_path)), tfds_images.read("insects", str(tmp_path)):
        for split, (images, labels) in {"train": train, "test": test}.items():
            assert arrays[f"{split}_images"].dtype == np.uint8 and arrays[f"{split}_labels"].dtype == np.int32
            np.testing.assert_array_equal(arrays[f"{split}_images"], images)
            np.testing.assert_array_equal(arrays[f"{split}_labels"], labels)
        assert arrays["class_names"] == ("ant", "bee", "cat")


def test_home_is_expanded(tmp_path, monkeypatch):
    write_pair(tmp_path / "sets")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(tfds_images.read("insects", "~/sets")["train_images"]) == 7


@pytest.mark.parametrize("mode", ["P", "1", "L", "LA", "RGBA"])
def test_every_kind_of_png_gives_its_colours(tmp_path, mode):
    pixels = draw((4, 5, 3), 1)[0][0]
    shown = np.asarray(Image.fromarray(pixels).convert(mode).convert("RGB"))
    rows = [{"image": png(pixels, mode), "label": 0}]
    write_set(tmp_path, "insects/1.0.0", {"train": rows, "test": rows})
    np.testing.assert_array_equal(tfds_images.read("insects", str(tmp_path))["train_images"], [shown])


def test_validation_stands_in_for_a_missing_test_split(tmp_path):
    splits = {split: draw((4, 5, 3), 2, seed) for seed, split in enumerate(["train", "validation", "extra"])}
    write_set(tmp_path, "insects/1.0.0", {split: examples(*rows) for split, rows in splits.items()})
    arrays = tfds_images.read("insects", str(tmp_path))
    np.testing.assert_array_equal(arrays["train_images"], splits["train"][0])
    np.testing.assert_array_equal(arrays["test_images"], splits["validation"][0])


def test_a_split_without_labels_is_read_and_kept(tmp_path):
    splits = {split: draw((4, 5, 3), 12, seed) for seed, split in enumerate(["train", "test", "unlabelled"])}
    rows = {split: examples(*drawn) for split, drawn in splits.items()}
    rows["unlabelled"] = [{**row, "label": -1} for row in rows["unlabelled"]]
    write_set(tmp_path, "insects/1.0.0", rows)
    for _ in range(2):  # decoded, and from the cache
        arrays = tfds_images.read("insects", str(tmp_path))
        np.testing.assert_array_equal(arrays["unlabelled_images"], splits["unlabelled"][0])
    found = load(DataConfig(name="insects", dir=str(tmp_path), validation=2))
    assert len(found.train.inputs) == 22 and found.n_labelled == 10


def test_other_features_and_nameless_labels(tmp_path):
    rows = [{"image": png(image), "label": 2, "id": "x", "mask": b"no image"} for image in draw((4, 5, 3), 2)[0]]
    kinds = {"label": tfds.features.Scalar(np.int64), "id": tfds.features.Text(), "mask": tfds.features.Image()}
    write_set(tmp_path, "insects/1.0.0", {"train": rows, "test": rows}, **kinds)
    arrays = tfds_images.read("insects", str(tmp_path))
    assert arrays["train_labels"].tolist() == [2, 2] and arrays["class_names"] == ()


def test_versions(tmp_path):
    sets = {}
    for seed, version in enumerate(["1.9.0", "1.10.0", "2.0.0"]):
        _, sets[version], _ = write_pair(tmp_path, f"insects/{version}", 10 * seed)
    (tmp_path / "insects" / "3.0.0").mkdir()  # an interrupted preparation
    asked = {"insects": "2.0.0", "insects:1.*.*": "1.10.0", "insects:1.9.0": "1.9.0", "insects:*.*.*": "2.0.0"}
    for name, version in asked.items():
        np.testing.assert_array_equal(tfds_images.read(name, str(tmp_path))["train_images"], sets[version][0])
    there = "choose one of ['insects/1.10.0', 'insects/1.9.0', 'insects/2.0.0']"
    assert refusal("insects:7.0.0", tmp_path).endswith(there)


def test_configs(tmp_path):
    _, small, _ = write_pair(tmp_path, "insects/small/1.0.0", 0)
    np.testing.assert_array_equal(tfds_images.read("insects", str(tmp_path))["train_images"], small[0])
    _, large, _ = write_pair(tmp_path, "insects/large/1.0.0", 10)
    assert "write one of ['insects/large', 'insects/small']" in refusal("insects", tmp_path)
    np.testing.assert_array_equal(tfds_images.read("insects/small", str(tmp_path))["train_images"], small[0])
    np.testing.assert_array_equal(tfds_images.read("insects/large:1.*.*", str(tmp_path))["train_images"], large[0])
    (tmp_path / "insects" / ".config").mkdir()
    (tmp_path / "insects" / ".config" / "metadata.json").write_text('{"default_config_name": "large"}')
    np.testing.assert_array_equal(tfds_images.read("insects", str(tmp_path))["train_images"], large[0])


def test_second_read_is_from_the_cache(tmp_path):
    folder, *_ = write_pair(tmp_path)
    tfds_images.read("insects", str(tmp_path))
    marked = {**tfds_images._decode(folder), "class_names": ("from", "the", "cache")}
    tfds_images._save(folder / "pretrain-decoded.npz", tfds_images._source(folder), marked)
    assert same(tfds_images.read("insects", str(tmp_path)), marked)
    assert {path.name for path in folder.iterdir() if path.name.startswith("pretrain")} == {"pretrain-decoded.npz"}


def test_stale_cache_is_refreshed(tmp_path):
    write_pair(tmp_path)
    tfds_images.read("insects", str(tmp_path))
    _, train, test = write_pair(tmp_path, seed=20)
    for arrays in tfds_images.read("insects", str(tmp_path)), tfds_images.read("insects", str(tmp_path)):
        np.testing.assert_array_equal(arrays["train_images"], train[0])
        np.testing.assert_array_equal(arrays["test_labels"], test[1])


def test_damaged_cache_is_never_used(tmp_path):
    folder, *_ = write_pair(tmp_path)
    truth = tfds_images.read("insects", str(tmp_path))
    cache, source = folder / "pretrain-decoded.npz", tfds_images._source(folder)
    good = cache.read_bytes()
    for place in range(0, len(good), 5):
        cache.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        arrays = tfds_images._load(cache, source)
        assert arrays is None or same(arrays, truth), f"byte {place}"
    for bad in b"", good[:-1], good[: len(good) // 2], b"garbage", good[100:]:
        cache.write_bytes(bad)
        assert same(tfds_images.read("insects", str(tmp_path)), truth)
        assert same(tfds_images._load(cache, source), truth), "the cache was not healed"


def test_cache_that_lost_rows_is_never_used(tmp_path):
    cache = tmp_path / "pretrain-decoded.npz"
    images, labels = np.zeros((7000, 28, 28, 1), np.uint8), np.zeros(7000, np.int32)
    arrays = {"train_images": images, "train_labels": labels, "test_images": images, "test_labels": labels}
    tfds_images._save(cache, "source", {**arrays, "class_names": ()})
    assert tfds_images._load(cache, "source")["train_images"].shape == images.shape
    # One flipped bit makes 3000 rows of 7000, which NumPy would read and never come to the checksum at the end.
    cache.write_bytes(cache.read_bytes().replace(b"(7000, 28", b"(3000, 28"))
    assert tfds_images._load(cache, "source") is None


def test_without_a_place_for_the_cache(tmp_path):
    folder, train, _ = write_pair(tmp_path)
    (folder / "pretrain-decoded.npz").mkdir()  # nothing can replace a directory, not even root
    np.testing.assert_array_equal(tfds_images.read("insects", str(tmp_path))["train_images"], train[0])
    assert [path.name for path in folder.iterdir() if path.name.startswith("pretrain")] == ["pretrain-decoded.npz"]


def unusable(**changes):
    row = {"image": png(draw((4, 5, 3), 1)[0][0]), "label": 0}
    splits = changes.pop("splits", {"train": [row], "test": [row]})
    return {"splits": {split: [{**row, **odd} for odd in rows] for split, rows in splits.items()}, **changes}


@pytest.mark.parametrize(
    ("changes", "reported"),
    [
        (
            unusable(splits={"train": [{}, {"image": png(draw((6, 5, 3), 1)[0][0])}], "test": [{}]}),
            "different sizes, (4, 5, 3) at train[0] and (6, 5, 3) at train[1]",
        ),
        (unusable(label=None), "no feature 'label', only ['image']"),
        (unusable(image=None), "no feature 'image', only ['label']"),
        (unusable(image=tfds.features.Image(shape=(4, 5, 1), dtype=np.uint16)), "dtype=uint16"),
        (unusable(image=tfds.features.Image(shape=(4, 5, 4))), "shape=(4, 5, 4)"),
        (unusable(image=tfds.features.Text()), "has images of Text"),
        (unusable(label=tfds.features.Scalar(np.float32)), "dtype=float32"),
        (unusable(label=tfds.features.Text(), splits={"train": [{"label": "ant"}]}), "has labels of Text"),
        (unusable(splits={"train": [{}], "test": [{"label": -1}]}), "has unlabelled images in the split test"),
        (unusable(splits={"train": [{}], "extra": [{}]}), "has the splits ['extra', 'train']"),
        (unusable(splits={"test": [{}], "validation": [{}]}), "has the splits ['test', 'validation']"),
        (
            unusable(splits={"train": [{"image": png(np.full((4, 5), 999, np.uint16))}], "test": [{}]}),
            "has an image of mode I;16, train[0]",
        ),
        (unusable(splits={"train": [{"image": b"GIF"}], "test": [{}]}), "is damaged, and run again: Unidentified"),
    ],
)
def test_unusable_sets_are_named(tmp_path, changes, reported):
    folder = write_set(tmp_path, "insects/1.0.0", **changes)
    assert reported in refusal("insects", tmp_path)
    assert not (folder / "pretrain-decoded.npz").exists()


@pytest.mark.parametrize("kept", [0, 100, 70_000])
def test_truncated_shard_is_reported(tmp_path, kept):
    folder, *_ = write_pair(tmp_path)
    os.truncate(folder / "insects-train.array_record-00000-of-00001", kept)
    assert f"remove {folder} if it is damaged, and run again: " in refusal("insects", tmp_path)


def test_damaged_description_is_reported(tmp_path):
    folder, *_ = write_pair(tmp_path)
    (folder / "dataset_info.json").write_text("{")
    assert f"remove {folder} if it is damaged" in refusal("insects", tmp_path)


def test_prepared_as_tfrecord_only(tmp_path):
    folder, *_ = write_pair(tmp_path / "my sets", file_format="tfrecord")
    line = refusal("insects", tmp_path / "my sets")
    assert line.endswith(f"must be as array_record; run mv '{folder}' '{folder}.tfrecord' and then this again")


def test_converted_beside_tfrecord(tmp_path):
    folder, train, _ = write_pair(tmp_path)
    info = json.loads((folder / "dataset_info.json").read_text())
    info |= {"fileFormat": "tfrecord", "alternativeFileFormats": ["array_record"]}
    (folder / "dataset_info.json").write_text(json.dumps(info))
    np.testing.assert_array_equal(tfds_images.read("insects", str(tmp_path))["train_images"], train[0])


@pytest.mark.parametrize(
    ("name", "reported"),
    [
        ("cifa10", "did you mean 'cifar10'?"),
        ("fashon_mnist", "did you mean 'fashion_mnist'?"),
        ("../insects", "is no dataset name"),
        ("insects/..", "is no dataset name"),
        ("insects:latest", "is no dataset name"),
        ("huggingface:insects", "is no dataset name"),
        ("", "is no dataset name"),
    ],
)
def test_unknown_names(tmp_path, name, reported):
    assert reported in refusal(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_unreadable_directory_is_reported():
    with pytest.raises(ConfigError, match=r"^data\.dir: 'xxx.* cannot be read; name a directory that can .*too long"):
        tfds_images.read("insects", "x" * 5000)


@pytest.mark.parametrize("module", ["tensorflow_datasets", "array_record", "PIL", "importlib_resources", "tensorflow"])
def test_missing_packages_are_reported(tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)  # Python's own mark of a module that cannot be imported
    line = refusal("cifar10", tmp_path)
    assert module in line.partition(" to be ")[0] and line.endswith("run pip install -e '.[tfds]' and then this again")


def test_reading_imports_no_tensorflow_and_is_quiet(tmp_path):
    write_pair(tmp_path)
    code = READ_AND_LIST.format(name="insects", root=str(tmp_path))
    (line, seen, _), error = run_alone(code)
    assert (line, seen, error) == ("", ["tensorflow_datasets"], "")
    (line, seen, _), error = run_alone(code)
    assert (line, seen, error) == ("", [], ""), "reading the cache should import nothing"

"""Arrays that do not fit and files that are none are refused in one line, and nothing in them is executed."""

import gzip
import io
import os
import pickle
import re
import shutil
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from pretrain.data import given as given_rows
from pretrain.data import reading
from pretrain.data.inputs_file import inputs_of
from pretrain.data.loading import load as loaded
from pretrain.data.names import canonical
from tests.data.own_files import ARRAYS, load, refused


@pytest.mark.parametrize("name", ARRAYS)
def test_a_missing_array_is_named(name, write):
    split, part = name.split("_")
    what = {"images": "inputs", "labels": "labels"}[part]
    refused(write(**{name: None}), "data.name: ", f"{split}_{what}")


def with_channels(images, channels):
    return np.repeat(images[..., None], channels, axis=-1)


def none_of(arrays, split):
    return {name: array[:0] for name, array in arrays.items() if name.startswith(split)}


# For each mistake, the change to the tiny dataset and what the refusal must speak of.
MISTAKES = {
    "float images beside bytes": (
        lambda a: {"train_images": a["train_images"] / 255},
        ["train_images of float64", "test_images of uint8", "store both alike"],
    ),
    "complex images": (lambda a: {"train_images": a["train_images"] * 1j}, ["train_images of complex128"]),
    "dates": (lambda a: {"train_images": a["train_images"].astype("M8[D]")}, ["train_images of datetime64"]),
    "six axes": (
        lambda a: {"train_images": a["train_images"][..., None, None, None]},
        ["train_images", "(260, 6, 6, 1, 1, 1)"],
    ),
    "empty images": (lambda a: {"train_images": a["train_images"][:, :0]}, ["train_images", "(260, 0, 6)"]),
    "different sizes": (lambda a: {"test_images": a["test_images"][:, 1:]}, ["(6, 6)", "(5, 6)", "to one size"]),
    "too few labels": (lambda a: {"train_labels": a["train_labels"][1:]}, ["260 train_images", "259 train_labels"]),
    "too many labels": (lambda a: {"test_labels": np.zeros(65, int)}, ["64 test_images", "65 test_labels"]),
    "fractions": (lambda a: {"train_labels": a["train_labels"] / 2}, ["train_labels such as 0.5"]),
    "texts beside numbers": (lambda a: {"test_labels": a["test_labels"].astype(str)}, ["test_labels", "texts"]),
    "two ones a row": (
        lambda a: {"train_labels": np.ones((260, 3), int)},
        ["train_labels", "(260, 3)", "one-hot"],
    ),
    "negative labels": (lambda a: {"test_labels": a["test_labels"] - 2}, ["test_labels", "-1 stands for no label"]),
    "one class": (lambda a: {"train_labels": np.zeros(260, int)}, ["train_labels of one class only, 0"]),
    "one class beside -1": (
        lambda a: {"train_labels": np.where(a["train_labels"] > 0, 1, -1)},
        ["one class only, 1", "number the classes from 0"],
    ),
    "no label": (lambda a: {"train_labels": np.full(260, -1)}, ["has no train_labels but missing ones"]),
    "no label to test": (lambda a: {"test_labels": np.full(64, -1)}, ["has no test row with a label"]),
    "quantities": (lambda a: {"train_labels": np.arange(260)}, ["260 different train_labels in 260 rows"]),
    "the same array twice": (lambda a: {"x_train": a["train_images"]}, ["train_images and x_train", "keep one"]),
    "images with holes": (
        lambda a: {
            name: np.where(a[name] == a[name].max(), np.nan, a[name]) for name in ("train_images", "test_images")
        },
        ["NaN", "an image must be whole"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_arrays_that_do_not_fit_are_refused(mistake, tiny_arrays, write):
    change, parts = MISTAKES[mistake]
    path = write(**change(tiny_arrays))
    with pytest.raises(ConfigError) as error:
        load(path, task="classification")
    text = str(error.value)
    assert any(all(part in line for part in parts) for line in text.splitlines()), text
    for line in text.splitlines():
        assert line.startswith(f"data.name: {str(path)!r} ")


def test_all_faults_of_a_file_are_reported_at_once_a_line_each(tiny_arrays, write):
    wrong = {"train_labels": tiny_arrays["train_labels"][1:] / 2, "test_images": tiny_arrays["test_images"][:, 1:]}
    with pytest.raises(ConfigError) as error:
        load(write(**wrong, test_labels=None), task="classification")
    lines = str(error.value).splitlines()
    assert len(lines) == len(set(lines)) == 4
    for part in ("lacks test labels", "train_labels such as 0.5", "to one size", "pair them up"):
        assert sum(part in line for line in lines) == 1


class Payload:
    """Unpickling this makes a directory."""

    def __init__(self, path):
        self.path = os.fspath(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ARRAYS)
def test_objects_are_refused_and_never_unpickled(name, tmp_path, write):
    payload = np.full(260, Payload(tmp_path / "made"), object)
    path = write(**{name: payload})
    refused(path, f"data.name: {str(path)!r} ")
    assert not (tmp_path / "made").exists()
    with np.load(path, allow_pickle=True) as archive:  # the payload would have worked
        archive[name]
    assert (tmp_path / "made").exists()


def test_a_pickle_under_another_name_is_never_unpickled(tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(pickle.dumps(Payload(tmp_path / "made")))
    refused(path, f"data.name: {str(path)!r} ")
    assert not (tmp_path / "made").exists()


def npy(header, content=b""):
    """A NumPy array file of version 1 with the given header."""
    header = header.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


def archive(member, suffix=".npy"):
    """A zip archive in which all four arrays are the same bytes."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name in ARRAYS:
            zipped.writestr(name + suffix, member)
    return file.getvalue()


def flagged(content, local, central, value):
    """An archive with a byte set in the first local and the first central header."""
    content = bytearray(content)
    content[content.index(b"PK\x03\x04") + local] = value
    content[content.index(b"PK\x01\x02") + central] = value
    return bytes(content)


SHAPE = "{{'descr': '|u1', 'fortran_order': False, 'shape': {}}}"
HOSTILE = {
    "nothing": b"",
    "a text": b"train_images",
    "one array": npy(SHAPE.format("(3,)"), b"abc"),
    "a gzip": gzip.compress(b"train_images"),
    "an empty zip": archive(b"").split(b"PK\x03\x04")[0] + b"PK\x05\x06" + bytes(18),
    "members that are no arrays": archive(b"hello"),
    "members without a suffix": archive(b"hello", suffix=""),
    "an encrypted member": flagged(archive(npy(SHAPE.format("(3,)"), b"abc")), 6, 8, 1),
    "an unknown compression": flagged(archive(npy(SHAPE.format("(3,)"), b"abc")), 8, 10, 99),
    "more rows than bytes": archive(npy(SHAPE.format("(260, 6, 6)"), b"abc")),
    "more rows than memory": archive(npy(SHAPE.format("(10000000000000, 6, 6)"), b"abc")),
    "more rows than numbers": archive(npy(SHAPE.format("(1" + "0" * 30 + ", 6, 6)"), b"abc")),
    "negative rows": archive(npy(SHAPE.format("(-1, 6, 6)"), b"abc")),
    "a header cut short": archive(npy(SHAPE.format("(")[:-1], b"abc")),
    "a header that is code": archive(npy("__import__('os').abort()", b"abc")),
    "a header of brackets": archive(npy("(" * 100, b"abc")),
    "objects in a record": archive(npy("{'descr': [('a', '|O')], 'fortran_order': False, 'shape': (3,)}", b"abc")),
}


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.filterwarnings("default::UserWarning")  # NumPy's, of odd headers
def test_files_that_are_no_datasets_are_refused(kind, tmp_path):
    path = tmp_path / "own.npz"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(ConfigError) as error:
        load(path)
    lines = str(error.value).splitlines()
    assert len(lines) == 1 or (kind == "objects in a record" and len(lines) == 2)  # of inputs and of labels
    assert all(line.startswith(f"data.name: {str(path)!r} ") for line in lines)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    refused(tmp_path / "none.npz", "none.npz", "is no file")
    refused(tmp_path / "none" / "none.npz", "none.npz", "is no file")
    refused("~nobody-of-this-name/none.npz", "none.npz")
    (tmp_path / "folder.npz").mkdir()
    refused(tmp_path / "folder.npz", "folder.npz")


def test_a_table_given_to_a_run_of_images_is_refused_with_what_the_run_reads(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8)).astype(np.uint8)
    np.savez(tmp_path / "rows.npz", X=images, y=np.arange(60) % 3)
    config = DataConfig(name=str(tmp_path / "rows.npz"), validation=10, test=10)
    inputs = inputs_of(config, loaded(config))
    columns = {f"px{place}": images[:, place // 8, place % 8] for place in range(64)}
    parquet.write_table(pa.table(columns), tmp_path / "r.parquet")
    with pytest.raises(ConfigError) as error:
        given_rows.read(tmp_path / "r.parquet", inputs)
    assert "is a table, and the run reads rows of [8, 8] of uint8; give an .npz or .npy" in str(error.value)
    assert "data.target" not in str(error.value)


def test_a_file_of_nearly_its_name_is_asked_for(tiny_path, tmp_path, monkeypatch):
    shutil.copy(tiny_path, tmp_path / "digits.npz")
    monkeypatch.chdir(tmp_path)
    for name in (tmp_path / "digits.np", "digits.np", "./digit.nz"):
        refused(name, "is not there; did you mean", "digits.npz?")
    refused("./rows.h5", "is not there; give the path")


def test_a_folder_without_arrays_is_no_name_of_a_dataset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "arrays").mkdir()
    for name in ("arrays/", "array/"):
        refused(name, "is no directory of .npy files, named")


def test_a_file_is_known_by_its_ending_in_capitals_too(tiny_path, tmp_path):
    shutil.copy(tiny_path, tmp_path / "OWN.NPZ")
    assert load(tmp_path / "OWN.NPZ").fingerprints == load(tiny_path).fingerprints


def test_a_path_may_start_at_home(tiny_path, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(tiny_path, tmp_path / "own.npz")
    assert load("~/own.npz").fingerprints == load(tiny_path).fingerprints


@pytest.mark.parametrize("left", [0.0, 0.01, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused(left, tiny_path, tmp_path):
    path = tmp_path / "own.npz"
    with open(tiny_path, "rb") as whole:
        content = whole.read()
    path.write_bytes(content[: int(left * len(content))])
    refused(path, f"data.name: {str(path)!r} ")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory):
    return tmp_path_factory.mktemp("scratch") / "own.npz"


@pytest.mark.filterwarnings("ignore::UserWarning")  # NumPy's and zipfile's, of odd headers
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(draw=st.data())
def test_a_flipped_bit_is_found_or_changes_nothing(save, draw, scratch, tiny_arrays, tiny_path):
    file = io.BytesIO()
    save(file, **tiny_arrays)
    content = bytearray(file.getvalue())
    at = draw.draw(st.integers(0, len(content) - 1) | st.integers(-600, -1) | st.integers(0, 200))
    content[at] ^= 1 << draw.draw(st.integers(0, 7))
    scratch.write_bytes(content)
    try:
        fingerprints = load(scratch).fingerprints
    except ConfigError as error:
        assert re.fullmatch(r"data\.name: .+", str(error))
    else:
        assert fingerprints == load(tiny_path).fingerprints


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("training", "valid", "testing"), ("TRAIN", "dev", "Test")]
)
def test_splits_have_their_usual_names(names):
    assert [canonical(f"{name}_images") for name in names] == ["train_inputs", "validation_inputs", "test_inputs"]


def test_a_python_file_without_a_function_is_refused_with_how_to_name_one(tmp_path):
    with pytest.raises(ConfigError, match=r"name its function, as in .*my_data\.py:load"):
        reading.read(DataConfig(name=str(tmp_path / "my_data.py")))

"""Each form in which people have their data is read, or refused in a line that says what to do."""

import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from tests.data import sources
from tests.data.sources import CLASSES, ROWS, TEST_ROWS

IMAGES = "rows are images of 6 × 6 × 1 (data.inputs: columns, series)"


@pytest.fixture(scope="session")
def form(tmp_path_factory):
    """A function that loads the file of a form; fields of the data may follow."""
    root, forms = tmp_path_factory.mktemp("forms"), sources.forms()

    def load(name, validation=50, **fields):
        path = root / f"{name}.npz"
        if not path.exists():
            np.savez(path, **forms[name])
        return data.load(DataConfig(name=str(path), validation=validation, **fields))

    return load


def refused(load):
    """The lines in which a source is refused."""
    with pytest.raises(ConfigError) as error:
        load()
    return str(error.value).splitlines()


def noted(dataset, part):
    """Whether some note of a dataset holds a part."""
    return any(part in note for note in map(str, dataset.findings))


def same(one, other):
    for split in ("train", "validation", "test"):
        for own, theirs in zip(getattr(one, split), getattr(other, split), strict=True):
            assert own.dtype == theirs.dtype
            np.testing.assert_array_equal(own, theirs)
    assert one.fingerprints == other.fingerprints
    return True


@pytest.mark.parametrize("name", ["keras_names", "capitals", "float01", "double01", "one_hot", "float_labels"])
def test_forms_of_the_same_images_are_the_same_to_the_bit(name, form):
    assert same(form(name), form("uint8"))
    assert form(name).output_names == tuple(map(str, range(CLASSES)))
    is_bytes = form(name).train.inputs.dtype == np.uint8 and "01" not in name  # of which floats are made
    assert [finding.sentence for finding in form(name).findings] == ([] if is_bytes else [IMAGES])


def test_flat_images_are_rows_of_the_same_bytes(form):
    found, images = form("flat"), form("uint8")
    assert (found.example_shape, images.example_shape) == ((36,), (6, 6, 1))
    np.testing.assert_array_equal(found.train.inputs, images.train.inputs)
    assert not found.has_axes


def test_other_numbers_are_standardised_channel_by_channel(form):
    found = form("uint16")
    assert found.train.inputs.dtype == np.float32 and found.example_shape == (6, 6, 1)
    assert abs(found.train.inputs.mean(dtype=float)) < 1e-6 and abs(found.train.inputs.std(dtype=float) - 1) < 1e-6
    # One scale for all pixels, so that what is bright stays bright.
    bytes_of = form("uint8").train.inputs.astype(float)
    np.testing.assert_allclose(found.train.inputs, (bytes_of - bytes_of.mean()) / bytes_of.std(), atol=1e-5)


def test_names_of_classes_are_kept(form):
    found = form("string_labels")
    assert found.output_names == tuple(f"digit {label}" for label in range(CLASSES))
    np.testing.assert_array_equal(found.train.labels, form("uint8").train.labels)


def test_class_numbers_with_gaps_are_closed_and_named(form):
    found = form("labels_from_1")
    assert found.output_names == tuple(str(label) for label in range(1, 11)) and noted(
        found, "10 classes, numbered 1–10"
    )
    assert same(found._replace(output_names=()), form("uint8")._replace(output_names=()))


@pytest.mark.parametrize("name", ["with_validation", "medmnist_like"])
def test_validation_rows_that_are_given_are_used(name, form):
    found = form(name, validation=5000)  # which takes nothing away
    assert same(found, form("uint8")) and found.labelled is None


@pytest.mark.parametrize("name", ["no_test", "plain"])
def test_a_missing_test_split_is_cut_off_stratified_and_reported(name, form):
    found = form(name, validation=0.1, test=0.25)
    assert [len(split.labels) for split in (found.train, found.validation, found.test)] == [260, 40, 100]
    np.testing.assert_array_equal(np.bincount(found.test.labels), [10] * CLASSES)
    np.testing.assert_array_equal(np.bincount(found.validation.labels), [4] * CLASSES)
    assert noted(found, "100 test rows cut off at random, stratified (data.test")
    rows = np.concatenate([split.inputs for split in (found.train, found.validation, found.test)])
    np.testing.assert_array_equal(np.unique(rows, axis=0), np.unique(sources.images()[0].reshape(ROWS, -1), axis=0))
    assert same(found, form(name, validation=0.1, test=0.25))


def test_rows_in_order_of_their_classes_are_shuffled_once(form):
    found = form("sorted_by_class", validation=100)
    assert noted(found, "have like targets")
    np.testing.assert_array_equal(np.bincount(found.validation.labels), [10] * CLASSES)
    assert len(np.unique(found.train.labels[:60])) == CLASSES  # the labelled subset, by default
    own = {row.tobytes(): label for row, label in zip(*form("uint8").test, strict=True)}
    for row, label in zip(*found.test, strict=True):
        assert own[row.tobytes()] == label


def test_rows_without_a_label_pretrain_only(form):
    found = form("few_labels", validation=20)
    assert len(found.train.inputs) == ROWS - 20 and found.n_labelled + len(found.validation.labels) == 100
    assert noted(found, "300 of 380 training rows have no label")
    assert set(found.validation.labels) <= set(range(CLASSES)) and (found.known_labels >= 0).all()
    images, labels, *_ = sources.images()
    known = {row.tobytes(): label for row, label in zip(images.reshape(ROWS, -1), labels, strict=True)}
    for row in found.labelled:
        assert known[found.train.inputs[row].tobytes()] == found.train.labels[row]


def test_a_class_of_255_that_no_test_row_has_is_taken_for_a_lost_sign(form):
    (line,) = refused(lambda: form("few_labels_uint8"))
    assert "300 train_labels of 255" in line and "no test row has" in line and "labels with a sign" in line


def test_a_pool_pretrains_beside_labelled_rows(form):
    found = form("pool", validation=20)
    assert len(found.train.inputs) == ROWS - 20 and found.n_labelled == 80
    np.testing.assert_array_equal(found.labelled, np.arange(80))
    np.testing.assert_array_equal(found.train.inputs[80:], sources.images()[0].reshape(ROWS, -1)[100:])


def test_the_rows_that_pretraining_reads_can_be_chosen(form):
    whole = form("pool", validation=20)
    pool, own = (form("pool", validation=20, pretrain_on=rows) for rows in ("unlabelled", "train"))
    np.testing.assert_array_equal(pool.train.inputs, whole.train.inputs[80:])
    np.testing.assert_array_equal(own.train.inputs, whole.train.inputs[:80])
    assert pool.n_labelled == 0 and own.labelled is None
    fewer, more = (form("pool", validation=20, unlabelled=n, pretrain_on="unlabelled") for n in (30, 100))
    assert len(fewer.train.inputs) == 30
    rows = {row.tobytes() for row in more.train.inputs}
    assert all(row.tobytes() in rows for row in fewer.train.inputs)  # nested, so that only the number differs
    assert len(form("pool", validation=20, unlabelled=30).train.inputs) == 110
    (line,) = refused(lambda: form("pool", unlabelled=301))
    assert line.startswith("data.unlabelled: 301 is more than the 300 training rows without a label")
    (line,) = refused(lambda: form("uint8", pretrain_on="unlabelled"))
    assert line.startswith("data.pretrain_on: 'unlabelled' leaves nothing to pretrain on")


def test_classes_that_only_test_rows_have_are_named(form):
    assert noted(form("unseen_classes"), "no training row with a label is of class 8, 9, but 24 test rows are")


def test_test_rows_that_are_training_rows_are_counted(tmp_path):
    x, y, tx, ty = sources.images()
    tx[:7] = x[60:67]
    np.savez(tmp_path / "copies.npz", **sources.four(x, y, tx, ty))
    found = data.load(DataConfig(name=str(tmp_path / "copies.npz"), validation=50))
    assert noted(found, f"7 of {TEST_ROWS} test rows are training rows too")


def test_images_of_several_sizes_and_of_other_axes_are_refused_in_one_line(form):
    (line,) = refused(lambda: form("ragged"))
    assert "images that differ in size" in line and "resize them to one size" in line
    (line,) = refused(lambda: form("channels_first"))
    assert "look like [N, C, H, W]" in line and "np.moveaxis(train_images, 1, -1)" in line


def test_test_rows_without_a_label_are_left_out(tmp_path):
    x, y, tx, ty = sources.images()
    np.savez(tmp_path / "own.npz", **sources.four(x, y, tx, np.where(np.arange(TEST_ROWS) < 20, -1, ty)))
    found = data.load(DataConfig(name=str(tmp_path / "own.npz"), validation=50))
    assert len(found.test.inputs) == len(found.test.labels) == 100 and noted(found, "20 test rows have no label")


def test_a_folder_of_arrays_is_read_and_not_mapped(form, tmp_path):
    named = ("train_inputs", "train_targets", "test_inputs", "test_targets")
    for name, array in zip(named, sources.images(), strict=True):
        np.save(tmp_path / f"{name}.npy", array)
    found = data.load(DataConfig(name=str(tmp_path), validation=50))
    assert same(found, form("uint8"))
    owner = found.train.inputs
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    assert not isinstance(owner, np.memmap) and owner.base is None
    np.save(tmp_path / "val_inputs.npy", np.array([None]))
    lines = refused(lambda: data.load(DataConfig(name=str(tmp_path))))
    assert any("has val_inputs of Python objects" in line for line in lines)


OWN = """
import numpy as np


def arrays():
    rng = np.random.default_rng(0)
    return {"X": rng.normal(size=(50, 4)), "y": ["a", "b", None, "b", "a"] * 10, "notes": ["left alone"]}


def nothing():
    return 3


def uneven():
    return {"X": [[[1, 2]], [[3], [4]]], "y": [0, 1]}


def broken():
    raise OSError("no network")
"""


def test_a_function_of_ones_own_returns_arrays(tmp_path):
    (tmp_path / "own.py").write_text(OWN)

    def load(function):
        return data.load(DataConfig(name=f"{tmp_path}/own.py:{function}", validation=0.2))

    found = load("arrays")
    assert found.output_names == ("a", "b") and found.n_labelled == 24
    assert len(found.train.inputs) == 34 and noted(found, "no known name are left alone: notes")
    for function, part in {
        "nothing": "must return a dictionary of arrays, not a int",
        "uneven": "returns what is no array",
        "broken": "fails with OSError: no network (",
        "absent": "which own.py does not define",
    }.items():
        (line,) = refused(lambda function=function: load(function))
        assert line.startswith("data.name: ") and part in line


def test_fields_of_tables_are_refused_beside_arrays(form):
    lines = refused(lambda: form("uint8", target="y", drop=("a",)))
    assert [line.partition(":")[0] for line in lines] == ["data.target", "data.drop"]
    lines = refused(lambda: data.load(DataConfig(target="y", drop=("a",), group="b", time="c")))
    assert [line.partition(":")[0] for line in lines] == ["data.target", "data.drop", "data.group", "data.time"]


GROUPED = """
import numpy as np


def arrays():
    return dict(np.load("{}", allow_pickle=True))
"""


@pytest.fixture(params=["npz", "folder", "function"])
def grouped(request, tmp_path):
    """A function that loads rows of which ten each have a group and a day, from sources of three kinds."""
    rng = np.random.default_rng(0)
    site = rng.permutation(np.repeat(np.arange(40), 10))
    arrays = {
        "X": rng.normal(size=(400, 5)),
        "y": rng.integers(0, 3, 400),
        "day": rng.permutation(400),
        "few": site[:9],
    }
    arrays["X"][:, 0], arrays["X"][:, 1] = site, arrays["day"]
    arrays["site"] = np.array([f"site {number}" for number in site])[:, None]
    np.savez(tmp_path / "own.npz", **arrays)
    (tmp_path / "own.py").write_text(GROUPED.format(tmp_path / "own.npz"))
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    name = {"npz": "own.npz", "folder": "", "function": "own.py:arrays"}[request.param]

    def load(**fields):
        return data.load(DataConfig(name=f"{tmp_path}/{name}", validation=0.2, **fields))

    return load


def column(found, place):
    """A column of each split as it was."""
    return [
        np.rint(split.inputs[:, place] * found.scaling.divisor[place] + found.scaling.offset[place]).astype(int)
        for split in (found.train, found.validation, found.test)
    ]


def test_arrays_of_groups_and_of_times_cut_rows(grouped):
    for fields in ({}, {"splits": "fresh", "cut": 5}):
        train, validation, test = map(set, column(grouped(group="site", **fields), 0))
        assert not train & validation and not train & test and not validation & test
    train, validation, test = column(grouped(time="day"), 1)
    assert train.max() < validation.min() and validation.max() < test.min()
    (line,) = refused(lambda: grouped(time="day", splits="fresh"))
    assert line.startswith("data.splits: 'fresh' draws rows at random, which data.time does not")
    assert noted(grouped(time="order"), "rows in time are test rows")


def test_arrays_that_are_no_groups_are_refused_and_those_left_alone_are_named(grouped):
    (line,) = refused(lambda: grouped(group="sites"))
    assert line.startswith("data.group: 'sites' is no array of ") and "X, day, few, site" in line
    (line,) = refused(lambda: grouped(group="few"))
    assert line == "data.group: 'few' is an array of (9,) beside 400 training rows; give a value a row"
    (line,) = refused(lambda: grouped(time="site"))
    assert line.startswith("data.time: 'site' has 'site ") and "which is no time" in line
    (found,) = [each for each in grouped().findings if each.kind == "groups that are cut apart"]
    assert (found.severity, found.remedy) == ("doubt", "if it names groups: --data.group site")
    assert noted(grouped(), "left alone: day, few, site") and noted(grouped(group="site"), "left alone: day, few")
    assert not [each for each in grouped(group="site").findings if each.severity == "doubt"]

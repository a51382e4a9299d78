"""What a run says of data of each kind before it trains, and what it will train on."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pretrain.config.fields import ConfigError
from tests.own_data import makers
from tests.own_data.asking import Asked, arrays, written


def test_series_are_one_whatever_their_axes_and_scaled_sensor_by_sensor(tmp_path):
    rows, labels = makers.sensors()
    forms = {"last": rows, "columns_of_one": rows[:, :, None], "first": np.moveaxis(rows, 1, 2)}
    found = {}
    for name, form in forms.items():
        asked = Asked(written(arrays(form, labels), tmp_path / f"{name}.npz"))
        asked.said("rows are series of 60 steps of 2 channels", "data.inputs: columns")
        asked.said("channel by channel")
        found[name] = asked.dataset
    for other in found.values():
        np.testing.assert_array_equal(other.train.inputs, found["last"].train.inputs)
        np.testing.assert_array_equal(other.test.labels, found["last"].test.labels)
    sensors = found["last"].train.inputs.reshape(-1, 60, 2)
    np.testing.assert_allclose(sensors.mean(axis=(0, 1)), 0, atol=0.2)
    np.testing.assert_allclose(sensors.std(axis=(0, 1)), 1, atol=0.2)


def test_series_of_unlike_lengths_are_read_with_them(tmp_path):
    rows, labels = makers.ending()
    asked = Asked(written(arrays(rows, labels), tmp_path / "ending.npz"))
    asked.said("series of", "steps of 2 channels", "what follows their ends is read as zeros")
    n = len(asked.dataset.train.inputs) + len(asked.dataset.validation.inputs) + len(asked.dataset.test.inputs)
    assert n == len(rows)


def test_a_row_of_columns_that_end_in_nan_may_be_a_series(tmp_path):
    rows, labels = makers.ending()
    path = written(arrays(rows[..., 0], labels), tmp_path / "ending.npz")
    Asked(path).said("end in NaN", "if rows are series: --data.inputs series")
    asked = Asked(path, "--data.inputs", "series")
    assert not asked.has("end in NaN")
    asked.said("steps of 1 channel")
    gaps = rows[..., 0].copy()
    gaps[::5, 3] = np.nan
    assert not Asked(written(arrays(gaps, labels), tmp_path / "gaps.npz")).has("data.inputs series")


def test_volumes_are_volumes(tmp_path):
    asked = Asked(written(arrays(*makers.scans()), tmp_path / "scans.npz"))
    asked.said("rows are volumes of 10 × 10 × 10 × 1")
    assert asked.dataset.example_shape == (10, 10, 10, 1)


@pytest.mark.parametrize("n", [37, 49, 50, 83, 96, 150])
def test_few_rows_train_until_validation_says_so(n, tmp_path):
    asked = Asked(written(makers.few(n), tmp_path / "few.npz"))
    finetune, n_labels = asked.experiment.finetune, asked.dataset.n_labelled
    assert (finetune.updates, finetune.stop) == (1000, "validation")
    assert finetune.batch_size == max(1, n_labels // 4)  # no jump from 32 updates to 4 as rows become more
    assert finetune.updates // finetune.validate_every >= 10
    assert asked.dataset.n_labelled + len(asked.dataset.validation.labels) == n


def test_a_column_of_a_constant_becomes_zeros_and_its_odd_test_rows_are_named(tmp_path):
    asked = Asked(written(makers.idle_column(), tmp_path / "idle.npz"), "--study.metric", "mae")
    asked.said("held-out rows have other values", "2 rows in column 6")
    asked.said("column 6 has one value in all training rows")
    assert not asked.dataset.test.inputs[:, 6].any() and np.abs(asked.dataset.test.inputs).max() < 10


def test_a_pool_of_another_instrument_decides_no_scale(tmp_path):
    made = makers.other_instrument()
    alone = {name: made[name] for name in ("X", "y")}
    with_pool, without = (
        Asked(written(each, tmp_path / f"{len(each)}.npz"), "--finetune.labels", "100") for each in (made, alone)
    )
    with_pool.said("of another population", "6 of 6 columns differ", "D up to", severity="doubt")
    n = len(without.dataset.train.inputs)
    for before, after in zip(without.datasets.values(), with_pool.datasets.values(), strict=True):
        np.testing.assert_array_equal(before.train.inputs, after.train.inputs[:n])
        np.testing.assert_array_equal(before.test.inputs, after.test.inputs)


@pytest.mark.parametrize(
    ("into", "line"),
    [
        ("pool", "120 of 120 test rows are in the unlabelled pool too, which flatters pretraining"),
        ("validation", "30 of 120 test rows are validation rows too: arms are chosen by test rows"),
    ],
)
def test_test_rows_elsewhere_are_counted_with_their_harm(into, line, tmp_path):
    Asked(written(makers.leaking(into), tmp_path / "leaking.npz")).said(line, severity="doubt")


def test_groups_among_the_arrays_are_named_and_cut_by(tmp_path):
    path = written({**makers.recordings(), "groups": makers.recordings()["subject"]}, tmp_path / "recordings.npz")
    Asked(path).said("the array groups is left alone", "--data.group groups", severity="doubt")
    asked = Asked(path, "--data.group", "subject")
    asked.said("test rows cut off at random, by whole groups")
    assert asked.experiment.data.splits == "fresh"
    made = makers.recordings()
    for dataset in asked.datasets.values():
        rows = dataset.scaling.applied(made["X"])
        of = {row.tobytes(): person for row, person in zip(rows, made["subject"].tolist(), strict=True)}
        splits = dataset.train, dataset.validation, dataset.test
        assert sum(len({of[row.tobytes()] for row in split.inputs}) for split in splits) == 50  # nobody is in two


@pytest.mark.parametrize("splits", [(), ("--data.splits", "fresh")])
def test_rows_without_a_group_are_groups_of_their_own(splits, tmp_path):
    made = makers.visits()
    path = written(made, tmp_path / "visits.csv")
    asked = Asked(path, "--data.target", "ill", "--data.group", "patient", *splits)
    asked.said(f"{made['patient'].count(None)} rows without a group are a group each")
    for dataset in asked.datasets.values():
        assert len(dataset.test.labels) == pytest.approx(84, abs=12)  # not all of the nameless


@pytest.mark.parametrize(
    ("made", "column", "parts"),
    [
        (makers.numbered(), "row", ("all-different whole numbers predict y",)),
        (makers.coded_target(), "group", ("a single column predicts y",)),
    ],
)
def test_a_column_that_gives_the_target_away_is_named(made, column, parts, tmp_path):
    path = written(made, tmp_path / "table.csv")
    Asked(path, "--data.target", "y").said(*parts, f"--data.drop {column}", severity="doubt")
    assert not Asked(path, "--data.target", "y", "--data.drop", column).has(parts[0])


def test_a_rare_class_is_compared_by_a_metric_that_sees_it(tmp_path):
    path = written(makers.rare(), tmp_path / "rare.npz")
    asked = Asked(path)
    assert asked.experiment.study.metric == "auroc"
    asked.said("study.metric: auroc", "classes are of very unlike sizes")
    weighed = Asked(path, "--study.metric", "balanced_accuracy", "--finetune.class-weights", "balanced").experiment
    assert (weighed.study.metric, weighed.finetune.class_weights) == ("balanced_accuracy", "balanced")


def test_unknown_labels_are_the_same_written_as_minus_one_or_nan(tmp_path):
    by_mark = {}
    for mark in (-1.0, np.nan):
        asked = by_mark[mark] = Asked(written(makers.partly_known(mark), tmp_path / f"{mark}.npz"))
        asked.said("are several labels a row", "multilabel")
        asked.said("unknown: no loss and no measure counts them")
        assert asked.dataset.n_labelled + 2 * 120 > 355  # no row falls out for an unknown label
    minus_one, nan = (each.dataset for each in by_mark.values())
    np.testing.assert_array_equal(minus_one.train.labels, nan.train.labels)
    np.testing.assert_array_equal(minus_one.test.inputs, nan.test.inputs)
    by_mark[-1.0].said("are −1", "--data.task regression", severity="doubt")


def test_whole_numbers_may_be_quantities(tmp_path):
    path = written(makers.scores(), tmp_path / "scores.npz")
    Asked(path).said("read as", "classes; if these are quantities: --data.task regression", severity="doubt")
    assert Asked(path, "--data.task", "regression").dataset.task == "regression"


@pytest.mark.parametrize("mark", ["?", "null", "-"])
def test_marks_among_numbers_are_missing(mark, tmp_path):
    asked = Asked(written(makers.marked(mark), tmp_path / "marked.csv"), "--data.target", "y")
    asked.said(f"read as missing: {mark!r} in 6 rows of a")
    assert asked.dataset.train.inputs.shape[1] == 3  # a, whether it is missing, b


def test_documents_are_left_out_and_alone_refused(tmp_path):
    made = makers.letters()
    asked = Asked(written(made, tmp_path / "letters.csv"), "--data.target", "y")
    asked.said("letter, 240 different texts in 240 rows", "left out", severity="doubt")
    assert asked.dataset.train.inputs.shape[1] == 1
    alone = written({name: made[name] for name in ("letter", "y")}, tmp_path / "alone.csv")
    with pytest.raises(ConfigError, match=r"nearly all different, letter .* and no other input") as error:
        Asked(alone, "--data.target", "y")
    assert "\n" not in str(error.value)


def test_codes_written_as_numbers_are_categories_on_demand(tmp_path):
    path, right = written(makers.districts(), tmp_path / "districts.csv"), {}
    for options in ((), ("--data.categories", "place")):
        asked = Asked(path, "--data.target", "y", *options)
        assert asked.has("--data.categories place") == (not options)
        train, test = asked.dataset.train, asked.dataset.test
        right[options] = LogisticRegression().fit(*train).score(*test)
    assert right[()] < 0.7 and right["--data.categories", "place"] > 0.84


@pytest.mark.parametrize(("encoding", "called"), [("latin-1", "Windows-1252"), ("utf-16", "UTF-16")])
def test_tables_of_another_encoding_are_read_with_a_word(encoding, called, tmp_path):
    path = tmp_path / "table.csv"
    lines = ["länge;b;größe", *(f"{i % 9};{i * 37 % 101};{'groß' if i % 2 else 'klein'}" for i in range(150))]
    path.write_bytes("\n".join(lines).encode(encoding))
    asked = Asked(path, "--data.target", "größe")
    asked.said(f"no UTF-8, and is read as {called}")
    assert asked.dataset.output_names == ("groß", "klein") and asked.dataset.scaling.columns == ("länge", "b")


@pytest.fixture
def layers(tmp_path):
    """A function that asks about pictures with layers of one's own."""
    (tmp_path / "layers.py").write_text(makers.LAYERS)
    path = written(makers.pictures(), tmp_path / "pictures.npz")
    return lambda function: Asked(path, "--encoder.layers", f"{tmp_path / 'layers.py'}:{function}")


@pytest.mark.parametrize(
    ("function", "parts"),
    [
        ("windows", ("layer 0, Windows,", "has no method decoder(shape)", "24,640 decodes it")),
        ("units", ("layer 0, Units,", "maps the last axis of 8 × 8 × 1 alone", "x.reshape(len(x), -1)")),
    ],
)
def test_layers_of_ones_own_have_a_line_each(function, parts, layers):
    layers(function).said(*parts)


def test_layers_without_fault_have_no_line(layers):
    asked = layers("given")
    assert not any(each.sentence.startswith("layer ") for each in asked.findings)
    assert not layers("noisy").has("dropout")  # which is on in training
    assert not layers("windows").has("last axis")

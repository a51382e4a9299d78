"""Networks of finished runs: they predict what the run measured, of rows as somebody brings them."""

import functools

import jax
import numpy as np
import pyarrow as pa
import pytest

import pretrain
from pretrain import data
from pretrain.config import Experiment
from pretrain.config.fields import ConfigError
from pretrain.config.overrides import override
from pretrain.models import forward
from pretrain.store.store import Store
from tests.models import sources

ENDINGS = ("none", "ridge", "logistic", "linear", "knn", "trees")
SMALL = {
    "seeds": 1,
    "encoder.layers": (12, 6),
    "pretrain.epochs": 1,
    "pretrain.batch_size": 20,
    "finetune.epochs": 2,
    "finetune.batch_size": 10,
    "finetune.labels": 0,
    "data.validation": 30,
}


def run_of(tmp_path, source, sweep=None, **fields):
    values = SMALL | {"data.name": source.name, "run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store")}
    values = {**values, **source.fields, **{name.replace("__", "."): value for name, value in fields.items()}}
    asked = override(Experiment(), values, sweep=sweep or {})
    return pretrain.run(asked.experiment)


def rows_of(source, model):
    """The raw test rows of a source."""
    if source.table is None:
        return source.test
    return source.table.take(data.load(model.inputs.data).origins["test"].rows)


def stored_predictions(run, trial_id):
    (stage,) = (r["stage_id"] for r in run.stages.to_pylist() if r["stage"] == "finetune" and r["trial_id"] == trial_id)
    store = Store(run.experiment.store, warn=pytest.fail, read_only=True)
    assert store.verified([stage])
    return store.predictions(stage, "test")


def outputs_of(model, rows):
    read, member = model.read(rows), model.members[0]
    run = functools.partial(forward.outputs, model.stack, model.ending, member.params)
    return np.concatenate([*forward.in_blocks(run, member.inputs.scaling.applied, read.rows, model.block)])


def check_agreement(run, source):
    """Every trial's network predicts its stored predictions: to the bit by the program's own convolutions."""
    for trial in run.trials["trial_id"].to_pylist():
        model, stored = run.model(trial), stored_predictions(run, trial)
        rows = rows_of(source, model)
        outputs, units = outputs_of(model, rows), model.inputs.units
        predicted = model.stack.task.predicted(outputs, model.ending in ("finetuning", "logistic", "linear", "trees"))
        scores = units.restored(np.asarray(predicted.scores)) if units else np.asarray(predicted.scores)
        np.testing.assert_array_equal(scores, stored["scores"])
        found = model.predict(rows)
        match model.inputs.task:
            case "classification":
                np.testing.assert_array_equal(found, np.array(model.classes)[stored["classes"]])
            case "multilabel":
                np.testing.assert_array_equal(found, stored["scores"] > 0)
            case "regression":
                np.testing.assert_allclose(found, stored["scores"][:, 0], rtol=1e-5)


def test_every_ending_of_a_table_predicts_what_it_measured(tmp_path):
    source = sources.table(tmp_path)
    run = run_of(tmp_path, source, {"finetune.readout": ENDINGS})
    check_agreement(run, source)


@pytest.mark.slow
def test_models_of_raw_inputs_predict_what_they_measured(tmp_path):
    source = sources.table(tmp_path)
    run = run_of(tmp_path, source, {"finetune.readout": ENDINGS}, finetune__encoder_init="none")
    check_agreement(run, source)


SHAPES = {
    "columns": lambda rng: rng.normal(size=(180, 9)),
    "bytes": lambda rng: rng.integers(0, 256, (180, 6, 6)).astype(np.uint8),
    "small bytes": lambda rng: rng.integers(0, 17, (180, 6, 6)).astype(np.uint8),
    "steps of bytes": lambda rng: (rng.integers(0, 256, (180, 6, 6)) / 255).astype(np.float32),
    "series": lambda rng: sources.smooth(rng, 12, 2),
    "channels first": lambda rng: np.moveaxis(sources.smooth(rng, 12, 2), 1, 2),
    "volumes": lambda rng: rng.integers(0, 256, (180, 8, 8, 8)).astype(np.uint8),
    "colour": lambda rng: rng.integers(0, 256, (180, 6, 6, 3)).astype(np.uint8),
}


@pytest.mark.slow
@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
@pytest.mark.parametrize("form", SHAPES)
def test_networks_on_arrays_predict_what_they_measured(tmp_path, form, task):
    source = sources.arrays(tmp_path, SHAPES[form](np.random.default_rng(0)), task)
    layers = (12, 6) if form in ("columns", "bytes") else ("4c3s2", 6)
    run = run_of(tmp_path, source, {"finetune.readout": ENDINGS}, encoder__layers=layers)
    check_agreement(run, source)


@pytest.mark.slow
def test_networks_on_series_of_unlike_lengths_predict_what_they_measured(tmp_path):
    rng = np.random.default_rng(0)
    rows = sources.smooth(rng, 12, 2)
    for row, length in zip(rows, rng.integers(5, 13, len(rows)), strict=True):
        row[length:] = np.nan
    source = sources.arrays(tmp_path, rows)
    run = run_of(tmp_path, source, encoder__layers=("4c3s2", 6))
    check_agreement(run, source)
    model = run.model()
    as_list = [row[~np.isnan(row[:, 0])] for row in rows[sources.N :]]
    np.testing.assert_array_equal(model.predict_proba(as_list), model.predict_proba(source.test))
    short = rows[sources.N :][:, :7]
    np.testing.assert_array_equal(model.encode(short)[0], model.encode(short[:1])[0])


@pytest.fixture(scope="module")
def bytes_run(tmp_path_factory):
    path = tmp_path_factory.mktemp("bytes")
    source = sources.arrays(path, SHAPES["bytes"](np.random.default_rng(0)))
    return source, run_of(path, source, {"finetune.encoder_init": ("pretrained", "he")}, seeds=2)


def test_a_rows_result_depends_on_no_other_row(bytes_run):
    source, run = bytes_run
    model = run.model()
    whole, codes = model.predict_proba(source.test), model.encode(source.test)
    for size in (1, 7):
        parts = [model.predict_proba(source.test[start : start + size]) for start in range(0, sources.N_TEST, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)
    order = np.random.default_rng(0).permutation(sources.N_TEST)
    np.testing.assert_array_equal(model.encode(source.test[order]), codes[order])
    many = np.tile(source.test, (30, 1, 1))
    np.testing.assert_array_equal(model.encode(many), np.tile(codes, (30, 1)))


def test_codes_and_probabilities_are_those_of_the_formula(bytes_run):
    source, run = bytes_run
    model = run.model()
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.members[0].params)
    values = source.test.reshape(sources.N_TEST, -1) / 255
    for layer in ("layers_0", "layers_1"):
        sums = values @ params["encoder"][layer]["kernel"] + params["encoder"][layer]["bias"]
        values = np.where(sums > 0, sums, np.expm1(sums))
        depth = int(layer[-1]) + 1
        np.testing.assert_allclose(model.encode(source.test, layers=depth), values, atol=1e-5)
    logits = values @ params["head"]["kernel"] + params["head"]["bias"]
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(model.predict_proba(source.test), odds / odds.sum(axis=1, keepdims=True), atol=1e-5)


def test_arms_are_named_as_the_answer_names_them(bytes_run):
    _, run = bytes_run
    trials = run.trials.to_pylist()
    for each in run.answer.content["arms"]:
        for seed in (0, 1):
            by_name = run.model(each["name"], seed=seed)
            by_point = run.model(each["point"], seed=seed)
            (row,) = (
                row
                for row in trials
                if row["seed"] == seed and all(row[name] == value for name, value in each["point"].items())
            )
            by_id = run.model(row["trial_id"])
            kernels = [each.members[0].params["head"]["kernel"] for each in (by_name, by_point, by_id)]
            np.testing.assert_array_equal(kernels[0], kernels[1])
            np.testing.assert_array_equal(kernels[0], kernels[2])
    best = max(trials, key=lambda row: row["validation_accuracy"])["finetune.encoder_init"]
    means = {
        init: np.mean([row["validation_accuracy"] for row in trials if row["finetune.encoder_init"] == init])
        for init in ("pretrained", "he")
    }
    assert best in means and run.model().name.startswith(
        {each["point"]["finetune.encoder_init"]: each["name"] for each in run.answer.content["arms"]}[
            max(means, key=means.get)
        ]
    )


def test_an_ensemble_is_the_mean_of_its_networks(bytes_run):
    source, run = bytes_run
    both = run.model({"finetune.encoder_init": "he"}, ensemble=True)
    each = [run.model({"finetune.encoder_init": "he"}, seed=seed).predict_proba(source.test) for seed in (0, 1)]
    mean = (each[0] + each[1]) / 2
    np.testing.assert_allclose(both.predict_proba(source.test), mean, atol=1e-7)
    np.testing.assert_array_equal(both.predict(source.test), np.array(both.classes)[mean.argmax(axis=1)])
    with pytest.raises(ConfigError, match="is an ensemble, which has no codes"):
        both.encode(source.test)


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (np.zeros((3, 6, 5), np.uint8), r"rows: '3 × 6 × 5' is no \[N, 6, 6\]"),
        (np.zeros((6, 6), np.uint8), r"rows: '6 × 6' is no \[N, 6, 6\]"),
        (np.zeros((3, 6, 6)), "rows: 'float64' differs in scale from the run's rows; the run's are .* of uint8"),
        (np.full((3, 6, 6), "a"), "rows: '<U1' is no type of numbers"),
        (np.zeros((0, 6, 6), np.uint8), "rows: 0 rows are none; give some"),
        ("absent.npz", "rows: 'absent.npz' is no file"),
        ("absent.npy", "rows: 'absent.npy' is no readable .npy file"),
    ],
)
def test_rows_that_differ_from_training_rows_are_one_line(bytes_run, rows, line):
    with pytest.raises(ConfigError, match=line) as fault:
        bytes_run[1].model().predict(rows)
    assert "\n" not in str(fault.value)


LAYERS = """
import flax.linen as nn


class Own(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.{}(nn.Dense({})(inputs.reshape(len(inputs), -1)))


def own():
    return [Own()]
"""


def test_layers_of_ones_own_are_those_that_the_run_trained(tmp_path):
    source = sources.arrays(tmp_path, SHAPES["columns"](np.random.default_rng(0)))
    file = tmp_path / "own.py"
    file.write_text(LAYERS.format("relu", 6))
    run = run_of(tmp_path, source, encoder__layers=(f"{file}:own",), finetune__encoder_init="he")
    assert len(run.model().predict(source.test)) == sources.N_TEST
    for text, line in [
        (LAYERS.format("tanh", 6), "layers of your own are not as they were"),
        (LAYERS.format("relu", 7), "cannot give the network"),
    ]:
        file.write_text(text)
        with pytest.raises(ConfigError, match=line):
            run.model()


def test_wrong_names_are_one_line(bytes_run):
    _, run = bytes_run
    for arguments, line in [
        ({"arm": "pretraned"}, "arm: 'pretraned' is none of the run's arms"),
        ({"arm": {"finetune.encoder_init": "pca"}}, "is none of the run's arms"),
        ({"seed": 7}, "seed: 7 is none of .*, which has 0, 1"),
        ({"store": "/nowhere"}, "cannot give the network"),
    ]:
        with pytest.raises(ConfigError, match=line):
            run.model(**arguments)


def test_files_frames_and_arrays_give_the_same(tmp_path, bytes_run):
    source, run = bytes_run
    model = run.model()
    wanted = model.predict_proba(source.test)
    np.save(tmp_path / "rows.npy", source.test)
    np.savez(tmp_path / "rows.npz", x=source.test)
    for brought in (
        str(tmp_path / "rows.npy"),
        tmp_path / "rows.npz",
        source.test.tolist(),
        jax.numpy.asarray(source.test),
    ):
        if not isinstance(brought, list):  # whose numbers are no bytes
            np.testing.assert_array_equal(model.predict_proba(brought), wanted)


def test_rows_of_a_table_are_read_as_its_training_rows(tmp_path):
    source = sources.table(tmp_path, "regression")
    run = run_of(tmp_path, source, finetune__encoder_init="he")
    model = run.model()
    table = rows_of(source, model)
    wanted = model.predict(table)
    assert wanted.dtype == np.float64 and 10 < wanted.mean() < 70
    np.testing.assert_array_equal(model.predict(table.select(table.column_names[::-1])), wanted)
    np.testing.assert_array_equal(model.predict(table.to_pandas()), wanted)
    np.testing.assert_array_equal(model.predict(table.drop_columns(["id", "target"]).to_pydict()), wanted)
    one = [model.predict(table.slice(row, 1))[0] for row in range(5)]
    np.testing.assert_array_equal(one, wanted[:5])
    elsewhere = table.set_column(4, "town", pa.array(["elsewhere"] * len(table)))
    with pytest.warns(UserWarning, match="column 'town' has a category that training rows have not, in 36 rows"):
        model.predict(elsewhere)
    worse = table.drop_columns(["mass", "sex"]).set_column(0, "length", pa.array(["long"] * len(table)))
    with pytest.raises(ConfigError) as fault:
        model.predict(worse)
    assert str(fault.value).splitlines() == [
        "rows: 'mass, sex' (2 columns) are not in the rows; the network reads 6 columns",
        "rows: 'length' has the text 'long', where the run read numbers; leave missing ones empty",
    ]

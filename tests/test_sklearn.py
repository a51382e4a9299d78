"""Estimators of scikit-learn: its own checks, pipelines and searches; pickles, rows without targets, faults."""

import dataclasses
import os
import pickle

import jax
import joblib
import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import ConfigError
from pretrain.data import leaks
from pretrain.plan import plan as planning
from pretrain.sklearn import PretrainedClassifier, PretrainedEncoder, PretrainedRegressor, common
from tests.small_sweep import run_all

SHORT = {"layers": (8,), "pretrain_updates": 50, "random_state": 0}
SMALL = {**SHORT, "updates": 300}
ROWS, SPECIES = load_iris(return_X_y=True, as_frame=True)


@pytest.fixture(scope="module")
def classifier():
    return PretrainedClassifier(**SMALL).fit(ROWS, SPECIES)


@pytest.fixture(scope="module")
def encoder():
    return PretrainedEncoder(**SHORT).fit(ROWS)


# No check is expected to fail.
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
@parametrize_with_checks([PretrainedEncoder(**SHORT), PretrainedClassifier(**SMALL), PretrainedRegressor(**SMALL)])
def test_scikit_learn_checks_estimators(estimator, check):
    check(estimator)


def test_a_classifier_learns_and_leaves_the_process_as_it_was(classifier, capfd):
    before = dict(jax.config.values)
    again = PretrainedClassifier(**SMALL).fit(ROWS, SPECIES)
    assert dict(jax.config.values) == before
    assert capfd.readouterr() == ("", "")
    assert again.score(ROWS, SPECIES) > 0.9
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.feature_names_in_.tolist() == ROWS.columns.tolist()
    np.testing.assert_array_equal(again.predict_proba(ROWS), classifier.predict_proba(ROWS))  # and fits alike
    np.testing.assert_allclose(again.predict_proba(ROWS).sum(axis=1), 1, rtol=1e-6)


def test_a_fit_seeks_no_findings_that_nobody_reads(encoder, monkeypatch):
    for name in ("examined", "find"):
        monkeypatch.setattr(leaks, name, pytest.fail)
    again = PretrainedEncoder(**SHORT).fit(ROWS)
    np.testing.assert_array_equal(again.transform(ROWS), encoder.transform(ROWS))


def test_other_seeds_are_other_networks(classifier):
    drawn = [clone(classifier).set_params(random_state=np.random.RandomState(7)).fit(ROWS, SPECIES) for _ in range(2)]
    first, second = (each.predict_proba(ROWS) for each in drawn)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - classifier.predict_proba(ROWS)).max() > 1e-3


def test_a_pickle_holds_arrays_and_predicts_to_the_bit(classifier, encoder):
    for estimator, method in ((classifier, "predict_proba"), (encoder, "transform")):
        content = pickle.dumps(estimator)
        assert not [word for word in (b"flax", b"jax", os.getcwd().encode()) if word in content]
        restored = pickle.loads(content)
        assert getattr(restored, method)(ROWS).tobytes() == getattr(estimator, method)(ROWS).tobytes()
        assert restored.experiment_ == estimator.experiment_
        assert restored.get_params() == estimator.get_params()


def test_codes_are_frames_where_frames_are_asked_for(encoder):
    codes = encoder.transform(ROWS)
    assert (codes.shape, codes.dtype) == ((150, 8), np.float32)
    frame = clone(encoder).set_output(transform="pandas").fit(ROWS).transform(ROWS)
    assert isinstance(frame, pd.DataFrame)
    assert frame.columns.tolist() == encoder.get_feature_names_out().tolist()
    assert frame.columns[0] == "pretrainedencoder0"
    np.testing.assert_array_equal(frame.to_numpy(), codes)
    np.testing.assert_array_equal(frame.index, ROWS.index)


def test_a_pipeline_ends_in_or_goes_through_an_estimator():
    for steps in ((PretrainedEncoder(**SHORT), LogisticRegression()), (PretrainedClassifier(**SMALL),)):
        assert make_pipeline(StandardScaler(), *steps).fit(ROWS, SPECIES).score(ROWS, SPECIES) > 0.8


def test_integers_of_minus_one_are_rows_without_a_label():
    labels = np.where(np.arange(150) % 3, -1, SPECIES)
    partly = PretrainedClassifier(**SMALL).fit(ROWS, labels)
    assert partly.classes_.tolist() == [0, 1, 2]
    assert partly.score(ROWS, SPECIES) > 0.8
    offset, rows = partly.model_.inputs.scaling.offset, ROWS.to_numpy()
    np.testing.assert_allclose(offset, rows.mean(axis=0), atol=1e-12)  # of all rows, which pretrain
    assert np.abs(offset - rows[labels != -1].mean(axis=0)).max() > 1e-3


@pytest.mark.slow
def test_minus_one_beside_one_alone_and_texts_are_classes():
    signs = np.where(SPECIES == 0, -1, 1)
    made = PretrainedClassifier(**SMALL).fit(ROWS, signs)
    assert made.classes_.tolist() == [-1, 1]
    assert (made.predict(ROWS) == signs).mean() > 0.9
    names = np.array(["setosa", "versicolor", "virginica"], object)[SPECIES]
    made = clone(made).fit(ROWS, names)
    assert set(made.predict(ROWS)) <= set(names) and (made.predict(ROWS) == names).mean() > 0.8
    assert made.model_.classes == tuple(made.classes_)


def test_numbers_come_back_in_their_units_and_nan_is_none():
    rows, sugar = load_diabetes(return_X_y=True)
    targets = np.where(np.arange(len(rows)) % 2, sugar, np.nan)
    made = PretrainedRegressor(**SMALL).fit(rows, targets)
    assert made.score(rows[1::2], sugar[1::2]) > 0.3
    assert 100 < made.predict(rows).mean() < 200


@pytest.mark.slow
def test_columns_that_are_empty_or_partly_missing_are_read(classifier):
    rows = ROWS.to_numpy().copy()
    rows[:, 1], rows[::5, 2] = np.nan, np.nan
    made = clone(classifier).fit(rows, SPECIES)
    assert made.score(rows, SPECIES) > 0.8
    with pytest.raises(ValueError, match="X: has missing values, of which the rows of fit had none"):
        classifier.predict(pd.DataFrame(rows, columns=ROWS.columns))


@pytest.mark.slow
def test_pixels_are_images_for_convolutions(tiny_arrays):
    rows = tiny_arrays["train_images"].reshape(260, 36)
    made = PretrainedEncoder(("4c3s2", 5), pretrain_updates=5, input_shape=(6, 6), random_state=0).fit(rows)
    assert made.model_.inputs.raw.is_read_as_bytes
    assert made.transform(rows).shape == (260, 5)
    with pytest.raises(ValueError, match=r"input_shape: \(5, 6\) has 30 values, and X has 36 features"):
        clone(made).set_params(input_shape=(5, 6)).fit(rows)


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["ridge", "logistic", "linear", "knn", "trees"])
def test_read_outs_end_a_network_and_survive_a_pickle(readout):
    made = PretrainedClassifier(**SHORT, readout=readout, validation_fraction=0.2).fit(ROWS, SPECIES)
    restored = pickle.loads(pickle.dumps(made))
    assert made.score(ROWS, SPECIES) > 0.7
    np.testing.assert_array_equal(made.predict(ROWS), restored.predict(ROWS))
    assert hasattr(made, "predict_proba") == hasattr(restored, "predict_proba") == (readout != "ridge")


@pytest.mark.slow
def test_a_supervised_encoder_reads_the_targets_and_others_do_not(encoder):
    np.testing.assert_array_equal(clone(encoder).fit(ROWS, SPECIES).transform(ROWS), encoder.transform(ROWS))
    made = [clone(encoder).set_params(method="supervised").fit(ROWS, SPECIES.to_numpy()[order]) for order in ORDERS]
    assert np.abs(made[0].transform(ROWS) - made[1].transform(ROWS)).max() > 1e-3


ORDERS = (slice(None), slice(None, None, -1))
WRONG = [
    ({"method": "rain"}, "method: 'rain'"),
    ({"learning_rate": -1.0}, "learning_rate: -1.0"),
    ({"frozen_layers": 3}, "frozen_layers: 3"),
    ({"experiment": {"finetune.rate": 2}}, "finetune.rate: 2 is no field"),
    ({"experiment": 3}, "experiment: 3 is no pretrain.Experiment"),
    ({"experiment": Experiment(sweep=({"finetune.encoder_init": ("he", "pretrained")},))}, "sweep: .*give one point"),
    ({"random_state": -1}, "random_state: -1 is no seed"),
    ({"layers": ("4c3s1",)}, r"a row of the data is 4 columns; give numbers of units, or input_shape=\(2, 2\)$"),
    (
        {"layers": ("4c3s1",), "input_shape": (2, 2)},
        r"give numbers of units, or experiment=\{\"data.inputs\": \"images\"\}, or \"series\"$",
    ),
    ({"learning_rate": 1e30}, "training: 'finetune' diverged, to NaN or infinity; lower its learning rate"),
]


@pytest.mark.parametrize(("arguments", "line"), WRONG)
def test_a_fault_is_one_line_that_names_the_argument(arguments, line):
    with pytest.raises(ValueError, match=line):
        PretrainedClassifier(**{**SMALL, **arguments}).fit(ROWS, SPECIES)


def test_a_remedy_names_arguments_and_fields_in_the_place_of_options():
    remedies = {
        "map names by --finetune.weights-names a=b": "map names by finetune.weights_names a=b",
        "pretrain it by --pretrain.method.kind": "pretrain it by method",
    }
    for given, shown in remedies.items():
        with pytest.raises(ValueError, match=rf"^finetune.weights: 'w' lacks a; {shown}$"), common.value_errors():
            raise ConfigError("finetune.weights", "w", f"lacks a; {given}")
    assert common._axes(np.zeros((3, 256))) == "input_shape=(16, 16)"
    assert common._axes(np.zeros((3, 6))) == "the sides of a row by input_shape"


def test_validation_rows_are_held_out_where_they_choose_something():
    def choose(**arguments):
        return common._chooses(PretrainedClassifier(**arguments)._experiment("classification")[0])

    assert all(choose(readout=kind) for kind in ("ridge", "linear", "knn", "trees"))
    assert all(choose(experiment={f"{section}.stop": "validation"}) for section in ("finetune", "pretrain"))
    assert not choose() and not choose(readout="logistic")


def test_a_single_class_and_an_encoder_without_pretraining_are_refused():
    with pytest.raises(ValueError, match="y: has one class"):
        PretrainedClassifier(**SMALL).fit(ROWS, np.ones(150, int))
    with pytest.raises(ValueError, match="encoder_init: 'he' pretrains nothing"):
        PretrainedEncoder(**SHORT, experiment={"finetune.encoder_init": "he"}).fit(ROWS)


@pytest.mark.slow
def test_the_network_is_that_of_the_trial_of_its_seed(tmp_path, tiny_arrays):
    images, labels = tiny_arrays["train_images"], tiny_arrays["train_labels"]
    held_out = {"validation_images": images[200:], "validation_labels": labels[200:]}
    arrays = {**tiny_arrays, "train_images": images[:200], "train_labels": labels[:200], **held_out}
    np.savez(tmp_path / "tiny.npz", **arrays)
    experiment = Experiment(
        data=DataConfig(name=str(tmp_path / "tiny.npz")),
        pretrain=PretrainConfig(updates=7, batch_size=20),
        finetune=FinetuneConfig(updates=7, batch_size=20, labels=100),
        seeds=2,
    )
    settings = {"experiment": experiment, "layers": (12, 6), "input_shape": (6, 6), "random_state": 1}
    made = PretrainedClassifier(**settings).fit(images[:200].reshape(200, 36), labels[:200])
    dataset = data.load(experiment.data)
    whole = dataclasses.replace(experiment, encoder=EncoderConfig(layers=(12, 6)))
    plan = planning.plan(whole, {experiment.data: dataset}, lambda *_: "")
    (trial,) = (trial for trial in plan.trials if trial.seed == 1)
    params = run_all(plan, dataset)[trial.jobs[-1]][0]
    for side in ("encoder", "head"):
        jax.tree.map(np.testing.assert_array_equal, made.model_.members[0].params[side], params[side])


@pytest.mark.slow
def test_searches_and_workers_take_estimators():
    frame = ROWS.assign(colour=np.where(np.arange(150) % 2, "red", "blue"))
    columns = ColumnTransformer(
        [("codes", PretrainedEncoder(**SHORT), ROWS.columns.tolist()), ("colour", OneHotEncoder(), ["colour"])]
    )
    assert make_pipeline(columns, LogisticRegression()).fit(frame, SPECIES).score(frame, SPECIES) > 0.8
    assert columns.fit(frame).get_feature_names_out()[0] == "codes__pretrainedencoder0"
    grid = {"encoder_init": ["pretrained", "he"], "learning_rate": np.array([0.01, 0.03]), "frozen_layers": [0, "all"]}
    search = GridSearchCV(PretrainedClassifier(**SMALL), grid, cv=3, error_score="raise").fit(ROWS, SPECIES)
    assert search.best_score_ > 0.9
    scores = [cross_val_score(PretrainedClassifier(**SMALL), ROWS, SPECIES, cv=3, n_jobs=n) for n in (1, 2)]
    np.testing.assert_array_equal(*scores)
    with_threads = GridSearchCV(PretrainedClassifier(**SMALL), {"updates": [100, 200]}, cv=3, n_jobs=2)
    with joblib.parallel_backend("threading"):
        assert with_threads.fit(ROWS, SPECIES).best_score_ > 0.8

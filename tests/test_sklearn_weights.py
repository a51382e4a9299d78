"""Checkpoints in estimators: they start from the arrays of a file, as the trials of a run do."""

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file
from sklearn.base import clone

import pretrain
from pretrain.config import Experiment
from pretrain.config.overrides import override
from pretrain.sklearn import PretrainedClassifier, PretrainedEncoder, PretrainedRegressor

SHORT = {"pretrain_updates": 5, "updates": 20, "random_state": 0}
NAMES = {"finetune.weights_layout": "torch", "finetune.weights_names": ("layers_0=low", "layers_1=high")}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Arrays of two layers of 9 columns, 7 and 5 units, and the fields that name their file."""
    rng = np.random.default_rng(0)
    sizes = {"low.weight": (7, 9), "low.bias": (7,), "high.weight": (5, 7), "high.bias": (5,)}
    arrays = {name: rng.normal(size=size).astype(np.float32) / 2 for name, size in sizes.items()}
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_file(arrays, path)
    return arrays, {**NAMES, "finetune.weights": str(path), "encoder.activation": "relu"}


ROWS = np.random.default_rng(1).normal(size=(120, 9))
LABELS = (ROWS[:, 0] > 0).astype(int) + (ROWS[:, 1] > 1)


def codes_of(arrays):
    """The codes of rows that are standardised, as the formula has them."""
    codes = (ROWS - ROWS.mean(axis=0)) / ROWS.std(axis=0)
    for name in ("low", "high"):
        codes = np.maximum(codes @ arrays[f"{name}.weight"].T.astype(float) + arrays[f"{name}.bias"], 0)
    return codes


def test_codes_are_those_of_the_checkpoint(weights):
    arrays, fields = weights
    made = PretrainedEncoder((7, 5), experiment={**fields, "finetune.encoder_init": "weights"}).fit(ROWS)
    np.testing.assert_allclose(made.transform(ROWS), codes_of(arrays), atol=1e-5)


@pytest.mark.slow
def test_every_estimator_starts_from_a_checkpoint(weights):
    arrays, fields = weights
    given = {**SHORT, "layers": (7, 5), "encoder_init": "weights", "experiment": fields}
    for estimator, y in ((PretrainedClassifier(**given), LABELS), (PretrainedRegressor(**given), ROWS[:, 2])):
        made = clone(estimator).fit(ROWS, y)
        assert np.abs(made.model_.encode(ROWS) - codes_of(arrays)).max() > 1e-3  # as fine-tuning trains the layers
        frozen = clone(estimator).set_params(frozen_layers="all").fit(ROWS, y)
        np.testing.assert_allclose(frozen.model_.encode(ROWS), codes_of(arrays), atol=1e-5)


@pytest.mark.slow
def test_convolutions_and_pooling_start_from_a_checkpoint(tmp_path, tiny_arrays):
    rng = np.random.default_rng(0)
    sizes = {"a.weight": (4, 1, 3, 3), "a.bias": (4,), "b.weight": (5, 36), "b.bias": (5,)}
    save_file(
        {name: rng.normal(size=size).astype(np.float32) for name, size in sizes.items()}, tmp_path / "w.safetensors"
    )
    fields = {**NAMES, "finetune.weights": str(tmp_path / "w.safetensors")}
    fields["finetune.weights_names"] = ("layers_0=a", "layers_2=b")
    network = PretrainedClassifier(("4c3p1", "max2", 5), input_shape=(6, 6), experiment=fields, **SHORT)
    rows, labels = tiny_arrays["train_images"].reshape(260, 36), tiny_arrays["train_labels"]
    made = network.set_params(encoder_init="weights").fit(rows, labels)
    assert made.predict_proba(rows).shape == (260, len(set(labels)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "fields",
    [
        {"finetune.encoder_init": "weights"},
        {"finetune.encoder_init": "weights", "finetune.frozen_layers": "all"},
        {"pretrain.encoder_init": "weights"},
        {"pretrain.encoder_init": "weights", "pretrain.training": "end_to_end"},
    ],
)
def test_the_network_is_that_of_a_runs_trial(tmp_path, weights, fields):
    held_out = ROWS[:40] + 0.1
    np.savez(
        tmp_path / "rows.npz",
        x_train=ROWS,
        y_train=LABELS,
        x_validation=held_out,
        y_validation=LABELS[:40],
        x_test=held_out,
        y_test=LABELS[:40],
    )
    places = {
        "data.name": str(tmp_path / "rows.npz"),
        "run_dir": str(tmp_path / "run"),
        "store": str(tmp_path / "store"),
    }
    small = {"encoder.layers": (7, 5), "pretrain.updates": 5, "pretrain.batch_size": 20, "finetune.updates": 20}
    small |= {"finetune.batch_size": 20, "finetune.labels": 0, "seeds": 2}
    experiment = override(Experiment(), {**places, **small, **weights[1], **fields}).experiment
    wanted = pretrain.run(experiment).model(seed=1)
    made = PretrainedClassifier(experiment=experiment, random_state=1).fit(ROWS, LABELS)
    found = made.model_
    for side in ("encoder", "head"):
        jax.tree.map(np.testing.assert_array_equal, found.members[0].params[side], wanted.members[0].params[side])
    np.testing.assert_array_equal(made.predict(ROWS), wanted.predict(ROWS))

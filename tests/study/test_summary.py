"""Trials grouped by their fields, against a table worked out by hand."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config.fields import ConfigError
from pretrain.study import summary

ROWS = [
    # labels, layers, seed, status, test_accuracy, pretrain_test_mse
    (100, [12], 0, "ok", 0.5, 0.01),
    (100, [12], 1, "ok", 0.7, 0.03),
    (100, [12], 2, "diverged", None, 0.02),
    (500, [12], 0, "ok", 0.9, None),
    (500, [12, 6], 0, "diverged", None, None),
]
NAMES = ("finetune.labels", "encoder.layers", "seed", "status", "test_accuracy", "pretrain_test_mse")


@pytest.fixture
def trials():
    rows = [dict(zip(NAMES, row, strict=True)) for row in ROWS]
    return pa.Table.from_pylist(
        [{"trial_id": str(n), "seed": row["seed"], "repeat": 0, **row} for n, row in enumerate(rows)]
    )


def test_groups_have_mean_and_sample_deviation_over_the_trials_that_did_not_diverge(trials):
    first, second, third = summary.summarise(trials).to_pylist()
    assert (first["finetune.labels"], first["encoder.layers"], first["n"], first["n_diverged"]) == (100, [12], 2, 1)
    assert first["test_accuracy_mean"] == pytest.approx(0.6)
    assert first["test_accuracy_std"] == pytest.approx(0.1 * np.sqrt(2))
    assert first["pretrain_test_mse_mean"] == pytest.approx(0.02)
    assert (second["n"], second["test_accuracy_mean"], second["test_accuracy_std"]) == (1, 0.9, None)
    assert second["pretrain_test_mse_mean"] is None
    assert (third["n"], third["n_diverged"], third["test_accuracy_mean"]) == (0, 1, None)


@pytest.mark.parametrize(("by", "sizes"), [(["finetune.labels"], [2, 1]), (["seed"], [2, 1, 0]), ([], [3])])
def test_any_columns_group_in_the_order_of_the_table(by, sizes, trials):
    assert summary.summarise(trials, by)["n"].to_pylist() == sizes


def test_only_the_results_asked_for_are_summarised(trials):
    table = summary.summarise(trials, ["seed"], ["test_accuracy"])
    assert table.column_names == ["seed", "test_accuracy_mean", "test_accuracy_std", "n", "n_diverged"]


@pytest.mark.parametrize(
    ("by", "of", "field"),
    [(["finetune.lables"], [], "by: 'finetune.lables'.*'finetune.labels'"), ([], ["accuracy"], "metrics: 'accuracy'")],
)
def test_a_column_that_is_not_there_is_named_with_the_nearest(by, of, field, trials):
    with pytest.raises(ConfigError, match=field):
        summary.summarise(trials, by, of)


def test_swept_fields_and_results_lie_around_the_status(trials):
    assert summary.swept_fields(trials) == ["finetune.labels", "encoder.layers"]
    assert summary.metrics(trials) == ["test_accuracy", "pretrain_test_mse"]

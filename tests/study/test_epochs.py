"""When to stop pretraining: planted errors and gains, and which of the two would have chosen well."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import StudyConfig
from pretrain.report import gains, words
from pretrain.report.figures import epochs as drawn
from pretrain.study.answer import answer
from tests.study.test_statistics import curves_table

INIT, EPOCHS, LABELS = "finetune.encoder_init", "pretrain.epochs", "finetune.labels"
SWEPT, SEEDS = (1, 2, 4, 8), 8
# Reconstruction improves to the end, the network until two epochs.
ERRORS, ACCURACIES = (0.04, 0.03, 0.02, 0.01), (0.86, 0.9, 0.88, 0.85)


def table(epochs=SWEPT, errors=ERRORS, accuracies=ACCURACIES, inits=("pretrained", "he"), labels=(None,), seeds=SEEDS):
    """Trials of two encoders by epochs; He's are the same at each, and reconstruct nothing."""
    rng, rows = np.random.default_rng(0), []
    noise = rng.normal(0, 0.002, (2, len(inits), SEEDS))
    for init, budget in ((init, budget) for init in inits for budget in labels):
        for number, error, accuracy in zip(epochs, errors, accuracies, strict=True):
            for seed in range(seeds):
                is_he = init == "he"
                own = {
                    "trial_id": f"{init}{budget}-{number}-{seed}",
                    "seed": seed,
                    "repeat": 0,
                    INIT: init,
                    EPOCHS: number,
                }
                own |= {INIT: init, EPOCHS: number} | ({LABELS: budget} if budget else {})
                values = (0.84 if is_he else accuracy) + noise[:, inits.index(init), seed]
                own |= {"status": "ok", "test_accuracy": values[0], "validation_accuracy": values[1]}
                rows.append({**own, "pretrain_validation_mse": None if is_he else error})
    return pa.Table.from_pylist(rows)


def answered(trials, **study):
    curves = curves_table([(trials["trial_id"][0].as_py(), "finetune", 1, "loss", 1.0)])
    return answer(trials, curves, StudyConfig(**study))


def test_error_and_gain_stand_side_by_side_and_the_error_chooses_badly():
    found = answered(table())
    (one,) = found.epochs
    assert (one.field, one.setting, one.seeds) == (EPOCHS, {INIT: "pretrained"}, SEEDS)
    assert one.epochs.tolist() == list(SWEPT) and one.errors == pytest.approx(ERRORS)
    assert one.results == pytest.approx(ACCURACIES, abs=0.002)
    assert [gain.mean for gain in one.gains] == pytest.approx([value - 0.84 for value in ACCURACIES], abs=0.003)
    assert one.by_error.tolist() == [8] * SEEDS and one.by_validation.tolist() == [2] * SEEDS
    assert one.change.mean == pytest.approx(-0.05) and one.p_value < 0.01
    said = gains.epochs(one, found.level)
    assert "takes 8, by validation accuracy 2; the former is worse (-5.0 points" in said
    assert said in words.explanation(found)
    axes = drawn(found.epochs).axes
    np.testing.assert_allclose(axes[0].lines[0].get_ydata(), ERRORS)
    np.testing.assert_allclose(axes[1].lines[0].get_ydata(), [100 * gain.mean for gain in one.gains])


def test_where_both_choose_alike_nothing_is_certain():
    found = answered(table(accuracies=(0.85, 0.86, 0.87, 0.9)))
    assert found.epochs[0].change.mean == 0
    assert "which is better is not certain" in gains.epochs(found.epochs[0], found.level)


def test_of_epochs_that_are_equally_good_the_fewest_are_chosen():
    (one,) = answered(table(errors=(0.03, 0.01, 0.01, 0.01), accuracies=(0.8, 0.9, 0.9, 0.9))).epochs
    assert one.by_error.tolist() == one.by_validation.tolist() == [2] * SEEDS


def test_without_a_baseline_results_stand_in_the_place_of_gains():
    (one,) = answered(table(inits=("pretrained",))).epochs
    assert one.gains is None
    assert len(drawn([one]).axes) == 2


def test_each_setting_has_a_curve_and_two_numbers_of_epochs_have_none():
    found = answered(table(labels=(100, 500)))
    assert [one.setting[LABELS] for one in found.epochs] == [100, 500]
    assert answered(table(epochs=(1, 2), errors=ERRORS[:2], accuracies=ACCURACIES[:2])).epochs == []


def test_few_seeds_and_a_lower_metric():
    (few,) = answered(table(seeds=3)).epochs
    assert "which is better is not certain" in gains.epochs(few, 0.95)
    trials = table()
    for split in ("test", "validation"):
        losses = pa.array(1 - trials[f"{split}_accuracy"].to_numpy())
        trials = trials.append_column(f"{split}_loss", losses)
    found = answered(trials, metric="test_loss")
    assert found.epochs[0].by_validation.tolist() == [2] * SEEDS
    assert "the former is worse" in gains.epochs(found.epochs[0], found.level)


def test_tuned_epochs_are_shown_at_all_their_values():
    trials = table()
    trials = trials.append_column("tuning_score", trials["validation_accuracy"])
    found = answered(trials, tune=(EPOCHS,))
    assert all(EPOCHS not in arm.point for arm in found.arms)
    (one,) = found.epochs
    assert one.epochs.tolist() == list(SWEPT) and one.gains is None


@pytest.mark.parametrize("field", ["pretrain.epochs", "pretrain.updates"])
def test_methods_that_reconstruct_nothing_are_judged_by_their_loss(field):
    """Contrast, classification and machines have a loss on validation rows, which may choose as badly."""
    trials = table()
    trials = trials.set_column(
        trials.column_names.index("pretrain_validation_mse"),
        "pretrain_validation_mse",
        pa.nulls(len(trials), pa.float64()),
    )
    trials = trials.rename_columns([field if name == EPOCHS else name for name in trials.column_names])
    error, rows = dict(zip(SWEPT, ERRORS, strict=True)), []
    for row in trials.to_pylist():
        if row[INIT] == "pretrained":
            losses = ((1, "loss", 1.0), (2, "loss", 0.5), (1, "validation_loss", 0.9))
            losses += ((2, "validation_loss", error[row[field]]),)
            rows += [(row["trial_id"], "pretrain/0", step, metric, value) for step, metric, value in losses]
    found = answer(trials, curves_table(rows), StudyConfig())
    (one,) = found.epochs
    assert one.error == "validation loss" and one.errors == pytest.approx(ERRORS)
    assert one.by_error.tolist() == [8] * SEEDS and one.by_validation.tolist() == [2] * SEEDS
    assert "by validation loss takes 8, by validation accuracy 2" in gains.epochs(one, found.level)
    left, right = drawn(found.epochs).axes
    assert left.get_ylabel() == "validation loss" and right.get_xlabel() == f"{field.split('.')[1]} of pretraining"

"""Broken arms: diverged, collapsed, at chance, with constant codes or a useless reconstruction, and what is said."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.learn.results import variation
from pretrain.learn.tasks import Task
from pretrain.report import health as words
from pretrain.report.verdicts import tally, verdict
from pretrain.report.words import conclusion
from pretrain.runs import endings
from pretrain.store.records import Record
from pretrain.study.answer import answer
from pretrain.study.arms import arms
from pretrain.study.health import faults_of, unexplained

INIT = "finetune.encoder_init"
CURVES = pa.table(
    {
        "trial_id": pa.array([], pa.string()),
        "stage": pa.array([], pa.string()),
        "step": pa.array([], pa.int32()),
        "metric": pa.array([], pa.string()),
        "value": pa.array([], pa.float64()),
    }
)


def table(n=8, **columns):
    """Trials of two arms; a column is a value for all, or a pair of values or of lists [n] for the arms."""
    rows = []
    for number, init in enumerate(("pretrained", "he")):
        for seed in range(n):
            row = {"trial_id": f"{init}{seed}", "seed": seed, "repeat": 0, INIT: init, "failed_stage": None}
            row |= {"status": "ok", "test_accuracy": 0.8 + 0.001 * seed, "validation_accuracy": 0.8}
            row |= {"test_accuracy_chance": 0.5, "test_accuracy_chance_margin": 0.01, "constant_units": 0.0}
            row |= {"pretrain_test_mse": 0.01, "pretrain_test_variance": 0.1} if init == "pretrained" else {}
            for name, value in columns.items():
                own = value[number] if isinstance(value, tuple) else value
                row[name] = own[seed] if isinstance(own, list) else own
            if row["status"] == "diverged":
                row |= {"test_accuracy": None, "validation_accuracy": None}
            rows.append(row)
    return pa.Table.from_pylist(rows)


def found(trials):
    return faults_of(arms(trials))


def test_sound_arms_have_no_findings():
    assert found(table()) == []
    (share,) = set(unexplained(table()).round(6))
    assert share == 0.1


def test_diverged_trials_are_counted_with_their_stage_and_rate():
    status = (["diverged"] * 3 + ["ok"] * 5, "ok")
    stage = (["pretrain/0"] * 2 + ["finetune"] + [None] * 5, None)
    trials = table(status=status, failed_stage=stage)
    (one,) = found(trials)
    assert (one.kind, one.n, one.of, one.stage, one.is_whole) == ("diverged", 3, 8, "pretrain/0", False)
    (sentence,) = words.warnings([one], Experiment())
    assert "3 of 8 trials" in sentence and "in pretrain/0" in sentence
    assert "pretrain.optimizer.learning_rate" in sentence and "0.01" in sentence
    compared = answer(trials, CURVES)
    said = verdict(compared.comparisons)
    assert said.startswith("Unstable: 3 of 8 seeds fail with pretraining, 0 without (p = 0.250). ")
    assert "Over all seeds, diverged trials at chance, -11." in said and "in the 5 where both train, too few" in said


def test_an_arm_that_is_lost_is_the_first_sentence():
    lost = table(status=("diverged", "ok"), failed_stage=("finetune", None))
    concluded = conclusion(answer(lost, CURVES), Experiment())
    assert concluded.startswith("Every trial of ") and "pretrained" in concluded.split(".")[0]
    assert "in finetune, at learning rate 0.01; lower finetune.optimizer.learning_rate" in concluded


def test_collapsed_trials_stay_in_and_are_named():
    trials = table(status=(["collapsed"] * 2 + ["ok"] * 6, "ok"))
    (one,) = found(trials)
    assert (one.kind, one.n, one.of) == ("collapsed", 2, 8)
    (compared,) = answer(trials, CURVES).comparisons
    assert compared.n == 8 and compared.n_collapsed == 2
    assert compared.verdict == "unstable" and compared.failures.treated == 2
    assert verdict([compared]).startswith("Unstable: 2 of 8 seeds fail with pretraining, 0 without (p = 0.500). ")
    both = answer(table(status="collapsed"), CURVES)
    assert [one.both_at_chance for one in both.comparisons] == [True]
    assert conclusion(both, Experiment()).startswith("Every trial of ")


def test_arms_at_chance_are_named_and_not_judged():
    noise = np.random.default_rng(0).normal(size=8) * 1e-3
    low = ([float(value) for value in 0.505 + noise], [float(value) for value in 0.495 + noise])
    trials = table(test_accuracy=low)
    assert [one.kind for one in found(trials)] == ["at chance"] * 2
    (compared,) = answer(trials, CURVES).comparisons
    assert compared.both_at_chance and compared.verdict == "inconclusive"
    assert tally([compared]) == "1 is not judged, both arms at chance"
    assert "is not judged" in verdict([compared]) and "helps" not in verdict([compared])
    one_low = table(test_accuracy=(0.505, [0.7 + 0.001 * seed for seed in range(8)]))
    assert answer(one_low, CURVES).comparisons[0].verdict == "hurts"


@pytest.mark.parametrize(
    ("columns", "kind", "said"),
    [
        ({"pretrain_test_mse": (0.0995, None)}, "reconstruction", "no better than the training inputs' mean"),
        (
            {"pretrain_test_pca_mse": (0.008, None)},
            "components",
            "10% of the inputs' variance, as many principal components 8%",
        ),
        ({"constant_units": (0.9, 0.1)}, "constant units", "90% of the codes"),
    ],
)
def test_useless_codes_are_named_with_what_to_try(columns, kind, said):
    (one,) = found(table(**columns))
    assert (one.kind, one.arm.point[INIT]) == (kind, "pretrained")
    # A verdict on pretraining that learned nothing begins with that.
    said_first, warned = words.failed([one], Experiment()), words.warnings([one], Experiment())
    (sentence,) = [said_first] if kind == "reconstruction" else warned
    assert bool(said_first) != bool(warned)
    assert said in sentence and ";" in sentence


def test_pretraining_is_held_against_the_mean_of_its_training_rows():
    """Where test rows lie elsewhere, their own mean is no prediction that anybody could make."""
    elsewhere = {"pretrain_test_mse": (0.15, None), "pretrain_test_variance": (0.1, None)}
    assert [one.kind for one in found(table(**elsewhere))] == ["reconstruction"]
    assert found(table(**elsewhere, pretrain_test_mean_mse=(0.3, None))) == []
    (one,) = found(table(**elsewhere, pretrain_test_mean_mse=(0.151, None)))
    assert one.kind == "reconstruction" and "99% of the mean's" in words.failed([one], Experiment())


def test_a_reconstruction_as_good_as_principal_components_is_sound():
    assert found(table(pretrain_test_pca_mse=(0.0099, None))) == []
    assert found(table(pretrain_test_mse=(1e-4, None), pretrain_test_pca_mse=(0.0, None))) == []


def status(kind, outputs, targets):
    """The status of a network by its outputs on held-out examples."""
    task = Task(kind, outputs.shape[1])
    varies = float(variation(task, jnp.asarray(outputs, jnp.float32), jnp.asarray(targets)))
    record = Record({}, True, {}, 0.0, "", varies if np.isfinite(varies) else None, None)
    return endings.status(record, SimpleNamespace(stack=SimpleNamespace(task=task)), {})


def test_predictions_that_are_all_alike_are_collapsed():
    truth, classes = np.array([0, 0, 1, 2]), np.eye(3)
    assert status("classification", classes[[0, 0, 0, 0]], truth) == "collapsed"
    assert status("classification", classes[[0, 0, 0, 1]], truth) == "ok"
    assert status("classification", classes[[0, 0, 0, 0]], np.zeros(4, int)) == "ok"  # all are right
    labels = np.array([[0, 1], [1, 1], [0, 0], [1, 0]], np.float32)
    assert status("multilabel", np.tile([-1, 2], (4, 1)), labels) == "collapsed"
    assert status("multilabel", labels - 0.5, labels) == "ok"
    numbers = np.array([[1.0], [5.0], [9.0], [3.0]], np.float32)
    assert status("regression", np.full((4, 1), 4.0), numbers) == "collapsed"
    assert status("regression", numbers * 0.5, numbers) == "ok"


def test_rates_of_grids_that_sweep_other_fields_and_of_tuned_arms_are_named():
    rate = "finetune.optimizer.learning_rate"
    trials = table(status=("diverged", "ok"), failed_stage=("finetune", None))
    (one,) = found(trials)
    unswept = one._replace(arm=one.arm._replace(point={**one.arm.point, rate: None}))
    swept = one._replace(arm=one.arm._replace(point={**one.arm.point, rate: 1e30}))
    assert "at learning rate 0.01 and 1e+30" in words.lost([unswept, swept], Experiment())
    grid = ({rate: (1e29, 1e30)},)
    tuned = Experiment(sweep=grid, study=StudyConfig(tune=(rate,)))
    assert "at every learning rate of the grid" in words.lost([one], tuned)


def test_arms_are_at_chance_by_the_metric_that_is_asked():
    scores = ([0.95 + 0.001 * seed for seed in range(8)], [0.90 + 0.001 * seed for seed in range(8)])
    trials = table(test_accuracy=0.505, test_auroc=scores, validation_auroc=scores)
    assert answer(trials, CURVES, StudyConfig(metric="accuracy")).comparisons[0].both_at_chance
    (compared,) = answer(trials, CURVES, StudyConfig(metric="auroc")).comparisons
    assert compared.verdict == "helps" and not compared.both_at_chance


def scores(metric, better, worse, chance, margin):
    """Columns of a metric, an arm at each value, with their level of chance."""
    values = ([better + 1e-4 * seed for seed in range(8)], [worse - 1e-4 * seed for seed in range(8)])
    return {
        **{f"test_{metric}": values, f"validation_{metric}": values},
        **{f"test_{metric}_chance": chance, f"test_{metric}_chance_margin": margin},
    }


@pytest.mark.parametrize(
    ("metric", "within", "beyond", "chance"),
    [
        ("balanced_accuracy", 0.39, 0.5, 0.333),
        ("auroc", 0.59, 0.7, 0.5),
        ("average_precision", 0.29, 0.4, 0.2),
        ("loss", 0.6, 0.5, 0.69),
        ("rmse", 91.0, 70.0, 91.05),
        ("r2", -3.0, 0.4, 0.0),
    ],
)
def test_each_metric_has_its_own_level_of_chance(metric, within, beyond, chance):
    study = StudyConfig(metric=metric)
    both = table(**scores(metric, within, within, chance, 0.1))
    assert [one.kind for one in faults_of(arms(both), f"test_{metric}")] == ["at chance"] * 2
    (compared,) = answer(both, CURVES, study).comparisons
    assert compared.both_at_chance and compared.verdict == "inconclusive"
    one = table(**scores(metric, beyond, within, chance, 0.1))
    assert [each.arm.point[INIT] for each in faults_of(arms(one), f"test_{metric}")] == ["he"]
    (compared,) = answer(one, CURVES, study).comparisons
    assert not compared.both_at_chance and compared.verdict == "helps"


def test_one_class_for_all_is_no_collapse_where_scores_are_ranked():
    ranked = table(status="collapsed", **scores("auroc", 0.9, 0.8, 0.5, 0.1))
    asked = answer(ranked, CURVES, StudyConfig(metric="auroc"))
    assert [one.verdict for one in asked.comparisons] == ["helps"] and not asked.faults
    assert "collapsed" not in conclusion(asked, Experiment())
    assert "collapsed" in conclusion(answer(ranked, CURVES, StudyConfig(metric="accuracy")), Experiment())
    numbers = table(status="collapsed", validation_r2=0.0, **scores("rmse", 9.0, 9.0, 9.0, 0.1))
    assert "collapsed" in conclusion(answer(numbers, CURVES, StudyConfig(metric="rmse")), Experiment())


READOUT = "finetune.readout"


def beside(raw, networks=(0.8, 0.81), by=None, n=6, metric="test_accuracy"):
    """Two networks beside raw inputs with some read-outs, whose results are given, and on validation rows, too."""
    rows = []
    arms_of = [(init, None, value, value) for init, value in zip(("pretrained", "he"), networks, strict=True)]
    arms_of += [("none", readout, value, (by or raw)[readout]) for readout, value in raw.items()]
    for init, readout, value, chosen in arms_of:
        for seed in range(n):
            row = {"trial_id": f"{init}{readout}{seed}", "seed": seed, "repeat": 0, INIT: init, READOUT: readout}
            row |= {"failed_stage": None, "status": "ok", metric: value + 0.001 * (seed - (n - 1) / 2)}
            rows.append({**row, metric.replace("test", "validation"): chosen})
    return pa.Table.from_pylist(rows)


BASELINES = StudyConfig(baselines=True)


def below(trials, study=BASELINES, metric="test_accuracy"):
    faults = faults_of(arms(trials), metric, study=study)
    return [each for each in faults if each.kind == "below raw inputs"]


def test_networks_below_raw_inputs_are_named_beside_the_best_by_validation_rows():
    trials = beside({"linear": 0.7, "knn": 0.95, "trees": 0.9}, by={"linear": 0.7, "knn": 0.8, "trees": 0.85})
    first, second = faults = below(trials)
    assert (first.arm.point[INIT], second.arm.point[INIT]) == ("pretrained", "he")
    assert first.stage == second.stage == "trees" and (first.n, first.of) == (6, 6)
    np.testing.assert_allclose([first.value, first.baseline, second.value], [0.8, 0.9, 0.81])
    (line,) = words.warnings(faults, Experiment())
    assert line.startswith("An encoder is below raw inputs: boosted trees come to 0.900 on the same rows, ")
    assert "to 0.800 and 0.810; " in line
    assert below(trials, StudyConfig()) == []


def test_networks_that_are_not_below_by_what_matters_are_not_named():
    assert [each.arm.point[INIT] for each in below(beside({"trees": 0.807}))] == ["pretrained"]
    assert below(beside({"trees": 0.804}, (0.8, 0.8))) == []
    losses = beside({"trees": 0.5}, (0.4, 0.6), metric="test_loss")
    assert [each.arm.point[INIT] for each in below(losses, metric="test_loss")] == ["he"]


def test_baselines_are_compared_with_nothing_and_change_no_p_value():
    trials = beside({"linear": 0.7, "knn": 0.95, "trees": 0.9})
    alone = trials.filter(pc.is_null(trials[READOUT]))
    with_raw, without = (answer(each, CURVES, BASELINES) for each in (trials, alone))
    assert len(with_raw.comparisons) == len(without.comparisons) == 1
    assert with_raw.comparisons[0].p_value == without.comparisons[0].p_value
    assert with_raw.comparisons[0].difference == without.comparisons[0].difference
    assert len(with_raw.arms) == 5
    # Read-outs of networks that are swept beside them are compared among themselves.
    rows = [{**row, READOUT: row[READOUT] or "linear"} for row in trials.to_pylist()]
    (one,) = answer(pa.Table.from_pylist(rows), CURVES, BASELINES).comparisons
    assert (one.treatment, one.baseline) == ("pretrained", "he")


def test_each_budget_has_raw_inputs_of_its_own():
    rows = []
    for n, raw in ((100, {"trees": 0.9}), (10, {"trees": 0.85})):
        for row in beside(raw).to_pylist():
            swept = {name: row[name] for name in ("seed", "repeat")} | {"finetune.labels": n}
            rows.append({"trial_id": f"{row.pop('trial_id')}/{n}", **swept, **row})
    lines = words.warnings(below(pa.Table.from_pylist(rows)), Experiment())
    assert len(lines) == 2
    assert ["0.900" in lines[0], "0.850" in lines[1]] == [True, True]

"""Rankings of settings by the pretext error, and of pretrainings by probes, against those by fine-tuning."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

from pretrain.config import StudyConfig
from pretrain.report import rankings as words
from pretrain.report.record import _plain
from pretrain.study.arms import Arm
from pretrain.study.epochs import ERROR
from pretrain.study.rankings import pretext_choices, reversals

RNG = np.random.default_rng(0)
INIT, FROZEN, READOUT = "finetune.encoder_init", "finetune.frozen_layers", "finetune.readout"
RATE, KIND = "pretrain.optimizer.learning_rate", "pretrain.method.kind"
SEEDS = tuple(range(8))
NOISE = 0.002 * RNG.normal(size=(9, 8))


def arm(number, accuracy, error=np.nan, **point):
    """An arm of eight seeds about an accuracy and a pretext error."""
    accuracies = accuracy + NOISE[number]
    results = {"test_accuracy": accuracies, "validation_accuracy": accuracies + NOISE[-1]}
    results[ERROR] = np.full(8, error) * (1 + NOISE[number])
    point = {INIT: "pretrained", **{name.replace("__", "."): value for name, value in point.items()}}
    return Arm(point, SEEDS, tuple(f"{number}/{seed}" for seed in SEEDS), results=results)


def settings(accuracies, errors, field=RATE, values=(0.001, 0.01, 0.1, 1.0), **point):
    each = enumerate(zip(accuracies, errors, values, strict=True))
    return [arm(number, accuracy, error, **{field: value}, **point) for number, (accuracy, error, value) in each]


def said(choices=(), reversed_=()):
    return words.warnings(SimpleNamespace(choices=tuple(choices), reversals=tuple(reversed_), level=0.95))


def test_an_error_that_falls_where_results_fall_is_named_and_one_that_falls_as_they_rise_is_not():
    accuracies = (0.95, 0.9, 0.85, 0.8)
    (good,) = pretext_choices(settings(accuracies, (0.1, 0.2, 0.3, 0.4)), {}, "test_accuracy", 0.95, StudyConfig())
    assert good.correlation.mean == pytest.approx(1) and not good.is_worse(0.95) and said([good]) == []
    (bad,) = pretext_choices(settings(accuracies, (0.4, 0.3, 0.2, 0.1)), {}, "test_accuracy", 0.95, StudyConfig())
    assert bad.correlation.mean == pytest.approx(-1) and bad.is_worse(0.95)
    assert bad.change.mean == pytest.approx(np.mean(NOISE[3] - NOISE[0]) - 0.15)
    (sentence,) = said([bad])
    assert "does not choose well among 4 settings of learning_rate of (pretrained)" in sentence
    assert "validation rows is -1.00 [" in sentence and "-15.1 points" in sentence
    assert json.loads(json.dumps(_plain(bad)))["settings"] == 4


def test_settings_that_do_not_matter_are_not_named_whatever_the_correlation():
    (even,) = pretext_choices(settings((0.9,) * 4, (0.4, 0.3, 0.2, 0.1)), {}, "test_accuracy", 0.95, StudyConfig())
    assert abs(even.correlation.mean) < 1 and not even.is_worse(0.95)


def test_the_correlation_is_spearmans_mean_over_seeds_by_the_metrics_direction():
    run = settings((0.95, 0.9, 0.8, 0.85), (0.1, 0.3, 0.2, 0.4))
    (found,) = pretext_choices(run, {}, "test_accuracy", 0.95, StudyConfig())
    by_hand = [
        stats.spearmanr(
            [-each.results[ERROR][seed] for each in run], [each.results["validation_accuracy"][seed] for each in run]
        )[0]
        for seed in SEEDS
    ]
    assert found.correlation.mean == pytest.approx(np.mean(by_hand))
    losses = [
        each._replace(
            results={
                **each.results,
                "test_loss": each.results["test_accuracy"],
                "validation_loss": each.results["validation_accuracy"],
            }
        )
        for each in run
    ]
    (turned,) = pretext_choices(losses, {}, "test_loss", 0.95, StudyConfig())
    assert turned.correlation.mean == pytest.approx(-np.mean(by_hand))


def test_only_settings_of_one_pretext_task_are_ranked():
    accuracies, errors = (0.95, 0.9, 0.85), (0.3, 0.2, 0.1)
    kinds = settings(accuracies, errors, KIND, ("autoencoder", "contrastive", "variance"))
    assert pretext_choices(kinds, {}, "test_accuracy", 0.95, StudyConfig()) == []  # losses of methods do not compare
    epochs = settings(accuracies, errors, "pretrain.epochs", (1, 2, 4))
    assert pretext_choices(epochs, {}, "test_accuracy", 0.95, StudyConfig()) == []  # another sentence is on these
    assert (
        pretext_choices(settings(accuracies, errors, values=(1, 2, 3))[:2], {}, "test_accuracy", 0.95, StudyConfig())
        == []
    )
    unknown = [
        each._replace(results={**each.results, ERROR: np.full(8, np.nan)})
        for each in settings(accuracies, errors, values=(1, 2, 3))
    ]
    assert pretext_choices(unknown, {}, "test_accuracy", 0.95, StudyConfig()) == []
    losses = {trial: error for each, error in zip(unknown, errors, strict=True) for trial in each.trial_ids}
    (found,) = pretext_choices(unknown, losses, "test_accuracy", 0.95, StudyConfig())
    assert found.error == "validation loss" and found.is_worse(0.95)


def ranked(probed, tuned, probe={FROZEN: 2}, whole={FROZEN: 0}, metric="test_accuracy"):  # noqa: B006  # never changed
    kinds = ("autoencoder", "contrastive", "variance")
    run = [arm(n, probed[n], **{KIND: kinds[n]}, **probe) for n in range(len(probed))]
    run += [arm(n + 3, tuned[n], **{KIND: kinds[n]}, **whole) for n in range(len(tuned))]
    run += [arm(6, 0.5, **{INIT: "he"}, **probe), arm(7, 0.99, **{INIT: "he"}, **whole)]
    run = [each._replace(results={**each.results, "test_loss": each.results["test_accuracy"]}) for each in run]
    return reversals(run, metric, 0.95)


@pytest.mark.parametrize(("probe", "whole"), [({FROZEN: 2}, {FROZEN: 0}), ({READOUT: "ridge"}, {READOUT: None})])
def test_pretrainings_that_a_probe_ranks_the_other_way_round_are_named(probe, whole):
    (found,) = ranked((0.8, 0.9), (0.95, 0.92), probe, whole)
    assert (found.first[KIND], found.second[KIND], found.pairs) == ("contrastive", "autoencoder", 1)
    assert found.probed.mean == pytest.approx(0.1, abs=0.003) and found.tuned.mean == pytest.approx(-0.03, abs=0.003)
    (sentence,) = said([], [found])
    by = "fine-tuning with 2 layers frozen" if FROZEN in probe else "the read-out ridge"
    assert f"differently: by {by}, " in sentence and "+9" in sentence and "and fine-tuned as a whole by -" in sentence
    (turned,) = ranked((0.8, 0.9), (0.95, 0.92), probe, whole, "test_loss")
    assert turned.first[KIND] == "autoencoder" and turned.probed.mean < 0


def test_the_same_ranking_an_uncertain_one_and_arms_from_scratch_are_not_named():
    assert ranked((0.8, 0.9), (0.92, 0.95)) == [] and said() == []
    assert ranked((0.8, 0.9), (0.9201, 0.92)) == []
    assert ranked((0.8,), (0.95,)) == []


def test_of_several_pairs_the_clearest_comes_first():
    first, second = ranked((0.7, 0.8, 0.9), (0.95, 0.9, 0.91))
    assert first.pairs == 3 and {first.second[KIND], second.second[KIND]} == {"autoencoder"}
    assert "(the clearest of 2 of 3 pairs)" in said([], [first, second])[0]

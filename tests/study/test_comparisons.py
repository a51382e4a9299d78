"""Which arms are compared, and how their trials are paired."""

import itertools

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import StudyConfig
from pretrain.report.names import arm_name, treatment
from pretrain.study.arms import arms
from pretrain.study.comparisons import compare, planned
from pretrain.study.power import fewest_seeds
from pretrain.study.statistics import sign_flip
from tests.study.test_statistics import trials_table

INIT, FROZEN, LABELS = "finetune.encoder_init", "finetune.frozen_layers", "finetune.labels"


def table(accuracies, lost=(), names=(INIT, LABELS)):
    """A table of trials from accuracies [seeds] by encoder and labels, or other fields."""
    rows = []
    for values, measured in accuracies.items():
        for seed, accuracy in enumerate(measured):
            status = "diverged" if (*values, seed) in lost else "ok"
            point = dict(zip(names, values, strict=True))
            rows.append((f"{values}-{seed}", seed, point, status, accuracy))
    return trials_table(rows)


@pytest.fixture
def accuracies():
    rng = np.random.default_rng(0)
    return {key: rng.random(8) for key in itertools.product(("he", "pretrained"), (100, 500))}


def all_compared(trials, **study):
    return compare(arms(trials), "test_accuracy", StudyConfig(**study))


def test_pretrained_is_compared_with_he_at_every_setting_seed_by_seed(accuracies):
    found = all_compared(table(accuracies))
    assert [(one.treatment, one.baseline, one.shared) for one in found] == [
        ("pretrained", "he", {LABELS: 100}),
        ("pretrained", "he", {LABELS: 500}),
    ]
    for one, labels in zip(found, (100, 500), strict=True):
        np.testing.assert_array_equal(one.treated, accuracies["pretrained", labels])
        np.testing.assert_array_equal(one.untreated, accuracies["he", labels])
        assert one.difference.mean == pytest.approx(np.mean(one.treated - one.untreated))
    expected = [min(1.0, 2 * sign_flip(one.treated - one.untreated)) for one in found]
    assert [one.p_value for one in found] == expected
    assert [one.seeds for one in found] == [tuple(range(8))] * 2


def test_without_he_an_encoder_is_compared_with_none(accuracies):
    renamed = {"he": "pretrained", "pretrained": "none"}
    found = all_compared(table({(renamed[init], labels): values for (init, labels), values in accuracies.items()}))
    assert {(one.treatment, one.baseline) for one in found} == {("pretrained", "none")}
    assert treatment(INIT, "pretrained", "none") == "a pretrained encoder"


def test_no_encoder_is_compared_at_every_number_of_frozen_layers(accuracies):
    """It has none to freeze, so that a run has it once."""
    values = accuracies["he", 100]
    arms_of = {("none", 0): values, ("he", 0): values + 0.1, ("he", 2): values - 0.1, ("pretrained", 2): values + 0.2}
    points = [{INIT: init, FROZEN: frozen} for init, frozen in arms_of]
    found = all_compared(table(arms_of, names=(INIT, FROZEN)))
    sides = {(one.treatment, one.baseline, one.shared[FROZEN]): round(one.difference.mean, 6) for one in found}
    assert sides == {("none", "he", 0): -0.1, ("none", "he", 2): 0.1, ("pretrained", "he", 2): 0.3}
    without_he = {key: values for key, values in arms_of.items() if key[0] != "he"}
    (one,) = all_compared(table(without_he, names=(INIT, FROZEN)))
    assert (one.treatment, one.baseline, one.shared) == ("pretrained", "none", {FROZEN: 2})
    # As asked for, before it is known that the two trials without an encoder are one.
    asked = [*points, {INIT: "none", FROZEN: 2}]
    assert len(planned(asked, StudyConfig())) == len(planned(points, StudyConfig())) == len(sides)
    assert arm_name(points[0]) == "no encoder"


def test_no_encoder_is_compared_once_where_grids_sweep_different_fields(accuracies):
    """One grid sweeps frozen layers, the other leaves them as they are; both have an arm without an encoder."""
    values = accuracies["he", 100]
    inits = ("none", "pretrained")
    arms_of = {(init, frozen): values + 0.1 * (init != "none") for frozen in (None, 0, 2) for init in inits}
    del arms_of["none", 2]
    found = all_compared(table(arms_of, names=(INIT, FROZEN)))
    assert [(one.treatment, one.baseline) for one in found] == [("pretrained", "none")] * 3
    assert {one.shared[FROZEN] for one in found} == {None, 0, 2}
    points = [{INIT: init, FROZEN: frozen} for init, frozen in arms_of]
    assert len(planned(points, StudyConfig())) == 3


def test_a_seed_that_diverged_in_one_arm_is_left_out_of_both(accuracies):
    one, other = all_compared(table(accuracies, lost={("he", 100, 3)}))
    assert (one.n, other.n) == (7, 8)
    np.testing.assert_array_equal(one.treated, np.delete(accuracies["pretrained", 100], 3))


def test_other_fields_are_compared_with_their_first_value(accuracies):
    found = all_compared(table(accuracies), compare=LABELS)
    assert [(one.treatment, one.baseline, one.shared) for one in found] == [
        (500, 100, {INIT: "he"}),
        (500, 100, {INIT: "pretrained"}),
    ]


def test_where_the_field_is_not_swept_the_first_swept_one_is_compared(accuracies):
    only = {key: values for key, values in accuracies.items() if key[0] == "he"}
    (one,) = all_compared(table(only))
    assert (one.field, one.treatment, one.baseline) == (LABELS, 500, 100)


def test_a_run_of_one_arm_compares_nothing(accuracies):
    assert all_compared(table({("he", 100): accuracies["he", 100]})) == []


def test_repeats_of_a_seed_count_as_one_by_their_mean():
    rng = np.random.default_rng(0)
    values = {init: rng.random((6, 3)) for init in ("he", "pretrained")}
    rows = [
        {"trial_id": f"{init}{seed}{repeat}", "seed": seed, "repeat": repeat, INIT: init, "status": "ok"}
        | {"test_accuracy": values[init][seed, repeat]}
        for init, seed, repeat in itertools.product(values, range(6), range(3))
    ]
    (one,) = all_compared(pa.Table.from_pylist(rows))
    assert one.n == 6
    np.testing.assert_allclose(one.treated - one.untreated, (values["pretrained"] - values["he"]).mean(axis=1))


def test_seeds_are_promised_for_as_many_comparisons_as_are_open():
    # Seven seeds give p = 1/64: too much for the first of 40 comparisons, of which all are alike.
    rng, n = np.random.default_rng(0), 7
    he = {("he", labels): rng.normal(0.5, 0.001, n) for labels in range(100, 140)}
    trained = {("pretrained", labels): values + 0.3 for (_, labels), values in he.items()}
    found = all_compared(table(he | trained))
    fewest = fewest_seeds(0.05, 40)
    assert {(one.verdict, one.seeds_to_settle) for one in found} == {("inconclusive", (fewest, fewest))}
    one, *_ = all_compared(table({key: value for key, value in (he | trained).items() if key[1] == 100}))
    assert one.verdict == "helps"

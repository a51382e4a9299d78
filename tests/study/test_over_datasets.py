"""Treatments on several datasets, as an answer has them."""

import numpy as np
import pytest

from pretrain.config import StudyConfig
from pretrain.config.metrics import declared, metric_of
from pretrain.study import datasets
from pretrain.study.answer import answer
from pretrain.study.over_datasets import groups
from pretrain.study.rows import components, for_new_rows
from tests.report.test_terminal import INIT, tables


def answer_of(points, diverged=(), n=8):
    """An answer of arms at points, of which pretrained ones end .05 higher."""
    rng = np.random.default_rng(0)
    arms = [
        (point, np.full(n, 0.5), 0.7 + 0.05 * (point[INIT] != "he") + 0.01 * rng.standard_normal(n)) for point in points
    ]
    return answer(*tables(arms, diverged), StudyConfig())


def crossed(**fields):
    """All points of a grid, encoders last."""
    points = [{}]
    for name, values in {**fields, INIT: ("pretrained", "he")}.items():
        points = [{**point, name.replace("__", "."): value} for point in points for value in values]
    return points


def test_effects_are_those_of_the_comparisons():
    answered = answer_of(crossed(data__name=("a", "b", "c")))
    (group,) = groups(answered)
    gains = [each.treated - each.untreated for each in answered.comparisons]
    assert [each.name for each in group.effects] == ["a", "b", "c"] and group.setting == {}
    assert [each.mean for each in group.effects] == pytest.approx([gain.mean() for gain in gains])
    assert group.fixed == datasets.fixed([datasets.of_pairs("", gain) for gain in gains])
    assert [each.difference for each in group.effects] == [each.shown for each in answered.comparisons]
    assert [each.verdict for each in group.effects] == [each.verdict for each in answered.comparisons]


def test_other_fields_are_settings_unless_datasets_decide_them():
    answered = answer_of(crossed(data__name=("a", "b"), finetune__labels=(100, 200)))
    assert [each.setting for each in groups(answered)] == [{"finetune.labels": 100}, {"finetune.labels": 200}]
    sized = [
        {**point, "finetune.labels": {"a": 100, "b": 200}[point["data.name"]]} for point in crossed(data__name="ab")
    ]
    (group,) = groups(answer_of(sized))
    assert group.setting == {} and len(group.effects) == 2


def test_directories_and_targets_name_datasets_too():
    for name in ("data.dir", "data.target"):
        (group,) = groups(
            answer_of([{name: point.pop("data.name"), **point} for point in crossed(data__name=("x/a", "b"))])
        )
        assert [each.name for each in group.effects] == ["x/a", "b"]


def test_one_dataset_and_compared_datasets_are_no_groups():
    assert not groups(answer_of(crossed())) and not groups(answer_of(crossed(data__name=("a",))))
    assert not groups(answer_of([{INIT: "he", "data.name": name} for name in "ab"]))


def test_a_dataset_on_which_all_seeds_of_an_arm_diverge_counts_against():
    points = crossed(data__name=("a", "b", "c"))
    answered = answer_of(points, diverged={(2, seed) for seed in range(8)})
    (group,) = groups(answered)
    assert group.failed == ["b"] and group.most.of == 3 and group.most.up == 2


def test_the_mean_is_for_new_rows_where_components_are_known():
    answered = answer_of(crossed(data__name=("a", "b")))
    rng = np.random.default_rng(1)
    compared = []
    for each in answered.comparisons:
        gains = each.treated - each.untreated
        compared.append(each._replace(rows=components(gains[:, None] + rng.normal(0, 0.3, (1, 200)), None)))
    (group,) = groups(answered._replace(comparisons=compared))
    (alone,) = groups(answered)
    assert group.is_for_new_rows and not alone.is_for_new_rows
    errors = [for_new_rows(each.where_both_train, each.rows).error for each in compared]
    assert [each.variance for each in group.effects] == pytest.approx(np.square(errors))
    assert group.fixed.high - group.fixed.low > alone.fixed.high - alone.fixed.low


def test_errors_in_unlike_units_are_parts_of_the_baseline():
    answered = answer_of(crossed(data__name=("a", "b")))
    with declared("test_accuracy", metric_of("rmse")):
        (group,) = groups(answered)
    assert group.is_relative
    ratios = [np.mean(each.treated - each.untreated) / np.mean(each.untreated) for each in answered.comparisons]
    assert group.fixed.mean == pytest.approx(np.mean(ratios))
    assert [each.mean for each in group.effects] == pytest.approx(-np.array(ratios))

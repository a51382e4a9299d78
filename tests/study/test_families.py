"""Families: which comparisons are the question's own, and what they are adjusted for."""

import numpy as np
import pytest

from pretrain.config import Experiment, StudyConfig
from pretrain.config.fields import ConfigError
from pretrain.report import verdicts
from pretrain.study.answer import answer
from pretrain.study.families import adjusted, check_family, in_family
from pretrain.study.sequential import looks, unsettled
from pretrain.study.statistics import holm, sign_flip
from tests.report.test_terminal import INIT, tables

LABELS = "finetune.labels"
BUDGETS = (100, 200, 500, 1000, 2000, 5000, 10000)


def family(*conditions):
    return StudyConfig(family=conditions)


@pytest.fixture(scope="module")
def run():
    """Pretraining gains 2 points at 2,000 labels, which 8 of 8 seeds show, and nothing elsewhere."""
    rng, rows = np.random.default_rng(0), []
    for init in ("pretrained", "he"):
        for labels in BUDGETS:
            gain = 0.02 * (init == "pretrained") * (labels == 2000)
            rows.append(({INIT: init, LABELS: labels}, np.full(8, 0.5), 0.8 + gain + rng.normal(0, 0.003, 8)))
    return tables(rows)


@pytest.mark.parametrize(
    ("conditions", "point", "own"),
    [
        ((), {LABELS: 100}, True),
        (("finetune.labels=100",), {LABELS: 100}, True),
        (("finetune.labels=100",), {LABELS: 200}, False),
        (("finetune.labels=100", "finetune.labels=200"), {LABELS: 200}, True),
        (("finetune.labels=100", f"{INIT}=pca"), {LABELS: 100, INIT: "pretrained"}, False),
        (("finetune.l2=1e-3",), {"finetune.l2": 0.001}, True),
        (("encoder.layers=300x150",), {"encoder.layers": [300, 150]}, True),
        (("finetune.labels=100",), {"finetune.l2": 100}, False),
        (("finetune.labels=100",), {LABELS: None}, False),
    ],
)
def test_a_comparison_is_the_questions_own_where_each_field_has_a_named_value(conditions, point, own):
    assert in_family(point, family(*conditions)) == own


def test_each_family_is_adjusted_by_itself():
    p_values, own = [0.01, 0.02, 0.03, 0.04], [True, False, True, False]
    assert adjusted(p_values, own) == [0.02, 0.04, 0.03, 0.04]
    assert adjusted(p_values, [True] * 4) == holm(p_values)


def test_by_default_all_comparisons_are_the_questions_own(run):
    found = answer(*run).comparisons
    assert not any(one.is_exploratory for one in found)
    assert [one.p_value for one in found] == holm([sign_flip(one.treated - one.untreated) for one in found])


def test_a_question_of_its_own_needs_fewer_seeds(run):
    at = {one.shared[LABELS]: one for one in answer(*run).comparisons}
    assert at[2000].verdict == "inconclusive"  # for 7 * 2 / 2^8 is 5.5 %
    asked = {one.shared[LABELS]: one for one in answer(*run, family("finetune.labels=2000")).comparisons}
    assert asked[2000].verdict == "helps" and not asked[2000].is_exploratory
    others = [one for labels, one in asked.items() if labels != 2000]
    assert all(one.is_exploratory for one in others)
    assert [one.p_value for one in others] == holm([sign_flip(one.treated - one.untreated) for one in others])
    text = verdicts.verdict(list(asked.values()))
    assert text.startswith("Pretraining helps at 2,000 labels (") and text.count("labels (") == 1
    assert "Of 6 exploratory comparisons, adjusted apart, " in text


def test_seeds_are_added_for_the_questions_own_only(run):
    asked = answer(*run, family("finetune.labels=2000")).comparisons
    assert any(one.verdict == "inconclusive" for one in asked) and unsettled(asked) == []
    planned = looks(Experiment(seeds=8, study=StudyConfig(until_conclusive=True)))
    assert verdicts.progress(planned[0], planned, asked).endswith(": all comparisons are settled")
    at = next(one.shared[LABELS] for one in asked if one.verdict == "inconclusive")
    other = answer(*run, family(f"finetune.labels={at}")).comparisons
    assert [one.shared[LABELS] for one in unsettled(other)] == [at]
    assert f"1 of 1 comparisons inconclusive (pretraining at {at:,} labels)" in verdicts.progress(
        planned[0], planned, other
    )


def test_a_family_without_a_comparison_is_refused():
    points = [{LABELS: labels, INIT: "pretrained"} for labels in BUDGETS]
    check_family(points, family())
    check_family(points, family("finetune.labels=100"))
    with pytest.raises(ConfigError, match=r"'finetune.labels=300' names no comparison; compared are 100, 200"):
        check_family(points, family("finetune.labels=300"))
    with pytest.raises(ConfigError, match=r"compared are pretrained$"):
        check_family(points, family(f"{INIT}=he"))  # the baseline is no treatment
    with pytest.raises(ConfigError, match="has all of these values"):
        check_family(
            [{LABELS: 100, INIT: "pca"}, {LABELS: 200, INIT: "pretrained"}], family(f"{INIT}=pca", f"{LABELS}=200")
        )


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("finetune.labels", "names no value; write field=value"),
        ("finetune.labels=", "names no value"),
        ("finetune.label=100", "is no swept field; did you mean 'finetune.labels'"),
    ],
)
def test_a_condition_names_a_swept_field_and_a_value(condition, reason):
    with pytest.raises(ConfigError, match=rf"^study\.family: .*{reason}"):
        Experiment(sweep=({LABELS: (100, 200)},), study=family(condition))

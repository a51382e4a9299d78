"""Defaults follow data of one's own: budgets, widths, batches, metric; whatever the data are, and where none chose."""

import dataclasses
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pretrain.config import config_file, own_data
from pretrain.config.experiment import StudyConfig
from pretrain.config.fields import ConfigError, get, with_values
from pretrain.config.fitting import Fitted, values_of
from pretrain.config.own_data import Facts
from tests.launching import ROOT

CONFIG = config_file.load(Path(ROOT) / "configs" / "does_it_help.py", "does_it_help")
TABLE = Facts(341, 341, 30, "columns", False, "classification", (0.4, 0.6))


def fitted(facts, chosen=()):
    made = own_data.fitted(Fitted(CONFIG), chosen, facts)
    return own_data.asked(made, chosen, facts.n_labelled).experiment


@st.composite
def facts(draw):
    task = draw(st.sampled_from(["classification", "multilabel", "regression"]))
    n = draw(st.integers(1, 100_000))
    shares = draw(st.lists(st.floats(0.01, 1), min_size=2, max_size=12)) if task == "classification" else []
    pool, values = draw(st.integers(0, 10_000)), draw(st.integers(1, 5000))
    form, test = draw(st.sampled_from(["columns", "series", "images", "volumes"])), draw(st.booleans())
    return Facts(n, n + pool, values, form, test, task, tuple(share / sum(shares) for share in shares))


@given(facts())
def test_defaults_fit_any_data(facts):
    experiment = fitted(facts)
    experiment.__post_init__()  # which checks all of it
    budgets = values_of(experiment, "finetune.labels")
    assert budgets == sorted(budgets, reverse=True) and budgets[0] == min(facts.n_labelled, 20_000)
    fewest = 10 * max(1, len(facts.class_shares)) if facts.task != "regression" else 20
    assert all(labels >= fewest for labels in budgets[1:])
    assert 1 <= experiment.finetune.batch_size <= max(1, budgets[-1] // 4)
    assert 1 <= experiment.pretrain.batch_size <= max(1, facts.n_examples // 4)
    assert experiment.data.splits == ("fixed" if facts.has_test else "fresh")
    assert experiment.encoder.layers[0] <= 300


def test_ways_are_those_that_fit_the_rows_of_all_sets():
    kind = "pretrain.method.kind"
    made = own_data.with_ways(Fitted(CONFIG), TABLE)
    assert values_of(made.experiment, kind) == ["autoencoder", "contrastive", "masked", "vime"]
    assert all((kind in grid) == ("pretrained" in grid["finetune.encoder_init"]) for grid in made.experiment.sweep)
    assert not made.experiment.ways  # which the sweep now says
    assert made.experiment.study.intervals == "simultaneous"  # so that the interval of the best way holds
    with pytest.raises(ConfigError, match="ways"):
        own_data.with_ways(made, TABLE)
    series = TABLE._replace(form="series")
    assert values_of(own_data.with_ways(Fitted(CONFIG), TABLE, series).experiment, kind)[1:] == [
        "contrastive",
        "masked",
    ]
    scratch = with_values(CONFIG, {"sweep": ({"finetune.encoder_init": ("he", "pca")},)})
    with pytest.raises(ConfigError, match="pretrained nowhere"):
        own_data.with_ways(Fitted(scratch), TABLE)
    dataclasses.replace(CONFIG, ways=True, study=StudyConfig(family=(f"{kind}=vime",)))  # of what ways will sweep
    noise = {"finetune.encoder_init": ("pretrained", "he"), "pretrain.method.corruption": ("none", "masking")}
    own, others = own_data.with_ways(Fitted(with_values(CONFIG, {"sweep": (noise,)})), TABLE).experiment.sweep
    assert own == {kind: ("autoencoder",), **noise} and others[kind] == ("contrastive", "masked", "vime")
    assert "pretrain.method.corruption" not in others  # which only the autoencoder has
    padded = own_data.with_ways(Fitted(CONFIG), series._replace(is_padded=True))
    assert values_of(padded.experiment, kind) == ["autoencoder", "masked"]
    assert padded.notes == (f"{kind}: autoencoder, masked, the ways that fit series (ways)",)


@pytest.mark.parametrize(
    ("n_labelled", "share"), [(10, 0.2), (99_999, 0.2), (100_000, 0.2), (100_001, 20_000), (10**7, 20_000)]
)
def test_a_share_of_the_rows_is_held_out_and_no_more_than_a_budget_takes(n_labelled, share):
    made = own_data.held_out(Fitted(CONFIG), (), n_labelled)
    assert (made.experiment.data.validation, made.experiment.data.test) == (share, share)
    assert len(made.notes) == (1 if share == 0.2 else 2)
    assert own_data.held_out(Fitted(CONFIG), ("data.validation", "data.test"), n_labelled).notes == ()


@pytest.mark.parametrize(
    ("changed", "metric"),
    [
        ({}, "auto"),
        ({"class_shares": (0.81, 0.19)}, "auroc"),
        ({"class_shares": (0.05, 0.1, 0.85)}, "balanced_accuracy"),
        ({"class_shares": (), "task": "regression"}, "auto"),
    ],
)
def test_the_metric_says_something_of_classes_of_unlike_sizes(changed, metric):
    experiment = fitted(TABLE._replace(**changed))
    assert experiment.study.metric == metric
    readouts = {"ridge"} if TABLE._replace(**changed).task == "regression" else {"logistic"}
    assert {grid["finetune.readout"][0] for grid in experiment.sweep if "finetune.readout" in grid} == readouts


def test_the_question_is_of_the_largest_budget():
    experiment = fitted(TABLE)
    assert experiment.study.family == ("finetune.labels=341",)
    single = fitted(TABLE._replace(n_labelled=90))
    assert single.study.family == () and single.finetune.labels == 90
    assert not any("finetune.labels" in grid for grid in single.sweep)


@pytest.mark.parametrize(
    "name", ["encoder.layers", "finetune.batch_size", "data.splits", "study.metric", "pretrain.method.corruption"]
)
def test_what_somebody_chose_stays(name):
    assert get(fitted(TABLE, {name}), name) == get(CONFIG, name) != get(fitted(TABLE._replace(n_labelled=7)), name) or (
        name == "study.metric" and get(fitted(TABLE._replace(class_shares=(0.1, 0.9)), {name}), name) == "auto"
    )


def test_budgets_that_somebody_chose_stay():
    assert values_of(fitted(TABLE, {"finetune.labels"}), "finetune.labels") == [0]


def test_budgets_of_several_sets_are_shares_of_each():
    small, large = TABLE._replace(n_labelled=90, n_examples=90, n_values=4), TABLE._replace(n_labelled=5000)
    made = own_data.fitted(Fitted(CONFIG), (), large, TABLE)
    assert values_of(made.experiment, "finetune.labels") == [0, 0.1]
    assert own_data.asked(made, (), 341, True).experiment.study.family == ("finetune.labels=0",)
    assert values_of(own_data.fitted(Fitted(CONFIG), (), large, small).experiment, "finetune.labels") == [0]
    assert made.experiment.finetune.batch_size <= 341 // 40
    assert made.experiment.encoder.layers == fitted(TABLE).encoder.layers

"""Sentences are short enough to be understood at first reading, whatever the numbers are."""

import itertools
import re

import numpy as np
import pytest

from pretrain.config import DataConfig, Experiment, FinetuneConfig, StudyConfig
from pretrain.report import prospects, verdicts, words
from pretrain.study.answer import answer
from pretrain.study.prospects import prospect
from tests.report.test_terminal import FROZEN, INIT, tables
from tests.study.test_factorial import FIVE, run

LABELS, RATE = "finetune.labels", "finetune.optimizer.learning_rate"
MOST = 60  # words
SWEEPS = {
    "one arm": {},
    "one comparison": {INIT: ("pretrained", "he")},
    "corners": {INIT: ("pretrained", "he"), FROZEN: (2, 0)},
    "budgets": {
        INIT: ("pretrained", "he"),
        FROZEN: (2, 0),
        LABELS: (50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000),
    },
    "many values": {INIT: ("he", "pretrained", "matched", "permuted", "rotated", "pca"), LABELS: (100, 1000)},
    "long names": {
        **{RATE: (0.001, 0.002, 0.003, 0.004), "finetune.l2": (0.0001, 0.0002), "pretrain.l2": (0.0001, 0.0002)},
        "encoder.layers": ([784, 500, 250, 125], [784, 300]),
    },
}


def sentences(text):
    return re.split(r"(?<=[.?!])\s+", text)


def simulated(sweep, n, gain, spread, diverged=0.0, seed=0):
    """Tables of a run whose arms differ at random by about a gain."""
    rng, arms, lost = np.random.default_rng(seed), [], set()
    for number, values in enumerate(itertools.product(*sweep.values())):
        start, end = rng.normal(0.5, 0.1), rng.normal(0.8, gain)
        arms.append(
            (dict(zip(sweep, values, strict=True)), start + rng.normal(0, spread, n), end + rng.normal(0, spread, n))
        )
        lost |= {(number, each) for each in range(n) if rng.random() < diverged}
    return tables(arms, lost)


def all_said(found, experiment):
    """Every text of a report but captions."""
    return [
        words.question(found),
        verdicts.verdict(found.comparisons),
        words.headline(found, experiment),
        *words.warnings(found, experiment),
        *words.explanation(found),
        words.basis(found, experiment),
    ]


def checked(texts):
    for text in texts:
        for sentence in sentences(text):
            assert len(sentence.split()) < MOST, sentence
        for bad in ("nan", "inf ", "inf]", "None", "  ", " ,", "()"):
            assert bad not in text, text


@pytest.mark.parametrize("name", SWEEPS)
@pytest.mark.parametrize(
    ("n", "gain", "spread", "diverged"), [(1, 0.02, 0.01, 0), (3, 0, 0.01, 0.2), (8, 0.02, 0.01, 0.1)]
)
def test_no_sentence_has_60_words(name, n, gain, spread, diverged):
    for seed, study in enumerate((StudyConfig(), StudyConfig(family=(f"{LABELS}=100",)))):
        if study.family and LABELS not in SWEEPS[name]:
            continue
        tried = simulated(SWEEPS[name], n, gain, 0.01, diverged, seed)
        checked(all_said(answer(*tried, study, level=0.9875 if seed else 0.95), Experiment(seeds=n)))


@pytest.mark.parametrize("n", [2, 8])
def test_no_sentence_on_a_factorial_has_60_words(n):
    def effect(on, step):
        return 0.5 - 0.3 * (FROZEN in on) + 0.05 * len(on) * (INIT in on)

    tried = run(FIVE, effect, noise=0.002, n=n, changes=lambda on: 0.2 if FROZEN in on else 5.0)
    checked(all_said(answer(*tried), Experiment(seeds=n)))


def test_a_sweep_of_a_hyperparameter_says_how_to_tune_it():
    def tips(sweep):
        found = answer(*simulated(sweep, 8, 0.02, 0.01))
        return [text for text in words.warnings(found, Experiment()) if "--tune" in text]

    inits = {INIT: ("pretrained", "he")}
    (tip,) = tips({**inits, RATE: (0.1, 0.001, 0.01)})
    assert f"--tune {RATE}=0.001,0.01,0.1 instead of" in tip and "3 values" in tip
    assert "--tune finetune.l2=the same values" in tips({**inits, "finetune.l2": tuple(range(10))})[0]
    assert tips({**inits, RATE: (0.1,)}) == tips({**inits, LABELS: (100, 200)}) == tips(inits) == []


def test_a_headline_is_read_at_a_glance():
    for name, sweep in SWEEPS.items():
        text = words.headline(answer(*simulated(sweep, 8, 0.02, 0.01)), Experiment())
        assert len(text.split()) <= 2 * MOST, (name, text)


@pytest.mark.parametrize("n_budgets", [1, 9, 60])
@pytest.mark.parametrize("study", [{}, {"until_conclusive": True}, {"family": (f"{LABELS}=100",)}])
def test_what_a_run_can_conclude_is_said_in_a_line(n_budgets, study):
    for seeds in (1, 6, 8, 12):
        grid = {INIT: ("pretrained", "he"), LABELS: tuple(range(100, 100 + n_budgets))}
        experiment = Experiment(sweep=(grid,), seeds=seeds, study=StudyConfig(**study))
        earlier = simulated({INIT: ("pretrained", "he"), LABELS: (100,)}, 3, 0, 0.01)[0]
        found = prospect(experiment, [point.values for point in experiment.points], earlier)
        checked([prospects.outlook(found), prospects.warning(found) or ""])


@pytest.mark.parametrize(
    ("data", "finetune", "start"),
    [
        ({}, {"label_subset": "first"}, "For these 2,000 labelled images, pretraining "),
        (
            {"name": "/some/rows.csv"},
            {"label_subset": "first", "labels": 50},
            "For these 50 labelled rows, pretraining ",
        ),
        ({"splits": "fresh"}, {"label_subset": "first"}, "Pretraining "),
        ({}, {"label_subset": "first", "labels": 0}, "Pretraining "),
        ({}, {}, "Pretraining "),
    ],
)
def test_a_labelled_subset_that_all_seeds_share_is_said(data, finetune, start):
    experiment = Experiment(data=DataConfig(**data), finetune=FinetuneConfig(**finetune))
    found = answer(*simulated(SWEEPS["corners"], 8, 0.02, 0.005))
    assert words.headline(found, experiment).startswith(start)
    assert words.conclusion(found, experiment).startswith(start)


def test_budgets_of_a_shared_subset_and_names_in_capitals_are_said():
    labels = {INIT: ("he", "pca"), LABELS: (50, 2000)}
    experiment = Experiment(finetune=FinetuneConfig(label_subset="first"))
    start = "For these 50 to 2,000 labelled images, taking principal components "
    assert words.headline(answer(*simulated(labels, 8, 0.02, 0.005)), experiment).startswith(start)

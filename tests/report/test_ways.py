"""Of several ways to pretrain a headline names the one that validation chooses, its own interval, and their number."""

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import AutoencoderConfig, Experiment, PretrainConfig, StudyConfig
from pretrain.report import names, words
from pretrain.report.short_names import named_shortly
from pretrain.study.answer import answer
from pretrain.study.ways import ways
from tests.report.test_terminal import INIT, tables

KIND, CORRUPTION, LABELS = "pretrain.method.kind", "pretrain.method.corruption", "finetune.labels"


def run(gains, validation=None, n=8, labels=(None,), lost=()):
    """A run of 8 seeds: each way, by its fields, gains so much on test rows, and its validation rows say else."""
    rng, arms, scores = np.random.default_rng(0), [], []
    fields = dict.fromkeys([KIND, CORRUPTION, *([LABELS] if labels != (None,) else [])])
    for size in labels:
        scratch = 0.8 + rng.normal(0, 0.004, n)
        for way, gain in gains:
            point = {**fields, **way, **({LABELS: size} if size else {})}
            end = 0.8 + gain + rng.normal(0, 0.004, n)
            arms += [({INIT: "pretrained", **point}, end, end), ({INIT: "he", **point}, scratch, scratch)]
            scores += [0.8 + (validation or {}).get(way[KIND], gain)] * n + [0.8] * n
    trials, curves = tables(arms, lost)
    place = trials.column_names.index("validation_accuracy")
    return trials.set_column(place, "validation_accuracy", pa.array(scores)), curves


def headline(tried, study=None, experiment=None):
    found = answer(*tried, study or StudyConfig())
    experiment = experiment or Experiment()
    with named_shortly(experiment):
        return words.headline(found, experiment), words.question(found)


THREE = [({KIND: "autoencoder"}, -0.02), ({KIND: "contrastive"}, 0.03), ({KIND: "masked"}, 0.05)]


def test_the_way_that_validation_chooses_is_named_with_its_own_interval():
    tried = run(THREE, {"contrastive": 0.1})  # though another tests better
    study = StudyConfig(intervals="simultaneous")
    (found,) = ways(answer(*tried, study))
    assert found.best.shared[KIND] == "contrastive" and len(found.others) == 2
    text, asked = headline(tried, study)
    assert text.startswith("Of 3 ways to pretrain, contrastive is best on validation rows; against the network from")
    assert names.difference(found.best.shown, "test_accuracy") in text
    assert "at 98.33 %" in text  # which holds whichever is chosen
    assert text.endswith("Of the other 2, 1 hurts and 1 helps.")
    assert asked == (
        "Does pretraining in any of 3 ways (autoencoder, contrastive, masked) change test accuracy, and by how much?"
    )


@pytest.mark.parametrize(
    ("gains", "rest"),
    [(THREE[1:], "The other helps."), ([*THREE[1:], ({KIND: "vime"}, 0.04)], "The other 2 help.")],
)
def test_the_other_ways_are_counted(gains, rest):
    assert headline(run(gains))[0].endswith(rest)


def test_ways_are_named_by_kind_and_what_else_differs():
    noisy = [({KIND: "autoencoder", CORRUPTION: noise}, gain) for noise, gain in (("none", 0.0), ("masking", 0.06))]
    text, asked = headline(run([*noisy, *THREE[1:]]))
    assert "Of 4 ways to pretrain, autoencoder (corruption=masking) is best" in text
    assert "autoencoder (corruption=none), contrastive, masked" in asked
    denoising = Experiment(pretrain=PretrainConfig(method=AutoencoderConfig(corruption="masking")))
    assert "denoising autoencoder, masked" in headline(run(THREE), experiment=denoising)[1]


def test_each_of_two_budgets_has_a_sentence_and_many_are_counted():
    text, asked = headline(run(THREE, labels=(100, 1000)))
    assert text.count("Of 3 ways to pretrain") == 2 and " at 100 labels" in text and " at 1,000 labels" in text
    assert ", at each labels," in asked
    assert "ways to pretrain" not in headline(run(THREE, labels=(10, 100, 1000)))[0]
    # Those that explore are counted after it.
    text, _ = headline(run(THREE, labels=(100, 1000)), StudyConfig(family=(f"{LABELS}=1000",)))
    assert text.count("Of 3 ways to pretrain") == 1 and "3 exploratory comparisons" in text


def test_one_method_has_no_ways_and_one_that_fails_says_so():
    swept = [({KIND: "masked", CORRUPTION: noise}, 0.0) for noise in ("none", "masking")]
    assert not ways(answer(*run(swept), StudyConfig()))
    text, _ = headline(run(THREE, lost={(4, 0), (4, 1)}))
    assert "masked is best on validation rows. Unstable" in text and "2 of 8 seeds fail with pretraining" in text

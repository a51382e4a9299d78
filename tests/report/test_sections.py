"""A headline is the verdict, or as much of it as one reads at a glance."""

import numpy as np
import pyarrow as pa

from pretrain.config import Experiment
from pretrain.report import verdicts
from pretrain.report.words import headline
from pretrain.study.answer import answer

INIT, FROZEN = "finetune.encoder_init", "finetune.frozen_layers"


def asked(gains, n=12):
    """The answer of a run in which every encoder differs from He's by its gain, frozen or not."""
    rows = [
        {"trial_id": f"{init}-{frozen}-{seed}", "seed": seed, INIT: init, FROZEN: frozen, "status": "ok"}
        | dict.fromkeys(("test_accuracy", "validation_accuracy"), 0.8 + gain + 0.001 * np.cos(7 * seed + frozen))
        for init, gain in {"he": 0.0, **gains}.items()
        for frozen in (0, 2)
        for seed in range(n)
    ]
    curves = pa.table({name: [] for name in ("trial_id", "stage", "step", "metric", "value")}, schema=CURVES)
    return answer(pa.Table.from_pylist(rows), curves)


CURVES = pa.schema(
    [
        *(("trial_id", pa.string()), ("stage", pa.string()), ("step", pa.int32())),
        *(("metric", pa.string()), ("value", pa.float32())),
    ]
)


def test_few_comparisons_are_reported_whole():
    found = asked({"pretrained": 0.02})
    assert headline(found, Experiment()) == verdicts.verdict(found.comparisons)


def test_pretraining_is_reported_first_among_many_treatments_and_the_others_are_counted():
    found = asked({"matched": -0.03, "permuted": 0.0, "rotated": -0.02, "pretrained": 0.02, "pca": 0.04})
    text = headline(found, Experiment())
    own = [one for one in found.comparisons if one.treatment == "pretrained"]
    assert text.startswith(verdicts.verdict(own)) and text.endswith(
        " Of 8 other comparisons, 4 hurt, 2 make no difference that matters and 2 help."
    )


def test_many_comparisons_without_pretraining_are_counted():
    found = asked(dict.fromkeys(("matched", "permuted", "rotated", "pca", "wrong_data"), -0.02))
    assert headline(found, Experiment()) == f"Of 10 comparisons of {INIT}, all hurt."


def test_a_control_is_not_reported_as_pretraining():
    for init, is_asked in (("pretrained", True), ("rotated", False)):
        assert [found.is_original_question for found in asked({init: -0.02}).factorials] == [is_asked]

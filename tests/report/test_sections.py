"""A headline is the verdict, or as much of it as one reads at a glance."""

import logging
import warnings
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from pretrain.config import Experiment
from pretrain.data.columns import Record
from pretrain.report import drawing, listings, page, sections, verdicts
from pretrain.report.words import headline
from pretrain.study.answer import answer
from pretrain.study.curves import Curves
from tests.report.test_terminal import conclude, tables

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
    assert headline(found, Experiment()).startswith(
        f"Of 10 comparisons of {INIT}, all hurt; the smallest p is that of "
    )


def test_a_control_is_not_reported_as_pretraining():
    for init, is_asked in (("pretrained", True), ("rotated", False)):
        assert [found.is_original_question for found in asked({init: -0.02}).factorials] == [is_asked]


def records(n, left_out=True):
    kept = [Record(f"column {number}", "numbers", "numbers", number) for number in range(n - 1)]
    reason = "texts are nearly all different" if left_out else ""
    return [
        *kept,
        Record("city", "texts", "nothing" if left_out else "categories", 2, tuple("abcdefghijk"), ("?",), reason),
    ]


@pytest.mark.parametrize(("n", "is_folded"), [(5, False), (30, False), (31, True), (1500, True)])
def test_all_columns_of_a_table_are_listed_and_folded_where_they_are_many(n, is_folded):
    table = SimpleNamespace(data=SimpleNamespace(name="my.csv"), columns=tuple(records(n)))
    images = SimpleNamespace(data=SimpleNamespace(name="mnist"), columns=())
    other = SimpleNamespace(data=SimpleNamespace(name="other.csv"), columns=tuple(records(3, left_out=False)))
    # A split of each seed is a dataset of its own, of the same columns.
    first, second = listings.columns([table, images, table, other])
    assert f"{n - 1:,} of {n:,} are read" in first.caption and "my.csv" in first.caption
    assert len(first.rows) == min(n, 1000) and first.rows[0] == ("column 0", "numbers", "numbers", "0", "", "")
    if n <= 1000:
        assert first.rows[-1][2:4] == ("nothing", "2") and first.rows[-1][4].endswith("g, h, and 3 more")
        assert first.rows[-1][5] == "texts are nearly all different"
    assert second.headings[-1] == "categories" and all(len(row) == len(second.align) for row in second.rows)
    assert first.name != second.name
    assert ("<details>" in page._table(first, 1)) is is_folded and "<details>" not in page._table(second, 2)


def test_the_first_mini_batches_are_drawn_where_an_arm_has_some():
    trials, curves = tables([({INIT: init}, np.full(8, 0.5), np.full(8, 0.7)) for init in ("pretrained", "he")])
    found = conclude(trials, curves)
    assert len(sections._first_batches(found, Curves(curves), found.arms)) == 1
    of_readouts = Curves(curves.slice(0, 0))
    assert sections._first_batches(found, of_readouts, found.arms) == []


def test_what_matplotlib_remarks_stays_off_the_terminal(capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with drawing.own_style():
            warnings.warn("constrained_layout not applied", UserWarning, stacklevel=1)
            logging.getLogger("matplotlib.font_manager").warning("Matplotlib is building the font cache")
            with pytest.raises(RuntimeWarning):  # of numbers, which are ours
                np.log(np.zeros(1))
    assert capfd.readouterr().err == "" and logging.getLogger("matplotlib").level == logging.NOTSET

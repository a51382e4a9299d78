"""Lines of progress where there is no terminal: how much is done, how fast, and how long the rest takes at most."""

import io
import re

import pytest
from rich.console import Console

from pretrain.engines import progress
from pretrain.plan.plan import packs

EARLY = {"stop": "validation", "patience": 2}


@pytest.mark.parametrize(("early", "left"), [({}, ", 21 s left"), (EARLY, ", at most 21 s left")])
def test_the_time_left_leaves_out_compilation_and_is_a_bound_where_training_may_end_early(
    early, left, planned, monkeypatch
):
    plan = planned(finetune={"epochs": 9, **early})
    (pack, *_) = [pack for pack in packs(plan.jobs.values(), (), 1 << 30, 1) if pack.stage.stack.head is not None]
    clock = iter([0.0, 100.0, 110.5, 130.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    out = io.StringIO()
    notes, n = [], pack.stage.n_updates * len(pack.jobs) // 4
    with progress.Reporter(Console(file=out, width=200), [pack], notes.append).pack(0) as advanced:
        advanced(n)
        advanced(n)
    assert left in out.getvalue() and out.getvalue().startswith("finetune  pack 1/1, 1 trial: 50%, ")
    bound = "at most " * bool(early)
    assert notes[0] == "finetune  pack 1/1, 1 trial"
    assert notes[-1] == f"finetune  pack 1/1, 1 trial, step {2 * n:,} of {bound}{pack.stage.n_updates:,}"


def test_a_closed_form_has_no_speed(planned):
    *_, pack = packs(planned(finetune={"readout": "knn"}).jobs.values(), (), 1 << 30, 1)
    out = io.StringIO()
    with progress.Reporter(Console(file=out, width=200), [pack]).pack(0):
        pass
    assert re.fullmatch(r"finetune  pack 1/1, 1 trial: done in \d+\.\d s\n", out.getvalue())

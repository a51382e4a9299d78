"""Lines of progress where there is no terminal: how much is done, how fast, and how long the rest takes at most."""

import io
import re
import threading

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


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_work_without_a_count_is_named_where_it_takes_long(monkeypatch, seconds):
    monkeypatch.setattr(progress, "_LONG", seconds)
    out, said = io.StringIO(), threading.Event()
    console = Console(file=out, width=200)
    monkeypatch.setattr(console, "print", lambda *each: (out.write(*each), said.set()))
    with progress.going_on(console, "drawing the report"):
        said.wait(timeout=0 if seconds else 30)
    assert out.getvalue() == ("" if seconds else "drawing the report ...")


def test_a_terminal_shows_work_without_a_count_while_it_goes_on():
    out = io.StringIO()
    with progress.going_on(Console(file=out, force_terminal=True, width=200), "drawing the report"):
        pass
    assert "drawing the report" in out.getvalue()

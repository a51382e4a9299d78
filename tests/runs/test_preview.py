"""A preview lists what a run would do: the packs of every stage, with what they take."""

import io
import re

import jax
import pytest
from rich.console import Console

from pretrain import data
from pretrain.plan import cost, memory
from pretrain.plan import plan as planning
from pretrain.runs import preview
from tests.small_sweep import FINGERPRINTS, of_kind

PREVIEWED = {
    "rbm": (
        {"encoder": {"activation": "sigmoid"}, "pretrain": of_kind("rbm", visible="gaussian")},
        "pretrain/1",
    ),
    "supervised": ({"pretrain": of_kind("supervised")}, "pretrain/1"),
    "pca": ({"pretrain": of_kind("pca")}, "pretrain/1"),
    "variational": ({"pretrain": of_kind("autoencoder", variational=True)}, "pretrain/1"),
    "convolution": ({"encoder": {"layers": ("4c3s2", 6)}}, "pretrain/1"),
    "all at once": ({"pretrain": {"training": "greedy_then_end_to_end"}}, "pretrain/all"),
    "frozen": ({"finetune": {"frozen_layers": "all"}}, "finetune, 2 layers frozen"),
    **{
        name: ({"finetune": {"readout": name}}, f"finetune, {name}")
        for name in ("ridge", "logistic", "linear", "knn", "trees")
    },
}


QUICK = {"rbm", "convolution", "all at once", "frozen", "knn"}


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in PREVIEWED]
)
def test_a_preview_lists_stages_of_every_kind(kind, experiment, monkeypatch):
    settings, row = PREVIEWED[kind]
    monkeypatch.setattr(cost, "flop_rate", lambda: 1e9)
    found = experiment(sweep=({"finetune.encoder_init": ("pretrained", "wrong_data", "he")},), seeds=2, **settings)
    datasets, out = data.load_all(found), io.StringIO()
    plan = planning.plan(found, datasets, FINGERPRINTS)
    preview.show(plan, Console(file=out, width=120))
    first, *rows = out.getvalue().splitlines()
    assert f"6 trials of {2 * (2 * (len(plan.trials[0].jobs) - 1) + 3)} stages" in first.replace(" together", "")
    assert f"{len(plan.jobs)} of them distinct" in first
    packs = planning.packs(plan.jobs.values(), (), 1 << 30, 2)
    assert row in {name for name, *_ in rows_of(rows)}
    alike = {}  # a row each
    for pack in packs:
        name = preview._name(pack)
        counts = pack.stage.rows.n, pack.stage.n_updates, cost.n_parameters(pack.jobs[0].traced)
        n_packs, n_trials = alike.get((name, *counts), (0, 0))
        alike[name, *counts] = n_packs + 1, n_trials + len(pack.jobs)
    assert rows_of(rows) == [[name, *numbers, *counts] for (name, *counts), numbers in alike.items()]


def rows_of(lines) -> list[list]:
    """The rows of a table of packs: a stage's name, and the counts beside it."""
    table = [re.split(r"  +", line) for line in lines[1:-2]]
    return [[name, *(int(count.replace(",", "")) for count in counts[:5])] for name, *counts in table]


def test_packs_of_a_stage_share_a_row_and_are_counted_once(experiment, dataset, monkeypatch):
    rates = {"finetune.encoder_init": ("he",), "finetune.optimizer.learning_rate": tuple(n / 100 for n in range(1, 7))}
    plan = planning.plan(found := experiment(sweep=(rates,), seeds=2), {found.data: dataset}, FINGERPRINTS)
    needs = memory.needs_of(next(iter(plan.jobs.values())), {}, jax.device_count())
    room = needs.examples + (4 + jax.device_count()) * needs.trial  # a device's temporaries are guessed as a trial
    monkeypatch.setattr(cost, "flop_rate", lambda: 1e9)
    monkeypatch.setattr(preview.here, "pack_memory", lambda: room)
    out = io.StringIO()
    preview.show(plan, Console(file=out, width=120))
    [row] = rows_of(out.getvalue().splitlines()[1:])
    assert row[:3] == ["finetune, 0 layers frozen", 3, 12]


def test_a_duration_is_of_the_stages_that_are_named(experiment, dataset, monkeypatch):
    monkeypatch.setattr(cost, "flop_rate", lambda: 1e9)
    plan = planning.plan(found := experiment(seeds=2), {found.data: dataset}, FINGERPRINTS)
    out = io.StringIO()
    preview.show(plan, Console(file=out, width=120))
    seconds, words = preview.duration(plan, plan.jobs)
    assert f"about {words} here" in out.getvalue() and seconds > 0
    first, *others = plan.jobs
    parts = [preview.duration(plan, [first])[0], preview.duration(plan, others)[0]]
    assert sum(parts) == pytest.approx(seconds) and min(parts) > 0 == preview.duration(plan, [])[0]


def test_fits_on_the_host_take_their_time(experiment, dataset, monkeypatch):
    monkeypatch.setattr(cost, "flop_rate", lambda: 1e18)
    none = {"finetune.encoder_init": ("none",)}

    def seconds(readout, **settings):
        found = experiment(sweep=(none,), seeds=2, finetune={"readout": readout, **settings})
        plan = planning.plan(found, {found.data: dataset}, FINGERPRINTS)
        return preview.duration(plan, plan.jobs)[0]

    assert 0.1 < seconds("trees", labels=40) < seconds("trees", labels=200) < 10
    assert seconds("knn") < 1e-6 < seconds("ridge") < seconds("logistic") < seconds("linear") < 1

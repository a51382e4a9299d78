"""A preview lists what a run would do: every pack, with what it takes."""

import io

import pytest
from rich.console import Console

from pretrain import data
from pretrain.sweep import cost, preview
from pretrain.sweep import plan as planning
from tests.sweep.conftest import FINGERPRINTS, of_kind

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
    **{name: ({"finetune": {"readout": name}}, f"finetune, {name}") for name in ("ridge", "logistic", "knn")},
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
    preview.show(plan, datasets, Console(file=out, width=120))
    first, *rows = out.getvalue().splitlines()
    assert f"6 trials of {2 * (2 * (len(plan.trials[0].jobs) - 1) + 3)} stages" in first.replace(" together", "")
    assert f"{len(plan.jobs)} of them distinct" in first
    packs = planning.packs(plan.jobs.values(), (), 1 << 30, 2)
    reported = [line.split() for line in rows if line.lstrip()[:1].isdigit()]
    assert len(reported) == len(packs) and any(row.split() == words[1 : 1 + len(row.split())] for words in reported)
    for words, pack in zip(reported, packs, strict=True):
        count = [str(len(pack.jobs)), str(pack.stage.total_steps), f"{cost.n_parameters(pack.stage):,}"]
        assert " ".join(count) in " ".join(words)

import json
import re
import sys

import numpy as np
import pyarrow as pa
import pytest

import pretrain
from pretrain.report import expected
from tests.launching import ROOT, call, execute, n_run, refused
from tests.test_library import GERON, SMALL

CONFIG = f"""
from pathlib import Path

from pretrain.config import config_file
from pretrain.config.overrides import override


def get_config():
    return override(config_file.load(Path({str(GERON)!r}), "geron"), {{values}}).experiment
"""


@pytest.mark.parametrize(
    ("text", "values", "found"),
    [
        (".880 ± .003", (0.8776, 0.8824), ".880 ± .003"),
        (".88", (0.8749, 0.8749), ".87"),
        ("0.88", (0.8751,), "0.88"),
        (".880 ± .003", (0.88,), ".880 ± nan"),
        ("-0.5", (-0.45, -0.57), "-0.5"),
        ("12", (11.6, 12.2), "12"),
        (".88", (), "none"),
        (".88", (np.nan, 1.0), "nan"),
    ],
)
def test_figures_are_compared_at_the_digits_shown(text, values, found):
    assert expected.like(text, np.array(values)) == found


def test_each_figure_is_of_its_arm_metric_and_update():
    trials = {"trial_id": ["a", "b", "c"], "seed": [0, 1, 0], "repeat": [0, 0, 0]}
    trials |= {"finetune.encoder_init": ["he", "he", "pretrained"], "status": ["ok"] * 3}
    trials |= {"test_accuracy": [0.1, 0.3, 0.5]}
    curve = [(trial, step, value) for trial, value in zip("abc", (0.2, 0.4, 0.6), strict=True) for step in (1, 5)]
    columns = {
        "trial_id": [trial for trial, _, _ in curve],
        "stage": ["finetune"] * 6,
        "metric": ["validation_accuracy"] * 6,
        "step": [step for _, step, _ in curve],
        "value": [value / step for _, step, value in curve],
    }
    text = pa.dictionary(pa.int32(), pa.string())
    kinds = dict.fromkeys(("trial_id", "stage", "metric"), text)
    curves = pa.table({name: pa.array(values, kinds.get(name)) for name, values in columns.items()})
    page = {
        "arms": [
            {"point": {"finetune.encoder_init": "he"}, "validation_accuracy": {"5": ".06", "2": ".1"}},
            {"point": {"finetune.encoder_init": "pretrained"}, "test_accuracy": ".5", "no_metric": ".5"},
            {"point": {"finetune.encoder_init": "matched"}, "test_accuracy": ".5"},
        ]
    }
    figures = expected.figures(page, pa.table(trials), curves)
    assert [figure.found for figure in figures] == [".06", "nan", ".5", "none", "none"]
    assert len({figure.name for figure in figures}) == 5 and "after update 5" in figures[0].name


def test_geron_keeps_the_figures_of_readme():
    rows = re.findall(r"^\| (.*?) \| (.*?) \| (.*?) \| (\.\d+ ± \.\d+) \|$", (ROOT / "README.md").read_text(), re.M)
    kept = json.loads((ROOT / "configs" / "geron.json").read_text())["arms"]
    assert len(rows) == len(kept) == 4
    for (name, trained, validation, test), row in zip(rows, kept, strict=True):
        assert [*row["post_update_accuracy"].values()] == trained.split()
        assert [*row["validation_accuracy"].values()] == validation.split() and row["test_accuracy"] == test
        init, frozen = row["point"].values()
        assert name.startswith({"pretrained": "pretrained", "he": "from scratch (He)"}[init])
        assert name.endswith({2: "2 frozen", 0: "trainable"}[frozen])


def test_protocols_keeps_the_figures_of_its_page():
    page = (ROOT / "configs" / "README.md").read_text().partition("## Protocols")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (.*?) \| (\.\d+) \| (\.\d+) \|", page, re.M)
    kept = json.loads((ROOT / "configs" / "protocols.json").read_text())["arms"]
    assert len(rows) == 6 and [row["test_accuracy"] for row in kept] == [text for row in rows for text in row[1:]]
    for (name, *_), *pair in zip(rows, kept[::2], kept[1::2], strict=True):
        assert [row["point"].pop("finetune.encoder_init") for row in pair] == ["pretrained", "he"]
        assert pair[0]["point"] == pair[1]["point"]
        frozen, readout, unfrozen = pair[0]["point"].values()
        stated = {"readout": readout, "unfreeze-at": unfrozen, "frozen-layers": frozen}
        for option, value in re.findall(r"`([a-z-]+) (\w+)`", name):
            assert str(stated[option]) == value


def test_a_config_without_figures_is_refused_and_those_with_some_are_named(tmp_path):
    done = call(["reproduce", "why"], tmp_path)
    refused(done, "config: 'why' keeps no figures, as why.json; ", "geron")
    refused(call(["reproduce", "gerom"], tmp_path), "did you mean 'geron'")
    assert not [*tmp_path.iterdir()]


def test_a_run_is_reproduced_where_all_figures_are_equal_and_those_that_differ_are_named(site, run, tmp_path):
    values = SMALL | {"data.name": site.data}
    (tmp_path / "mine.py").write_text(CONFIG.replace("{values}", repr(values)))
    trials = pretrain.load_run(run).trials.to_pylist()
    arms = []
    for init in ("pretrained", "he"):
        point = {"finetune.encoder_init": init, "finetune.frozen_layers": 0}
        accuracies = [row["test_accuracy"] for row in trials if point.items() <= row.items()]
        arms.append({"point": point, "test_accuracy": f"{np.mean(accuracies):.4f}"})
    (tmp_path / "mine.json").write_text(json.dumps({"arms": arms}))
    options = ["reproduce", "mine.py", "--store", site.path / "first-store"]
    done = call(options, tmp_path)
    assert (done.returncode, n_run(done)) == (0, 0), done.stderr
    assert done.stdout.endswith("2 of 2 figures equal\n")
    assert (tmp_path / "runs" / "mine-reproduced" / "answer.json").is_file()
    true, arms[1]["test_accuracy"] = arms[1]["test_accuracy"], "2.0000"
    (tmp_path / "mine.json").write_text(json.dumps({"arms": arms}))
    done = call(options, tmp_path)
    assert done.returncode == 1
    *_, count, line = done.stdout.splitlines()
    assert count == "1 of 2 figures equal"
    assert line.startswith("test accuracy, ") and line.endswith(f": {true} here, 2.0000 on the page")


@pytest.mark.slow
def test_geron_is_reproduced(tmp_path):
    launch = ["env", "-u", "XLA_FLAGS", sys.executable, str(ROOT / "launch.py"), "reproduce", "geron"]
    done = execute(launch, tmp_path, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith("28 of 28 figures equal\n")

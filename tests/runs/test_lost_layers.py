"""Layers of one's own that raise as they train cost their own trials; arms compare by the seeds that both have."""

import json

import pyarrow.parquet as pq
import pytest
from jax._src import dispatch

import pretrain
from pretrain.data.findings import MISSING
from tests.engines.test_memory import fails_at, packs_of_two
from tests.launching import OPTIONS, call, results

# A sensor that is unplugged while batches train, which looks at shapes and other rows do not notice.
OWN = """
import flax.linen as nn
import jax
from pathlib import Path

def read(x):
    if Path(__file__).with_name("unplugged").exists():
        raise ValueError("the sensor is unplugged")

class Layer(nn.Module):
    is_sound: bool = True

    @nn.compact
    def __call__(self, x):
        y = nn.relu(nn.Dense(8)(x.reshape(len(x), -1)))
        if self.is_sound or len(x) != 20:  # a batch
            return y
        jax.debug.callback(read, y[0, 0])
        return y

def sound(): return Layer()
def raising(): return Layer(False)
"""
FIXED = [word for word in OPTIONS if word not in ("--encoder.layers", "12", "6")]
PAIR = ["--sweep", "finetune.encoder_init=pretrained,he", "--finetune.frozen-layers", "0"]


def missing(run):
    """The finding that trials of a run are missing."""
    (finding,) = [each for each in run.findings if each.kind == MISSING]
    return finding


@pytest.fixture(scope="module")
def own(site, tmp_path_factory):
    """A launch of two layers of one's own, of which one raises, in a directory of its own, and its options."""
    path = tmp_path_factory.mktemp("own")
    (path / "own.py").write_text(OWN)
    (path / "unplugged").touch()
    (path / "store").mkdir()
    (path / "store" / "programs").symlink_to(site.programs)
    swept = [*PAIR, "--sweep", "encoder.layers=own.py:sound,own.py:raising"]
    places = ["--run-dir", "run", "--store", "store"]
    argv = ["geron", "--data.name", site.data, *FIXED, *swept, *places]
    yield path, argv, call(argv, path, drawn=True)
    dispatch.runtime_tokens.clear()  # of the callbacks that raised, or JAX raises them again as the process ends


def test_layers_that_raise_cost_their_own_trials(own):
    path, _, done = own
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    found = pretrain.load_run(path / "run")
    layers = {str(row["encoder.layers"]) for row in found.trials.to_pylist()}
    assert not any("raising" in each for each in layers) and any("sound" in each for each in layers)
    finding = missing(found)
    assert finding.severity == "doubt" and finding.figures["missing"] == 4
    where = "4 of 8 trials are missing (encoder.layers ('own.py:raising',)), as pretrain/0: "
    assert finding.sentence.startswith(f"{where}ValueError: the sensor is unplugged, and 1 other reason; ")
    page = (path / "run" / "report.html").read_text()
    assert "the sensor is unplugged" in page and "the sensor is unplugged" in done.stdout + done.stderr
    assert "Traceback" in (path / "run" / "engine.log").read_text()


def test_commands_read_a_run_from_which_an_arm_is_missing(own):
    path, _, _ = own
    for command in (["report", "run"], ["table", "run"], ["compare", "run", "run"]):
        done = call(command, path)
        assert "Traceback" not in done.stderr and done.returncode == (2 if command[0] == "compare" else 0), done.stderr
    assert "incomplete" in call(["runs", path], path).stdout
    answer = json.loads((path / "run" / "answer.json").read_text())
    assert any("4 of 8 trials are missing" in each for each in answer["warnings"])


def test_the_next_run_with_the_cause_mended_is_the_run_that_never_failed(own, site):
    path, argv, _ = own
    (path / "unplugged").unlink()
    assert (done := call(argv, path)).returncode == 0, done.stderr
    mended = {row["trial_id"] for row in pq.read_table(path / "run" / "trials.parquet").to_pylist()}
    there = [*argv]
    there[there.index("--run-dir") + 1], there[there.index("--store") + 1] = "whole", "other-store"
    (path / "other-store").mkdir()
    (path / "other-store" / "programs").symlink_to(site.programs)
    assert call(there, path).returncode == 0
    assert results(path / "run") == results(path / "whole") and len(mended) == 8


def test_seeds_that_an_arm_lacks_are_left_out_of_both(site, monkeypatch):
    packs_of_two(monkeypatch)
    fails_at(monkeypatch, lambda job: job.stage.name == "finetune" and not job.parent and job.seed > 1)
    done = site.launch(*site.at("pairs"), *PAIR, "--encoder.layers", "8", "--seeds", "4")
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    found = pretrain.load_run(site.path / "pairs-run")
    rows = [(row["finetune.encoder_init"], row["seed"]) for row in found.trials.to_pylist()]
    assert sorted(rows) == [("he", 0), ("he", 1), *(("pretrained", seed) for seed in range(4))]
    assert [each["seeds"] for each in found.answer.content["comparisons"]] == [[0, 1]]
    assert "(finetune.encoder_init he; seeds 2, 3)" in missing(found).sentence

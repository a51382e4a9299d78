"""What a run concludes from data of each kind: no verdict of what has not learned, and baselines that no pool moves."""

import json
import re

import pyarrow.parquet as pq
import pytest

from tests.launching import call
from tests.own_data import makers
from tests.own_data.asking import written

SMALL = ["--pretrain.updates", 60, "--pretrain.validate-every", 20, "--finetune.updates", 60]
SMALL += ["--finetune.validate-every", 5, "--tune", "finetune.optimizer.learning_rate=0.003,0.03"]


@pytest.fixture
def launch(site, tmp_path):
    """A function that writes data and launches on them; returns what was printed, the answer, and the trials."""

    def launch(made, *options, name="run"):
        path = written(made, tmp_path / f"{name}.npz")
        store = tmp_path / "store"
        store.mkdir(exist_ok=True)
        if not (store / "programs").exists():
            (store / "programs").symlink_to(site.programs)
        where = ["--run-dir", tmp_path / name, "--store", store, "--data.name", path]
        done = call([*options, *where], tmp_path)
        assert done.returncode == 0, done.stderr
        if "--dry-run" in options:
            return done.stdout, None, None
        answer = json.loads((tmp_path / name / "answer.json").read_text())
        return " ".join(done.stdout.split()), answer, pq.read_table(tmp_path / name / "trials.parquet").to_pandas()

    return launch


@pytest.mark.slow
def test_functions_in_own_layers_make_one_pack_for_all_rates(launch, tmp_path):
    (tmp_path / "layers.py").write_text(makers.LAYERS)
    rates = "pretrain.optimizer.learning_rate=0.001,0.002,0.004,0.008,0.016"
    options = ["--encoder.layers", f"{tmp_path / 'layers.py'}:given", "--sweep", rates, "--pretrain.epochs", 1]
    out, *_ = launch(makers.pictures(), "geron", *options, "--seeds", 2, "--dry-run")
    assert re.search(r"^pretrain/0 +1 +10 ", out, re.MULTILINE), out


@pytest.mark.slow
def test_arms_at_chance_are_not_judged_and_have_no_speed(launch):
    relu = ["--encoder.layers", 10, 10, "--encoder.activation", "relu", "--pretrain.optimizer.learning-rate", 1]
    brief = ["--finetune.labels", 300, "--finetune.epochs", 10, "--seeds", 6, "--data.validation", 100]
    out, answer, _ = launch(makers.unrelated(), "geron", *relu, *brief, "--sweep", "finetune.frozen_layers=2")
    (compared,) = answer["comparisons"]
    assert compared["both_at_chance"] and compared["verdict"] == "inconclusive" and compared["speed"] is None
    assert not re.search(r"helps|hurts|times the updates", out), out


@pytest.mark.slow
def test_chance_is_that_of_the_metric_where_a_class_is_rare(launch):
    options = [*SMALL, "--encoder.layers", 8, "--seeds", 3, "--study.metric", "balanced_accuracy"]
    out, *_ = launch(makers.rare(), *options)
    assert "at chance, 0.500" in out and "most frequent class" not in out
    _, _, weighed = launch(makers.rare(), *options, "--finetune.class-weights", "balanced", "--finetune.labels", 0)
    assert weighed.test_balanced_accuracy.max() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("n", [49, 50, 96, 150])
def test_a_verdict_says_after_how_many_updates_unless_all_arms_have_levelled_off(n, launch):
    brief = ["--encoder.layers", 6, 4, "--seeds", 6]
    out, *_ = launch(makers.few(n), "geron", *brief, "--pretrain.epochs", 1, name="geron")
    assert re.search(r"after \d+ updates", out.partition("Accuracy,")[0]), out
    out, *_ = launch(makers.few(n), *SMALL, *brief, name="asked")
    verdict, _, basis = out.partition("Accuracy,")
    levelled = "validation loss has levelled off in all" in basis
    assert levelled != bool(re.search(r"after [\d,]+( and [\d,]+)? updates", verdict)), out


@pytest.mark.slow
def test_a_pool_from_elsewhere_moves_no_baseline(launch):
    made = makers.other_instrument()
    alone = {name: made[name] for name in ("X", "y")}
    options = ["geron", "--encoder.layers", 8, "--seeds", 2, "--pretrain.epochs", 1, "--finetune.labels", 60]
    scores = {}
    for name, arrays in (("pool", made), ("alone", alone)):
        _, _, trials = launch(arrays, *options, "--finetune.frozen-layers", 0, name=name)
        of_he = trials[trials["finetune.encoder_init"] == "he"].sort_values("seed")
        scores[name] = of_he[["test_loss", "test_r2", "validation_loss"]]
    assert len(scores["pool"]) == 2 and scores["pool"].equals(scores["alone"].set_index(scores["pool"].index))

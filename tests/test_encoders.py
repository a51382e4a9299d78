"""Encoders of other layers than the seed's, launched as users do: of another depth, of convolutions, of their own."""

import json
import re

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.study import from_store
from pretrain.study import results as finished
from tests.launching import call, contents

BRIEF = ["--seeds", "1", "--finetune.epochs", "1"]
OWN = '''
import flax.linen as nn


class Block(nn.Module):
    """A residual block with layer normalisation."""

    features: int

    @nn.compact
    def __call__(self, inputs):
        values = nn.LayerNorm()(nn.Conv(self.features, (3, 3))(inputs))
        shortcut = nn.Conv(self.features, (1, 1), use_bias=False)(inputs)
        return nn.relu(0.5 * values + shortcut)


class Pooled(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.relu(nn.Dense(8)(inputs.reshape(len(inputs), -1)))


def layers():
    return [Block(2), Pooled()]
'''


def launched(site, name, path, *layers, more=()):
    """A launch in a directory with an encoder of some layers; returns it and the run's directory."""
    options = [*site.at(name), *BRIEF, "--encoder.layers", *layers, *more]
    done = call(site.argv(*options), path)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    return done, site.path / f"{name}-run"


def captions(run):
    """The captions of a report's figures, by name."""
    page = (run / "report.html").read_text()
    return dict(re.findall(r'<figure id="figure-(\w+)".*?<figcaption>(.*?)</figcaption>', page, re.DOTALL))


def trained(run, depth):
    """The trials of a run, of which each is sound, after checking their stages and what is frozen."""
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    corners = [(row["finetune.encoder_init"], row["finetune.frozen_layers"]) for row in trials]
    assert corners == [(init, frozen) for init in ("pretrained", "he") for frozen in (depth, 0)]
    stages = pq.read_table(run / "stages.parquet").to_pylist()
    mine = [row["stage"] for row in stages if row["trial_id"] == trials[0]["trial_id"]]
    assert mine == [*(f"pretrain/{layer}" for layer in range(depth)), "finetune"]
    for row in trials:
        assert row["status"] in ("ok", "collapsed") and 0 <= row["test_accuracy"] <= 1
        is_pretrained = row["finetune.encoder_init"] == "pretrained"
        assert (row["pretrain_test_mse"] is not None) == is_pretrained
    return trials


def test_what_is_frozen_follows_the_depth(site, first, tmp_path):
    done, run = launched(site, "shallow", tmp_path, "100")
    trials = trained(run, 1)
    assert re.search(r"^pretrained +1 ", done.stdout, re.MULTILINE)
    params = [from_store.load_params(run, row["trial_id"])["encoder"]["layers_0"]["kernel"] for row in trials[:2]]
    before = from_store.load_params(run, trials[0]["trial_id"], "pretrain/0")["encoder"]["layers_0"]["kernel"]
    assert before.shape == (36, 100)
    np.testing.assert_array_equal(params[0], before)
    assert (params[1] != before).any()


def test_convolutions_are_trained_sampled_and_reported(site, first, tmp_path):
    _, run = launched(site, "convolutions", tmp_path, "4c3s2", "12")
    trained(run, 2)
    left = finished.load_samples(run)
    assert (left.n_layers, left.n_units) == (2, 4)
    kernel = from_store.load_params(run, left.trial_id, "pretrain/1")["encoder"]["layers_0"]["kernel"]
    assert kernel.shape == (3, 3, 1, 4)
    np.testing.assert_array_equal(left.filters, np.moveaxis(kernel, -1, 0))
    assert left.images.shape == left.reconstructions.shape == (3, 6, 6, 1)
    reported = captions(run)
    assert {"filters", "reconstructions", "phase_losses"} <= reported.keys()
    assert (
        "first 4 of 4 features" in reported["filters"]
        and "3 x 3 pixels that each reads at a time" in reported["filters"]
    )
    assert "up through 2 layers" in reported["reconstructions"]
    answer = json.loads((run / "answer.json").read_text())
    assert answer["experiment"]["encoder"]["layers"] == ["4c3s2", 12]
    again, _ = launched(site, "convolutions", tmp_path, "4c3s2", "12")
    assert "4 trials, 0 of 6 stages run" in again.stdout and again.stderr == ""


@pytest.fixture(scope="module")
def own(site, first, tmp_path_factory):
    """A run of a user's own layers, which lie where it was launched."""
    path = tmp_path_factory.mktemp("own")
    (path / "my_layers.py").write_text(OWN)
    done, run = launched(site, "own", path, "my_layers.py:layers")
    return done, run


def test_layers_of_ones_own_are_trained_and_reported(own):
    done, run = own
    trained(run, 2)
    assert re.search(r"^from scratch \(He\) +2 ", done.stdout, re.MULTILINE)
    left = finished.load_samples(run)
    assert left.n_layers == 2 and left.filters.shape == (0, 6, 6, 1) and left.images.shape == (3, 6, 6, 1)
    reported = captions(run)
    assert "filters" not in reported and {"reconstructions", "phase_losses"} <= reported.keys()
    assert "up through 2 layers" in reported["reconstructions"]
    assert not list((run / "figures").glob("filters.*"))
    params = from_store.load_params(run, left.trial_id)["encoder"]["layers_0"]
    assert params["LayerNorm_0"]["scale"].shape == (2,)


def test_layers_of_ones_own_are_found_by_what_they_compute(own, site, tmp_path):
    _, run = own
    before = contents(run)
    # The same file elsewhere, with other words in it.
    (tmp_path / "my_layers.py").write_text(OWN.replace("values", "sums").replace("A residual", "One"))
    again, _ = launched(site, "own", tmp_path, "my_layers.py:layers")
    assert "4 trials, 0 of 6 stages run" in again.stdout
    assert re.fullmatch(r"layer 0, Block, .* has no method decoder\(shape\): .*\n", again.stderr)
    assert {name: held for name, held in contents(run).items() if name != ".lock"} == {
        name: held for name, held in before.items() if name != ".lock"
    }
    (tmp_path / "my_layers.py").write_text(OWN.replace("0.5", "0.6"))
    dry, _ = launched(site, "own", tmp_path, "my_layers.py:layers", more=["--dry-run"])
    assert dry.stdout.splitlines()[-1].startswith("6 of 6 stages would run: 6 another program")

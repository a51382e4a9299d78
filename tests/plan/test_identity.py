"""Stages are named by what they compute, with all that decides it, and by nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, to_json
from pretrain.learn import program
from pretrain.learn.layers import ACTIVATIONS
from pretrain.plan import definitions, identity
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import plan
from pretrain.plan.stages import specs
from tests.small_sweep import FINGERPRINTS, of_kind, path

ROOT = Path(__file__).parents[2]

VARIED = {  # settings of plans with every kind of stage
    "corners": {},
    "convolutions": {
        "encoder": {"layers": ("3c3s2", 5)},
        "pretrain": of_kind("autoencoder", corruption="masking", tied=False),
        "finetune": {"codes": "whitened", "frozen_layers": 1},
    },
    "machines": {
        "encoder": {"activation": "sigmoid"},
        "pretrain": {"training": "greedy_then_end_to_end", "carry_step_count": True, **of_kind("rbm", persistent=True)},
        "sweep": ({"finetune.encoder_init": ("rotated", "pca"), "finetune.readout": ("ridge", "knn")},),
    },
    "labels": {
        "pretrain": of_kind("supervised"),
        "finetune": {"label_subset": "balanced", "head_init": "ridge", "first_logit_change": 0.5, "diagnose_at": (1,)},
    },
}


def experiments(experiment, names=VARIED):
    return [experiment(seeds=1, **VARIED[name]) for name in names]


def planned_by(fingerprint, found):
    return plan(found, data.load_all(found), fingerprint)


def programs(found):
    return {job.id: job.program for job in found.jobs.values()}


OF_ANOTHER = """
import json, sys
from pretrain import data
from pretrain.config import from_json
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import plan

found, fingerprint = {}, Fingerprints()
for text in json.load(sys.stdin):
    experiment = from_json(text)
    jobs = plan(experiment, data.load_all(experiment), fingerprint).jobs.values()
    found |= {job.id: job.program for job in jobs}
print(json.dumps(found))
"""


@pytest.mark.parametrize("names", [("machines", "labels"), pytest.param(VARIED, marks=pytest.mark.slow)], ids=len)
def test_fingerprints_are_the_same_in_another_process(names, experiment, tmp_path):
    expected = {}
    for found in experiments(experiment, names):
        expected |= programs(planned_by(FINGERPRINTS, found))
    # Another hash of strings, another directory, one device in the place of two, and other plans traced before.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7", "JAX_NUM_CPU_DEVICES": "1"}
    asked = json.dumps([to_json(found) for found in reversed(experiments(experiment, names))])
    command = [sys.executable, "-c", OF_ANOTHER]
    done = subprocess.run(command, input=asked, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


def test_parts_that_stages_share_are_those_that_each_has_alone(experiment):
    # So that a remembered part is never another stage's.
    for found in experiments(experiment):
        datasets = data.load_all(found)
        for point in found.points:
            stages = specs(point.settings, datasets)
            for spec, parent in zip(stages, [None, *(one.stage for one in stages)], strict=False):
                asked = spec, parent, datasets[spec.data]
                assert Fingerprints()(*asked) == FINGERPRINTS(*asked), spec.stage.name


def anew():
    """Fingerprints of code that may have changed within this process."""
    for traced in (program.begin, program.advance, program.finish):  # other traces are of no stage, and stay
        traced.clear_cache()
    program._outputs.cache_clear()
    return Fingerprints()


def test_what_an_activation_computes_is_part_of_the_stages_that_have_it(experiment, dataset, monkeypatch):
    of_pretraining = ({"finetune.encoder_init": ("pretrained",)},)
    found = experiment(of_pretraining, seeds=1, per_layer={"encoder.activation": ("relu", "elu")})

    def path_of_programs():
        return [job.program for job in path(plan(found, {found.data: dataset}, anew()))]

    before = path_of_programs()
    elu = ACTIVATIONS["elu"]
    monkeypatch.setitem(ACTIVATIONS, "elu", lambda sums: elu(sums))
    assert path_of_programs() == before
    monkeypatch.setitem(ACTIVATIONS, "elu", lambda sums: elu(sums, 0.9))
    lowest, *changed = path_of_programs()
    assert lowest == before[0] and not {*changed} & {*before}
    monkeypatch.undo()
    anew()


def test_numbers_and_seeds_share_a_program_and_choices_have_their_own(planned):
    numbers = {
        "finetune.l2": (0.0, 0.1),
        "finetune.optimizer.learning_rate": (0.1, 0.2),
        "finetune.rate_factor": (1.0, 0.5),
        "pretrain.optimizer.epsilon": (1e-8, 1e-4),
    }
    assert len({job.program for job in planned(sweep=(numbers,), seeds=2).jobs.values()}) == 3
    for name, values in {
        "finetune.head_init": ("random", "zero", "ridge"),
        "finetune.codes": ("raw", "standardised", "whitened"),
        "finetune.encoder_init": ("he", "pretrained", "matched"),
        "finetune.first_logit_change": (0.0, 0.5),
        "finetune.fresh_layers": (0, 1),
        "finetune.sampling": ("epoch", "fresh"),
        "finetune.label_subset": ("first", "random", "balanced"),
        "finetune.diagnose_at": ((), (1,)),
    }.items():
        jobs = planned(sweep=({name: values},)).jobs.values()
        assert len({job.program for job in jobs if job.stage.stack.head is not None}) == len(values), name


def test_a_stage_is_named_by_the_parts_of_a_dataset_that_it_reads(experiment, tiny_arrays, tmp_path):
    def ids(per_layer=None, **changed):
        file = tmp_path / f"{len(list(tmp_path.iterdir()))}.npz"
        np.savez(file, **{**tiny_arrays, **changed})
        own = experiment(sweep=(), seeds=1, per_layer=per_layer or {})
        config = DataConfig(name=str(file), validation=60)
        dataset = data.load(config)
        return [job.id for job in path(plan(own, {own.data: dataset}, FINGERPRINTS))]

    def renamed(per_layer=None, **changed):
        both = zip(ids(per_layer), ids(per_layer, **changed), strict=True)
        return [before != after for before, after in both]

    labels, images = tiny_arrays["train_labels"], tiny_arrays["train_images"].copy()
    images[-1, 0, 0] ^= 1
    supervised = {"pretrain.method.kind": ("autoencoder", "supervised")}
    fewer = {"test_images": tiny_arrays["test_images"][:50], "test_labels": tiny_arrays["test_labels"][:50]}
    other_tests = {"test_images": tiny_arrays["test_images"] ^ 1}
    assert renamed() == renamed(supervised) == [False, False, False]
    assert renamed(**fewer) == renamed(**other_tests) == [False, False, True]
    assert renamed(supervised, **fewer) == renamed(supervised, **other_tests) == [False, False, True]
    assert renamed(train_labels=labels[::-1].copy()) == [False, False, True]
    assert renamed(supervised, train_labels=labels[::-1].copy()) == [False, True, True]
    assert renamed(train_images=images) == renamed(supervised, train_images=images) == [True, True, True]
    # Nor does how many classes there are name a stage that reads no labels.
    more = np.where(np.arange(len(labels)) == len(labels) - 1, 9, labels)
    assert renamed(train_labels=more) == [False, False, True]


def test_modules_that_are_equal_but_for_a_numbers_type_are_not_one(tmp_path, monkeypatch, experiment, dataset):
    source = (
        "import flax.linen as nn\n\n\nclass Power(nn.Module):\n    by: float\n\n    @nn.compact\n"
        "    def __call__(self, inputs):\n        return nn.Dense(3)(inputs) ** self.by\n\n\n"
        "def whole():\n    return Power(3)\n\n\ndef real():\n    return Power(3.0)\n"
    )
    (tmp_path / "power.py").write_text(source)
    monkeypatch.chdir(tmp_path)

    def programs(*words):
        sweep = ({"encoder.layers": tuple((f"power.py:{word}",) for word in words)},)
        found = plan(experiment(sweep=sweep, seeds=1), {experiment().data: dataset}, Fingerprints())
        return [found.jobs[trial.jobs[0]].program for trial in found.trials]

    assert len(set(programs("whole", "real"))) == 2
    assert programs("whole", "real") == [*programs("whole"), *programs("real")] == programs("real", "whole")[::-1]


def test_settings_of_jax_that_change_draws_change_every_name(experiment, dataset):
    found = experiment(seeds=1)
    plain = plan(found, {found.data: dataset}, Fingerprints())
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        other = plan(found, {found.data: dataset}, Fingerprints())
    assert not set(plain.jobs) & set(other.jobs)
    assert {job.settings_id for job in plain.jobs.values()} == {job.settings_id for job in other.jobs.values()}


def test_a_fit_on_the_host_is_named_by_its_definition_and_by_its_packages(planned, monkeypatch):
    stage, *others = (
        path(planned(finetune={"readout": readout, "encoder_init": "none"}, sweep=()))[-1].stage
        for readout in ("trees", "none", "logistic")
    )
    assert [identity.on_host(other) for other in others] == ["", ""]

    def last():
        return identity.on_host(stage)

    versions = {"scikit-learn": "1.9.1"}
    monkeypatch.setattr(identity, "version", versions.get)
    before = last()
    assert before == last() != ""
    versions["scikit-learn"] = "1.9.2"
    assert last() != before
    versions["scikit-learn"] = "1.9.1"
    plain = definitions.digest_of
    for altered in ("fit", "fitted"):  # the fit, and what hands it its rows
        monkeypatch.setattr(definitions, "digest_of", lambda _, name, of=altered: name == of or plain(_, name))
        assert last() != before

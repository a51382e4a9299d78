"""Stages are named by what they compute: arithmetic renames them, and how code is written does not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain import data
from pretrain.config import DataConfig, to_json
from pretrain.config.fields import ConfigError
from pretrain.learn.layers import ACTIVATIONS
from pretrain.sweep import identity
from pretrain.sweep.identity import Fingerprints
from pretrain.sweep.plan import plan
from pretrain.sweep.program_lines import lines_of
from pretrain.sweep.stages import specs
from tests.sweep.conftest import FINGERPRINTS, of_kind, path

ROOT = Path(__file__).parents[2]

# A program with everything that code may hold a number in.
SOURCE = """
import jax
import jax.numpy as jnp
import numpy as np

TABLE = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)


@jax.jit
def halved(values):
    return values * 0.5


@jax.custom_vjp
def clipped(values):
    return jnp.clip(values, -3, 3)


def forwards(values):
    return clipped(values), values


def backwards(values, slopes):
    return (slopes * 0.9,)


clipped.defvjp(forwards, backwards)


def program(kernel, images):
    def activate(sums):
        return jnp.tanh(sums)

    def loss(kernel):
        sums = clipped(images @ kernel + TABLE[0][None])
        codes = activate(sums) * 2.0 + halved(sums)
        noise = jax.random.normal(jax.random.key(0), codes.shape)

        def step(total, row):
            return total + jnp.sum(row @ TABLE), None

        total, _ = jax.lax.scan(step, 0.0, codes - noise)
        return jax.lax.cond(total > 1.5, lambda: total, lambda: total - 1.0)

    return jax.grad(loss)(kernel)
"""
ABSTRACT = jax.ShapeDtypeStruct((5, 8), jnp.float32), jax.ShapeDtypeStruct((3, 5), jnp.float32)

SAME = {
    "a comment and empty lines": ("def program", "# A comment.\n\n\ndef program"),
    "a docstring": ("    def activate(sums):\n", '    """Says nothing."""\n    def activate(sums):\n'),
    "a local variable": ("sums", "totals"),
    "an inner function": ("activate", "squashed"),
    "a jitted function": ("halved", "by_two"),
    "a function with a derivative of its own": ("clipped", "bounded"),
    "a rule of it": ("backwards", "pulled_back"),
    "a global constant": ("TABLE", "NUMBERS"),
    "the body of a loop": ("step", "one"),
    "a helper made": (
        "        codes = activate",
        "        product = lambda: activate(sums) * 2.0\n        codes = activate",
    ),
    "a helper moved": (
        "def program(kernel, images):\n    def activate(sums):\n        return jnp.tanh(sums)\n",
        "def activate(sums):\n    return jnp.tanh(sums)\n\n\ndef program(kernel, images):\n",
    ),
}
OTHER = {
    "a constant": ("* 2.0", "* 2.1"),
    "a constant in a jitted function": ("* 0.5", "* 0.6"),
    "a constant in a rule": ("* 0.9", "* 0.8"),
    "a constant in a branch": ("- 1.0", "- 1.1"),
    "the condition of a branch": ("> 1.5", "> 1.6"),
    "a bound": ("-3, 3", "-3, 4"),
    "an activation": ("jnp.tanh", "jax.nn.sigmoid"),
    "the order of operations": ("activate(sums) * 2.0", "activate(sums * 2.0)"),
    "the order of operands": ("total + jnp.sum(row @ TABLE)", "jnp.sum(row @ TABLE) + total"),
    "a sign": ("codes - noise", "codes + noise"),
    "an array": ("linspace(0, 1", "linspace(0, 2"),
    "a value of an array": ("reshape(8, 8)", "reshape(8, 8)\nTABLE[7, 7] = 0.5"),
    "the key of a draw": ("key(0)", "key(1)"),
    "a draw": ("random.normal", "random.uniform"),
    "a precision": ("images @ kernel", "jnp.dot(images, kernel, precision='highest')"),
    "where a loop starts": ("step, 0.0", "step, 0.5"),
    "the way of a loop": ("codes - noise)", "codes - noise, reverse=True)"),
}


def lines(function, *inputs):
    return list(lines_of(jax.make_jaxpr(function)(*inputs)))


def of_source(source):
    found = {}
    exec(compile(source, "somewhere.py", "exec"), found)
    return lines(found["program"], *ABSTRACT)


def edited(old, new):
    assert old in SOURCE
    return SOURCE.replace(old, new)


@pytest.mark.parametrize("edit", SAME)
def test_code_that_is_renamed_moved_or_commented_is_the_same_program(edit):
    assert of_source(edited(*SAME[edit])) == of_source(SOURCE)


@pytest.mark.parametrize("edit", OTHER)
def test_arithmetic_that_is_changed_is_another_program(edit):
    assert of_source(edited(*OTHER[edit])) != of_source(SOURCE)


def test_operands_have_places_and_variables_have_not():
    left, right = jnp.ones(3), jnp.ones(3)
    assert lines(lambda a, b: a - b, left, right) == lines(lambda b, a: b - a, left, right)
    assert lines(lambda a, b: a - b, left, right) != lines(lambda a, b: b - a, left, right)
    assert lines(lambda a, b: (a, b), left, right) != lines(lambda a, b: (b, a), left, right)


@pytest.mark.parametrize("wrap", [lambda function: function, jax.jit, jax.checkpoint, jax.vmap])
def test_arrays_that_a_program_closes_over_count_by_value(wrap):
    def adding(array):
        return lines(wrap(lambda values: values + array), jax.ShapeDtypeStruct((3, 500), jnp.float32))

    array = np.arange(500, dtype=np.float32)
    changed = array.copy()
    changed[250] += 1  # where a printed array would have an ellipsis
    if wrap is not jax.vmap:
        array, changed = array[None], changed[None]
    for kind in (np.asarray, jnp.asarray):
        assert adding(kind(array)) == adding(kind(array.copy()))
        assert adding(kind(array)) != adding(kind(changed))
    assert adding(array) != adding(array.astype(np.float16))


def test_shapes_and_types_are_distinguished():
    doubled = lambda values: values * 2
    kinds = [((3,), jnp.float32), ((4,), jnp.float32), ((3, 1), jnp.float32), ((3,), jnp.int32)]
    found = {tuple(lines(doubled, jax.ShapeDtypeStruct(*kind))) for kind in kinds}
    assert len(found) == len(kinds)


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
from pretrain.sweep.identity import Fingerprints
from pretrain.sweep.plan import plan

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
    jax.clear_caches()
    identity._begun.cache_clear()
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
        assert len({job.program for job in jobs if job.stage.is_last}) == len(values), name


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


def test_a_program_that_calls_python_has_no_name():
    def program(values):
        return jax.pure_callback(np.sin, jax.ShapeDtypeStruct((3,), jnp.float32), values)

    traced = jax.make_jaxpr(program)(jnp.ones(3))
    with pytest.raises(ConfigError, match=r"pure_callback.*write it in JAX"):
        list(lines_of(traced))


def test_settings_of_jax_that_change_draws_change_every_name(experiment, dataset):
    found = experiment(seeds=1)
    plain = plan(found, {found.data: dataset}, Fingerprints())
    with jax.threefry_partitionable(not jax.config.jax_threefry_partitionable):
        other = plan(found, {found.data: dataset}, Fingerprints())
    assert not set(plain.jobs) & set(other.jobs)
    assert {job.settings_id for job in plain.jobs.values()} == {job.settings_id for job in other.jobs.values()}

"""A trial that draws one source of variation anew: what changes in it, and what it shares with others."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import StudyConfig
from pretrain.learn import start
from pretrain.learn.randomness import Purpose, VariationSource, key_for
from pretrain.learn.stack import fresh_layer
from pretrain.plan import arrays, redraws
from pretrain.plan.plan import packs
from pretrain.plan.plan import plan as plan_all
from tests.small_sweep import FINGERPRINTS, of_kind, run_all

SOURCES = tuple(source.name.lower() for source in VariationSource)
PAIR = {"finetune.encoder_init": ("pretrained", "he")}


@pytest.fixture(scope="module")
def redrawing(experiment, dataset):
    """Returns a function that plans a small experiment whose sources of variation are drawn anew."""

    def make(sweep=(PAIR,), seeds=2, **settings):
        found = experiment(sweep=sweep, seeds=seeds, **settings)
        found = dataclasses.replace(found, study=dataclasses.replace(found.study, variation=True))
        return plan_all(found, {found.data: dataset}, FINGERPRINTS)

    return make


@pytest.fixture(scope="module")
def random_labels(redrawing):
    return redrawing(finetune={"label_subset": "random", "labels": 60})


def seeds_by_stage(plan, trial):
    return {plan.jobs[job].stage.name: plan.jobs[job].seed for job in trial.jobs}


def draws(plan, dataset, job):
    """What a fine-tuning draws: its encoder's layers, its labelled rows, its head, and a batch's places."""
    stage, seed = plan.jobs[job].stage, jnp.array(plan.jobs[job].seed, jnp.uint32)
    examples = arrays.examples_of(stage, dataset)
    return {
        "pretraining": [fresh_layer(stage.stack, layer, seed)["encoder"] for layer in range(len(stage.stack.layers))],
        "labels": start.labelled_rows(seed, examples, stage.rows.subset),
        "head": start.fresh_head(stage.stack, seed),
        "batches": [stage.rows.of_update(seed, update) for update in range(3)],
    }


def same(one, other):
    leaves = zip(*map(jax.tree.leaves, (one, other)), strict=True)
    return all(np.array_equal(*pair, equal_nan=True) for pair in leaves)


def test_every_source_is_drawn_anew_beside_every_trial(random_labels):
    compared, redrawn = random_labels.compared, random_labels.redrawn
    assert [trial.redrawn for trial in redrawn.trials] == [source for source in SOURCES for _ in compared.trials]
    for source in SOURCES:
        those = [trial for trial in redrawn.trials if trial.redrawn == source]
        assert [(each.seed, each.point) for each in those] == [(each.seed, each.point) for each in compared.trials]
    assert len({trial.id for trial in random_labels.trials}) == len(random_labels.trials)


def test_the_trials_that_are_compared_are_those_of_a_run_without_redraws(random_labels, experiment, dataset):
    found = experiment(sweep=(PAIR,), seeds=2, finetune={"label_subset": "random", "labels": 60})
    alone = plan_all(found, {found.data: dataset}, FINGERPRINTS)
    assert random_labels.compared.trials == alone.trials and alone.redrawn.trials == ()
    assert list(random_labels.compared.jobs) == list(alone.jobs)


@pytest.mark.parametrize("source", SOURCES)
def test_a_redraw_changes_the_draws_of_its_source_and_no_other(random_labels, dataset, source):
    """Of a network from scratch, which draws its encoder itself."""
    (base,) = [t for t in random_labels.compared.trials if t.seed == 1 and t.point["finetune.encoder_init"] == "he"]
    (anew,) = [
        each
        for each in random_labels.redrawn.trials
        if (each.redrawn, each.seed, each.point) == (source, 1, base.point)
    ]
    before, after = (draws(random_labels, dataset, trial.jobs[-1]) for trial in (base, anew))
    assert {name for name in before if not same(before[name], after[name])} == {source}


def test_the_encoder_drawn_anew_is_that_of_the_next_seed(random_labels):
    base = {(t.seed, t.point["finetune.encoder_init"]): t for t in random_labels.compared.trials}
    anew = {
        (t.seed, t.point["finetune.encoder_init"]): t
        for t in random_labels.redrawn.trials
        if t.redrawn == "pretraining"
    }
    assert anew[0, "pretrained"].jobs[:-1] == base[1, "pretrained"].jobs[:-1]
    assert seeds_by_stage(random_labels, anew[1, "pretrained"]) == {"pretrain/0": 2, "pretrain/1": 2, "finetune": 1}
    stages = [random_labels.jobs[plan[0, "pretrained"].jobs[-1]].stage for plan in (base, anew)]
    assert stages[0] == stages[1]  # and so trains in one pack with it
    assert random_labels.jobs[anew[0, "he"].jobs[-1]].seed == (1, 0, 0, 0)
    n = len({job for trial in random_labels.trials for job in trial.jobs[:-1]})
    assert n == 3 * 2  # phases of two seeds and of the one after


def test_all_redraws_of_a_stage_train_in_one_program(random_labels):
    by_source = [job for job in random_labels.jobs.values() if job.stage.is_seeded_by_source]
    assert len(by_source) == 2 * 3 + 2 * 4 and len({job.program for job in by_source}) == 2  # of two encoders
    together = packs(random_labels.jobs.values(), (), 1 << 30, 1)
    assert sorted(len(pack.jobs) for pack in together if pack.stage.is_seeded_by_source) == [6, 8]


def test_the_first_rows_are_no_draw_and_neither_are_all_rows(redrawing, dataset):
    for finetune in ({"label_subset": "first"}, {"label_subset": "random", "labels": dataset.n_labelled}):
        assert {trial.redrawn for trial in redrawing(finetune=finetune).redrawn.trials} == {*SOURCES} - {"labels"}


def test_a_read_out_draws_labels_and_encoder_alone_and_keeps_its_program(redrawing):
    plan = redrawing(finetune={"label_subset": "random", "labels": 60, "readout": "ridge"})
    assert {trial.redrawn for trial in plan.redrawn.trials} == {"pretraining", "labels"}
    pretrained = [t for t in plan.trials if t.point["finetune.encoder_init"] == "pretrained" and t.seed == 0]
    assert [plan.jobs[trial.jobs[-1]].seed for trial in pretrained] == [0, 0, 1 << 31]
    assert len({plan.jobs[trial.jobs[-1]].program for trial in pretrained}) == 1


def test_pretraining_that_reads_labels_reads_those_that_are_drawn_anew(redrawing):
    plan = redrawing(finetune={"label_subset": "random", "labels": 60}, pretrain=of_kind("supervised"))
    (anew,) = [
        trial
        for trial in plan.redrawn.trials
        if trial.redrawn == "labels" and trial.seed == 0 and trial.point["finetune.encoder_init"] == "pretrained"
    ]
    assert {plan.jobs[job].seed for job in anew.jobs} == {(0, 1 << 31, 0, 0)}


def test_repeats_have_draws_of_their_own_in_every_redraw(random_labels):
    stage = next(job.stage for job in random_labels.jobs.values() if job.stage.name == "finetune")
    seeds = {
        redraws.redrawn(stage, redraws.seed_of(stage, seed, repeat), VariationSource.HEAD, 1000)
        for seed in range(3)
        for repeat in range(3)
    }
    assert len(seeds) == 9 and all(redraws.usual(each) == each[0] for each in seeds)


def test_equal_seeds_of_all_sources_draw_as_one_seed():
    for purpose in Purpose:
        assert key_for(np.full(len(VariationSource), 7, np.uint32), purpose, 2) == key_for(7, purpose, 2)


def test_a_stage_seeded_by_source_repeats_one_seeded_as_a_whole(experiment, dataset):
    """Bit for bit, so that a redraw differs from its trial by the draw alone."""
    sweep = ({"finetune.encoder_init": ("he",), "finetune.frozen_layers": (0, 1)},)
    found = experiment(seeds=1, sweep=sweep, finetune={"label_subset": "random", "labels": 60, "epochs": 1})
    plan = plan_all(found, {found.data: dataset}, FINGERPRINTS)
    alike = {
        name: dataclasses.replace(
            job,
            stage=dataclasses.replace(job.stage, is_seeded_by_source=True),
            seed=(job.seed,) * len(VariationSource),
        )
        for name, job in plan.jobs.items()
    }
    once, again = (run_all(dataclasses.replace(plan, jobs=jobs), dataset) for jobs in (plan.jobs, alike))
    assert all(same(once[name][:3], again[name][:3]) for name in plan.jobs)


def test_a_split_a_seed_is_drawn_anew_as_that_of_the_next_seed(experiment, dataset):
    found = experiment(sweep=(PAIR,), seeds=3, finetune={"labels": 60})
    found = dataclasses.replace(found, data=dataclasses.replace(found.data, splits="fresh"))
    cuts = [dataclasses.replace(found.data, cut=seed) for seed in range(3)]
    marks = ({name: f"{mark}{cut.cut}" for name, mark in dataset.fingerprints._asdict().items()} for cut in cuts)
    datasets = {
        cut: dataset._replace(fingerprints=dataset.fingerprints._replace(**mark))
        for cut, mark in zip(cuts, marks, strict=True)
    }
    alone = plan_all(found, datasets, FINGERPRINTS)
    plan = plan_all(dataclasses.replace(found, study=StudyConfig(variation=True)), datasets, FINGERPRINTS)
    assert plan.compared.trials == alone.trials
    split = [trial for trial in plan.redrawn.trials if trial.redrawn == "split"]
    assert [(each.seed, each.point) for each in split] == [(each.seed, each.point) for each in alone.trials]
    for trial, base in zip(split, alone.trials, strict=True):
        for job, own in zip(trial.jobs, base.jobs, strict=True):
            assert plan.jobs[job].data.cut == (trial.seed + 1) % 3 and plan.jobs[own].data.cut == trial.seed
            assert plan.jobs[job].seed == plan.jobs[own].seed and plan.jobs[job].stage == plan.jobs[own].stage
    assert len({trial.id for trial in plan.trials}) == len(plan.trials)

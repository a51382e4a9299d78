"""A pack is its trials: each equals itself alone, a diverging one harms no neighbour, one trace serves all."""

import dataclasses

import jax
import numpy as np
import pytest

from pretrain.config.fields import with_values
from pretrain.execute import execute
from pretrain.learn import lanes
from pretrain.plan.plan import Pack, packs
from tests.small_sweep import CORNERS, PROGRAMS, forget_programs, run_all, unwatched
from tests.small_sweep import make_plan as plan

pytestmark = pytest.mark.optimised

MEMORY = 1 << 30
TRACED = {"pretrain.optimizer.learning_rate": (0.01, 0.003), "pretrain.l2": (0.0, 1e-3)}


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_every_trial_of_a_pack_equals_the_trial_alone(corners, outcomes, dataset):
    # Of every stage, the jobs of one seed: alone they run in packs of their own, on one device.
    mine = {job.id: job for job in corners.jobs.values() if job.seed == 1}
    for job in mine.values():
        parents = [outcomes[job.parent][0] if job.parent else None]
        alone = execute.run(Pack(job.stage, (job,)), dataset, parents, unwatched)
        same((alone.params, alone.curves, alone.results), jax.tree.map(lambda leaf: leaf[None], outcomes[job.id][:3]))


def test_how_packs_are_cut_changes_no_bit(corners, outcomes, dataset):
    again = run_all(corners, dataset, memory=0)
    assert again.keys() == outcomes.keys()
    for job, outcome in again.items():
        same(outcome[:3], outcomes[job][:3])


def test_chunks_change_no_bit(corners, outcomes, dataset, monkeypatch):
    monkeypatch.setattr(execute, "_chunks", lambda first, total: [(step, step + 1) for step in range(first, total)])
    job = next(job for job in corners.jobs.values() if job.parent is None and job.stage.name == "finetune")
    again = execute.run(Pack(job.stage, (job, job)), dataset, [None, None], unwatched)
    same(jax.tree.map(lambda leaf: leaf[1], again.params), outcomes[job.id][0])


def test_a_sweep_over_numbers_and_seeds_is_traced_once_a_stage(experiment, dataset):
    forget_programs()
    found = plan(experiment(sweep=(TRACED | CORNERS,), finetune={"epochs": 1}), dataset)
    run_all(found, dataset)
    # Two phases, and fine-tunings of which the frozen layers are a shape, each of them with two starts: in packs of
    # two sizes, since only one of these has pretraining to sweep.
    assert execute.LOOP.n_compiled == 2 + 2 * 2
    assert execute.INIT.n_compiled == 2 + 4


def test_side_by_side_as_on_an_accelerator_trials_come_out_as_one_by_one(corners, outcomes, dataset, monkeypatch):
    monkeypatch.setattr(lanes, "_one_by_one", lambda function, n_trials, trials: jax.vmap(function)(trials))
    # On one device: on two, batched factorizations of jaxlib 0.10 may wait for each other in its thread pool for ever.
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    forget_programs()
    found = run_all(corners, dataset)
    forget_programs()
    for job, outcome in found.items():
        for ours, theirs in zip(jax.tree.leaves(outcome[:2]), jax.tree.leaves(outcomes[job][:2]), strict=True):
            # Where a gradient is all rounding, Adam's step has a sign by chance; but for those, all agree to float32.
            assert np.isclose(ours, theirs, rtol=1e-3, atol=1e-3, equal_nan=True).mean() > 0.98


def test_programs_compiled_ahead_are_the_ones_that_run(corners, dataset):
    forget_programs()
    for pack in packs(corners.jobs.values(), (), MEMORY, 2):
        for compilation in execute.compilations(pack, dataset):
            compilation()
    compiled = [program.n_compiled for program in PROGRAMS]
    run_all(corners, dataset)
    # Two stages of pretraining, and fine-tunings, which start in two ways, and have two programs by the layers that are
    # frozen; their results have one.
    assert [program.n_compiled for program in PROGRAMS] == compiled == [2 + 4, 2 + 2, 2 + 1, 0]


@pytest.mark.parametrize("lane", [0, 1, 2, 3, 4])
def test_a_diverging_trial_is_marked_and_its_neighbours_are_bit_equal(lane, corners, outcomes, dataset):
    jobs = [job for job in corners.jobs.values() if job.stage.name == "pretrain/0"]
    jobs = [*jobs, *jobs][:5]
    sound = jobs[lane]
    optimizer = with_values(sound.config.optimizer, {"learning_rate": 1e30})
    jobs[lane] = dataclasses.replace(sound, config=sound.config._replace(optimizer=optimizer))
    ran = execute.run(Pack(sound.stage, tuple(jobs)), dataset, [None] * 5, unwatched)
    np.testing.assert_array_equal(ran.diverged(), np.arange(5) == lane)
    for other, job in enumerate(jobs):
        if other != lane:
            same(jax.tree.map(lambda leaf, other=other: leaf[other], ran.params), outcomes[job.id][0])


def test_a_diverged_parent_diverges_its_children(corners, dataset):
    job = next(job for job in corners.jobs.values() if job.stage.name == "pretrain/1")
    parent = jax.tree.map(lambda leaf: np.full_like(leaf, np.nan), _params_of(corners, dataset, job.parent))
    ran = execute.run(Pack(job.stage, (job,)), dataset, [parent], unwatched)
    assert ran.diverged().tolist() == [True]


def test_all_updates_are_reported(corners, dataset):
    pack = packs(corners.jobs.values(), (), MEMORY, 2)[0]
    reported = []
    execute.run(pack, dataset, [None] * len(pack.jobs), lambda step, progress: reported.append(step))
    assert reported == sorted(set(reported)) and reported[-1] == pack.stage.n_updates


class Stop(Exception):
    pass


@pytest.mark.parametrize("stop", [1, 7, 19])
@pytest.mark.parametrize("n_devices_before", [1, 2])
def test_a_pack_that_stops_after_any_update_goes_on_to_the_same_bits(
    stop, n_devices_before, corners, outcomes, dataset, monkeypatch
):
    monkeypatch.setattr(execute, "_chunks", lambda first, total: [(step, step + 1) for step in range(first, total)])
    jobs = tuple(job for job in corners.jobs.values() if job.stage.name == "pretrain/1")
    parents, pack = [outcomes[job.parent][0] for job in jobs], Pack(jobs[0].stage, jobs)
    kept = []

    def stopping(step, progress):
        if step == stop:
            kept.append(progress())
            raise Stop

    devices = jax.local_devices()
    monkeypatch.setattr(jax, "local_devices", lambda: devices[:n_devices_before])
    with pytest.raises(Stop):
        execute.run(pack, dataset, parents, stopping)
    monkeypatch.setattr(jax, "local_devices", lambda: devices)
    steps = []
    again = execute.run(pack, dataset, parents, lambda step, progress: steps.append(step), kept[0])
    assert kept[0].step == stop and steps == list(range(stop + 1, pack.stage.n_updates + 1))
    assert again.seconds * len(jobs) > kept[0].seconds > 0
    for lane, job in enumerate(jobs):
        found = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (again.params, again.curves, again.results))
        same(found, outcomes[job.id][:3])


def test_progress_of_another_shape_is_not_gone_on_from(corners, outcomes, dataset):
    job = next(job for job in corners.jobs.values() if job.stage.name == "pretrain/0")
    kept = []
    execute.run(Pack(job.stage, (job, job)), dataset, [None] * 2, lambda step, progress: kept.append(progress()))
    steps = []
    alone = execute.run(
        Pack(job.stage, (job,)), dataset, [None], lambda step, progress: steps.append(step), kept[0]._replace(step=9)
    )
    assert steps[-1] == job.stage.n_updates
    same(jax.tree.map(lambda leaf: leaf[0], alone.params), outcomes[job.id][0])


def test_pretraining_and_fine_tuning_learn(corners, outcomes):
    accuracies = []
    for job in corners.jobs.values():
        _, curves, results, diverged = outcomes[job.id]
        assert not diverged
        if job.stage.name == "finetune":
            assert curves["loss"][-1] < curves["loss"][0]
            accuracies += [results["test_accuracy"], curves["validation_accuracy"][-1]]
        else:
            assert curves["mse"][-3:].mean() < curves["mse"][0]
    assert np.mean(accuracies) > 0.5  # by chance a third


def _params_of(corners, dataset, job_id):
    job = corners.jobs[job_id]
    ran = execute.run(Pack(job.stage, (job,)), dataset, [None], unwatched)
    return jax.tree.map(lambda leaf: leaf[0], ran.params)


def test_ways_to_hand_over_share_a_program_and_come_out_as_alone(experiment, dataset):
    ways = {
        "finetune.codes": ("raw", "standardised"),
        "finetune.head_init": ("random", "ridge"),
        "finetune.first_logit_change": (0.0, 0.5),
    }
    found = plan(experiment(sweep=(ways,), seeds=1, finetune={"epochs": 1, "diagnose_at": (1,)}), dataset)
    forget_programs()
    together = run_all(found, dataset)
    assert execute.LOOP.n_compiled == 3  # two phases, one fine-tuning, whose seven starts are programs of their own
    assert execute.INIT.n_compiled == 2 + 8
    for job in found.jobs.values():
        if job.parent and job.stage.stack.head is not None:
            alone = execute.run(Pack(job.stage, (job,)), dataset, [together[job.parent][0]], unwatched)
            same((alone.params, alone.curves), jax.tree.map(lambda leaf: leaf[None], together[job.id][:2]))


def test_methods_of_a_pack_come_out_as_alone(experiment, dataset):
    methods = {
        "pretrain.method.corruption": ("masking",),
        "pretrain.method.corruption_level": (0.1, 0.4),
        "pretrain.method.tied": (True,),
        "pretrain.method.contractive": (True,),
        "pretrain.method.sparsity": ("l1",),
        "pretrain.method.sparsity_weight": (0.0, 0.01),
    }
    found = plan(experiment(sweep=(methods,), seeds=1, pretrain={"epochs": 1}), dataset)
    forget_programs()
    together = run_all(found, dataset)
    assert execute.LOOP.n_compiled == 3
    for job in found.jobs.values():
        if job.stage.name == "pretrain/1":
            alone = execute.run(Pack(job.stage, (job,)), dataset, [together[job.parent][0]], unwatched)
            same((alone.params, alone.curves), jax.tree.map(lambda leaf: leaf[None], together[job.id][:2]))

"""Experiments become trials, trials share stages, stages become packs."""

import collections
import dataclasses

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from configs.geron import get_config
from pretrain.config import EncoderConfig
from pretrain.config.fields import ConfigError
from pretrain.plan.cost import job_memory
from pretrain.plan.plan import LARGEST_PACK, MAX_PACK, packs
from pretrain.plan.plan import plan as plan_all
from tests.small_sweep import CORNERS, FINGERPRINTS, run_all
from tests.small_sweep import make_plan as plan

MEMORY = 1 << 30


def names(found):
    return collections.Counter(job.stage.name for job in found.jobs.values())


def test_the_corners_of_a_seed_share_their_pretraining(corners):
    assert len(corners.trials) == 12
    assert names(corners) == {"pretrain/0": 3, "pretrain/1": 3, "finetune": 12}
    paths = {(trial.seed, trial.point["finetune.encoder_init"]): trial.jobs[:-1] for trial in corners.trials}
    assert [len(paths[seed, init]) for seed in range(3) for init in ("pretrained", "he")] == [2, 0] * 3


def test_parents_come_before_their_children(corners):
    seen = set()
    for job in corners.jobs.values():
        assert job.parent is None or job.parent in seen
        seen.add(job.id)


def test_ids_are_distinct_and_the_same_in_every_plan(corners, experiment, dataset):
    again = plan(experiment(), dataset)
    assert list(again.jobs) == list(corners.jobs) and again.trials == corners.trials
    assert len({trial.id for trial in corners.trials}) == 12


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"finetune": {"l2": 0.1}}, {"pretrain/0", "pretrain/1"}),
        ({"finetune": {"labels": 40}}, {"pretrain/0", "pretrain/1"}),
        ({"pretrain": {"cache_codes": False}}, {"pretrain/0"}),
        ({"pretrain": {"carry_step_count": True}}, {"pretrain/0"}),
        ({"pretrain": {"l2": 0.1}}, set()),
        ({"pretrain": {"batch_size": 10}}, set()),
    ],
)
def test_a_change_renames_what_it_touches_and_what_follows(change, kept, corners, experiment, dataset):
    changed = plan(experiment(**change), dataset)
    both = changed.jobs.keys() & corners.jobs.keys()
    pretrained = {corners.jobs[job].stage.name for job in both if corners.jobs[job].stage.name != "finetune"}
    assert pretrained == kept


def test_other_images_rename_every_stage(corners, experiment, dataset):
    other = plan(experiment(), dataset._replace(fingerprints=dataset.fingerprints._replace(images="other")))
    assert not other.jobs.keys() & corners.jobs.keys()


def test_a_deeper_stack_reuses_the_stages_below(corners, experiment, dataset):
    deeper = dataclasses.replace(experiment(), encoder=EncoderConfig(layers=(12, 6, 4)))
    shared = plan(deeper, dataset).jobs.keys() & corners.jobs.keys()
    assert collections.Counter(corners.jobs[job].stage.name for job in shared) == {"pretrain/0": 3, "pretrain/1": 3}


def test_sweeping_pretraining_multiplies_its_stages_and_not_those_without_it(experiment, dataset):
    grid = {"pretrain.optimizer.learning_rate": (0.01, 0.001), "finetune.encoder_init": ("pretrained", "he")}
    found = plan(experiment(sweep=(grid,), seeds=2), dataset)
    assert len(found.trials) == 8 and len({trial.id for trial in found.trials}) == 8
    assert names(found) == {"pretrain/0": 4, "pretrain/1": 4, "finetune": 4 + 2}


def test_numbers_and_seeds_share_a_pack_and_starts_and_shapes_do_not(experiment, dataset):
    traced = {"finetune.optimizer.learning_rate": (0.01, 0.001), "finetune.l2": (0.0, 0.1)}
    starts = {"finetune.encoder_init": ("pretrained", "he"), "finetune.label_subset": ("first", "random")}
    found = plan(experiment(sweep=(traced | starts,), seeds=2), dataset)
    cut = packs(found.jobs.values(), (), MEMORY, 2)
    assert [(pack.stage.name, len(pack.jobs)) for pack in cut] == [
        *(("pretrain/0", 2), ("pretrain/1", 2)),
        *[("finetune", 8)] * 4,
    ]
    assert len({pack.stage.updating for pack in cut if pack.stage.name == "finetune"}) == 1  # they share updates
    shapes = plan(experiment(sweep=({"finetune.labels": (40, 80), "finetune.frozen_layers": (0, 1)},)), dataset)
    assert len([pack for pack in packs(shapes.jobs.values(), (), MEMORY, 2) if pack.stage.name == "finetune"]) == 4


def test_packs_are_cut_evenly_to_memory_and_to_devices_and_lose_nothing(experiment, dataset):
    found = plan(experiment(seeds=50), dataset)
    first = next(iter(found.jobs.values()))
    stage = first.stage
    cut = packs(found.jobs.values(), (), 7 * job_memory(first.traced), 2)
    assert collections.Counter(job.id for pack in cut for job in pack.jobs) == dict.fromkeys(found.jobs, 1)
    sizes = [len(pack.jobs) for pack in cut if pack.stage == stage]
    assert max(sizes) <= 6 and max(sizes) - min(sizes[:-1]) == 0
    assert all(len(pack.jobs) <= MAX_PACK for pack in packs(found.jobs.values(), (), 1 << 40, 2))
    # Less memory than one job needs still gives every device one.
    assert {len(pack.jobs) for pack in packs(found.jobs.values(), (), 0, 2)} == {2}


def test_what_is_done_is_left_out(corners):
    done = [job.id for job in corners.jobs.values() if job.stage.name == "pretrain/0"]
    left = packs(corners.jobs.values(), done, MEMORY, 2)
    assert {pack.stage.name for pack in left} == {"pretrain/1", "finetune"}
    assert packs(corners.jobs.values(), corners.jobs, MEMORY, 2) == []


@pytest.mark.parametrize("change", [{"finetune": {"labels": 201}}, {"pretrain": {"batch_size": 201}}])
def test_more_than_the_training_images_is_refused(change, experiment, dataset):
    ((section, fields),) = change.items()
    with pytest.raises(ConfigError, match=rf"{section}\.{next(iter(fields))}: 201 is more than the 200 training rows"):
        plan(experiment(**change), dataset)


def test_one_validation_row_has_no_neighbour_to_watch(experiment, dataset):
    few = dataset._replace(validation=jax.tree.map(lambda rows: rows[:1], dataset.validation))
    with pytest.raises(ConfigError, match=r"pretrain\.watch: 'neighbours' compares validation rows with one another"):
        plan(experiment(pretrain={"watch": ("neighbours",)}), few)


def test_all_layers_frozen_are_reported_as_how_many_they_are(corners, experiment, dataset):
    assert {trial.point["finetune.frozen_layers"] for trial in corners.trials} == {0, 2}
    counted = plan(experiment(({**CORNERS, "finetune.frozen_layers": (2, 0)},)), dataset)
    assert counted.trials == corners.trials and counted.jobs == corners.jobs


def test_another_program_renames_stages_and_neither_their_settings_nor_trials(corners, experiment, dataset):
    def fingerprint(spec, parent, dataset):
        found = FINGERPRINTS(spec, parent, dataset)
        return "other" if spec.stage.name == "pretrain/1" else found

    other = plan_all(experiment(), {experiment().data: dataset}, fingerprint)
    assert names(other) == names(corners)
    # What follows a stage is renamed with it, and nothing else is.
    without = {trial.jobs for trial in corners.trials if trial.point["finetune.encoder_init"] == "he"}
    lowest = {job.id for job in corners.jobs.values() if job.stage.name == "pretrain/0"}
    assert corners.jobs.keys() & other.jobs.keys() == {job for jobs in without for job in jobs} | lowest
    assert [trial.id for trial in other.trials] == [trial.id for trial in corners.trials]
    pairs = list(zip(corners.jobs.values(), other.jobs.values(), strict=True))
    assert all(ours.settings_id == theirs.settings_id and ours.content == theirs.content for ours, theirs in pairs)


def test_the_four_corners_are_those_of_the_default_config():
    assert get_config().sweep == (CORNERS,)


def test_repeats_share_the_pretraining_of_their_seed_and_no_later_draw(experiment, dataset):
    once = plan(experiment(seeds=2), dataset)
    repeated = plan(dataclasses.replace(experiment(seeds=2), repeats=3), dataset)
    assert names(repeated) == {"pretrain/0": 2, "pretrain/1": 2, "finetune": 4 * 2 * 3}
    assert once.jobs.keys() < repeated.jobs.keys()
    assert {trial.id for trial in once.trials} == {trial.id for trial in repeated.trials if trial.repeat == 0}
    assert collections.Counter((trial.seed, trial.repeat) for trial in repeated.trials) == {
        (seed, repeat): 4 for seed in range(2) for repeat in range(3)
    }
    seeds = {repeated.jobs[trial.jobs[-1]].seed for trial in repeated.trials}
    assert len(seeds) == 6


def test_datasets_can_be_swept(experiment, dataset):
    swept = experiment(sweep=({"data.validation": (60, 40), "finetune.encoder_init": ("he",)},), seeds=2)
    datasets = {point.settings.data: dataset for point in swept.points}
    smaller, larger = datasets
    datasets[larger] = dataset._replace(fingerprints=dataset.fingerprints._replace(images="other"))
    found = plan_all(swept, datasets, FINGERPRINTS)
    assert len(found.jobs) == 4
    cut = packs(found.jobs.values(), (), MEMORY, 2)
    assert [(pack.data, len(pack.jobs)) for pack in cut] == [(smaller, 2), (larger, 2)]
    assert {trial.point["data.validation"] for trial in found.trials} == {60, 40}


def test_packs_in_training_stay_together(corners):
    first = [job for job in corners.jobs.values() if job.stage.name == "pretrain/0"]
    begun = (first[2].id, first[0].id)
    cut = packs(corners.jobs.values(), (), MEMORY, 2, begun=[begun])
    sizes = [tuple(job.id for job in pack.jobs) for pack in cut if pack.stage == first[0].stage]
    assert sizes == [begun, (first[1].id,)]
    assert cut[0].stage == first[0].stage
    # If one of them is done meanwhile, the others are cut anew.
    again = packs(corners.jobs.values(), {first[2].id}, MEMORY, 2, begun=[begun])
    assert [len(pack.jobs) for pack in again if pack.stage == first[0].stage] == [2]


@pytest.mark.parametrize(
    ("share", "fewest", "sizes"),
    [(1 / 5, 1, [4] * 15), (1 / 5, MAX_PACK, [60]), (3.0, 1, [2] * 30), (1e-9, 1, [60]), (1 / 63, 1, [30] * 2)],
)
def test_packs_are_of_as_many_trials_as_take_their_seconds(share, fewest, sizes, experiment, dataset):
    found = plan(experiment(sweep=({"finetune.encoder_init": ("he",)},), seeds=60), dataset)
    cut = packs(found.jobs.values(), (), MEMORY, 2, lambda job: share, fewest)
    assert [len(pack.jobs) for pack in cut] == sizes


@settings(max_examples=25, deadline=None)
@given(n=st.integers(1, 3000), share=st.floats(1e-7, 1e3), fewest=st.sampled_from((1, MAX_PACK)))
def test_a_pack_is_within_its_seconds_and_the_largest_size(n, share, fewest, one_job):
    jobs = [dataclasses.replace(one_job, id=str(number)) for number in range(n)]
    cut = packs(jobs, (), 1 << 50, 1, lambda job: share, fewest)
    sizes = [len(pack.jobs) for pack in cut]
    assert sum(sizes) == n and max(sizes) <= max(fewest, min(LARGEST_PACK, max(1, 1 / share)))
    assert len(sizes) <= -(-n // max(fewest, min(LARGEST_PACK, 1 / share / 2)))  # half of the seconds at least


@pytest.fixture(scope="module")
def one_job(corners):
    return next(job for job in corners.jobs.values() if job.stage.name == "finetune")


def test_counted_updates_take_the_place_of_epochs_at_any_number_of_labels(experiment, dataset):
    sweep = ({"finetune.labels": (40, 80), "finetune.epochs": (2, 3)},)
    found = plan(experiment(sweep, finetune={"updates": 7, "encoder_init": "he"}), dataset)
    stages = {job.stage for job in found.jobs.values()}
    assert {stage.n_updates for stage in stages} == {7} and len(stages) == 2  # epochs decide nothing
    for stage in stages:
        assert list(np.flatnonzero(stage.mask("validation_loss")) + 1) == [1, 2, 5, 7]
    outcomes = run_all(found, dataset)
    assert all(curves["loss"].shape == (7,) and not diverged for _, curves, _, diverged in outcomes.values())


def test_a_ridge_penalty_decides_nothing_without_a_fitted_head(experiment, dataset):
    sweep = ({"finetune.head_init": ("random", "ridge"), "finetune.ridge_penalty": (0.01, 0.1)},)
    found = plan(experiment(sweep=sweep, seeds=1), dataset)
    assert len(found.trials) == 4 and sum(job.stage.name == "finetune" for job in found.jobs.values()) == 3


def test_numbers_of_an_objective_that_decide_nothing_split_no_stage(experiment, dataset):
    levels = {"pretrain.method.corruption_level": (0.1, 0.5), "pretrain.method.sparsity_target": (0.1, 0.2)}
    plain = plan(experiment(sweep=(levels,), seeds=1), dataset)
    assert len(plain.trials) == 4 and len(plain.jobs) == 3
    noisy = plan(experiment(sweep=({**levels, "pretrain.method.corruption": ("masking",)},), seeds=1), dataset)
    assert len(noisy.jobs) == 6
    assert len({job.stage for job in noisy.jobs.values()}) == 3  # levels share a program


def test_all_and_the_number_that_it_stands_for_are_one_arm(experiment, dataset):
    sweep = ({"finetune.frozen_layers": (2, "all", 0)},)
    found = plan(experiment(sweep=sweep, seeds=2), dataset)
    assert [trial.point["finetune.frozen_layers"] for trial in found.trials] == [2, 2, 0, 0]
    assert len({trial.id for trial in found.trials}) == 4

"""A stage of more updates goes on from the kept state of a shorter one, to the bits of training at once."""

import dataclasses
import errno
import shutil

import jax
import numpy as np
import pytest

from pretrain.config import AdamConfig, AutoencoderConfig, RbmConfig, StudyConfig
from pretrain.engines import work
from pretrain.plan.plan import packs
from pretrain.plan.plan import plan as plan_all
from pretrain.runs import inventory, preview
from pretrain.store import reuse, states
from pretrain.store.store import Store
from tests.small_sweep import make_plan, of_kind

MEMORY = 1 << 30
KEPT, NOT_KEPT = StudyConfig(keep_states=True), StudyConfig()
SIGMOID = {"layers": (12,), "activation": "sigmoid"}
LENGTHS = {"pretrain": 1, "finetune": 2}  # epochs of the shorter runs, of ten and four updates


def planned(experiment, dataset, section="pretrain", epochs=None, study=KEPT, seeds=2, **settings):
    """The plan of one point whose section trains for a number of epochs."""
    init = "he" if section == "finetune" and not settings.pop("is_pretrained", False) else "pretrained"
    finetune = {"validate_at": (1,), **settings.pop("finetune", {})}
    pretrain = {**settings.pop("pretrain", {})}
    {"pretrain": pretrain, "finetune": finetune}[section]["epochs"] = epochs or LENGTHS[section]
    made = experiment(
        ({"finetune.encoder_init": (init,)},),
        seeds,
        pretrain,
        finetune,
        settings.pop("encoder", {"layers": (12,)}),
        settings.pop("per_layer", None),
    )
    assert not settings
    return make_plan(dataclasses.replace(made, study=study), dataset)


def trained(plan, dataset, store):
    """Trains what a store lacks of a plan; returns the updates made of each stage, by its name."""
    made = {}
    while todo := packs(
        plan.jobs.values(), store.verified(plan.jobs), MEMORY, 2, starts=store.states.starts(plan.jobs.values())
    ):
        for pack in todo:
            steps = []

            def advanced(updates, steps=steps):
                steps.append(updates)

            store.verified({job.parent for job in pack.jobs if job.parent})
            before = store.states.progress(pack)
            work.do(pack, dataset, store, 1e9, advanced, lambda: False, store.save, pytest.fail)
            first = before.step if before else 0
            made.setdefault(pack.stage.name, []).append((len(pack.jobs), first, pack.stage.n_updates))
    return made


def same_stages(plan, one, other):
    """Checks that two stores hold the same of a plan's stages, to the bit."""
    for job in plan.jobs.values():
        kept = []
        for store in (one, other):
            assert store.verified({job.id})
            (record,), (curves,) = store.records([job.id]), store.curves([job.id])
            kept.append((store.params(job.id), curves.to_pydict(), dataclasses.replace(record, seconds=0.0)))
        jax.tree.map(np.testing.assert_array_equal, *(params for params, *_ in kept))
        np.testing.assert_equal(kept[0][1:], kept[1][1:])


def gone_on(tmp_path, dataset, short, long):
    """Trains a short plan, then a long one from its states, and the long one at once; returns what the second made."""
    store, whole = Store(tmp_path / "store", pytest.fail), Store(tmp_path / "whole", pytest.fail)
    trained(short, dataset, store)
    made = trained(long, dataset, store)
    trained(long, dataset, whole)
    same_stages(long, store, whole)
    return made


PRETRAINING = {
    "reconstruction": {},
    "momentum and noise": {"pretrain": {"method": AutoencoderConfig(corruption="masking")}},
    "a machine's chains": {"encoder": SIGMOID, "pretrain": {"method": RbmConfig(persistent=True)}},
    "variational": {"pretrain": {"method": AutoencoderConfig(variational=True)}},
    "labels": {"pretrain": of_kind("supervised")},
    "warm-up": {"pretrain": {"optimizer": AdamConfig(warmup_steps=4)}},
    "early stopping": {"pretrain": {"stop": "validation", "patience": 2, "optimizer": AdamConfig(learning_rate=0.5)}},
}


def slow_but(names, quick):
    """Names as parameters, all but one of slow tests."""
    return [name if name == quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but(PRETRAINING, "a machine's chains"))
def test_pretraining_goes_on_to_the_same_bits(name, experiment, dataset, tmp_path):
    short, long = (planned(experiment, dataset, epochs=epochs, **PRETRAINING[name]) for epochs in (1, 3))
    made = gone_on(tmp_path, dataset, short, long)
    assert made["pretrain/0"] == [(2, short.jobs[short.trials[0].jobs[0]].stage.n_updates, _updates(long, 0))]


FINETUNING = {
    "trainable": {},
    "frozen": {"frozen_layers": "all"},
    "frozen, encoded in each step": {"frozen_layers": 1, "cache_codes": False},
    "early stopping": {"stop": "validation", "patience": 2, "optimizer": AdamConfig(learning_rate=0.3)},
}


@pytest.mark.parametrize("name", slow_but(FINETUNING, "trainable"))
@pytest.mark.parametrize("is_pretrained", slow_but([False, True], False))
def test_fine_tuning_goes_on_to_the_same_bits(name, is_pretrained, experiment, dataset, tmp_path):
    short, long = (
        planned(experiment, dataset, "finetune", epochs, is_pretrained=is_pretrained, finetune=FINETUNING[name])
        for epochs in (2, 6)
    )
    made = gone_on(tmp_path, dataset, short, long)
    assert made == {"finetune": [(2, 8, 24)]}


def _updates(plan, place):
    return plan.jobs[plan.trials[0].jobs[place]].stage.n_updates


@pytest.mark.slow
def test_a_diverged_lane_goes_on_beside_sound_ones(experiment, dataset, tmp_path):
    rates = ({"finetune.encoder_init": ("he",), "finetune.optimizer.learning_rate": (1e-2, 1e38)},)
    short, long = (
        make_plan(dataclasses.replace(experiment(rates, finetune={"epochs": epochs}), study=KEPT), dataset)
        for epochs in (2, 4)
    )
    made = gone_on(tmp_path, dataset, short, long)
    assert made == {"finetune": [(6, 8, 16)]}
    records = Store(tmp_path / "store", pytest.fail).records(list(long.jobs))
    assert sorted(record.is_finite for record in records) == [False] * 3 + [True] * 3


@pytest.mark.slow
def test_more_seeds_train_whole_beside_those_that_go_on(experiment, dataset, tmp_path):
    short, long = (planned(experiment, dataset, "finetune", epochs, seeds=seeds) for epochs, seeds in ((2, 2), (4, 5)))
    made = gone_on(tmp_path, dataset, short, long)
    assert sorted(made["finetune"]) == [(2, 8, 16), (3, 0, 16)]


def test_states_of_several_packs_go_on_as_one(experiment, dataset, tmp_path):
    store, whole = Store(tmp_path / "store", pytest.fail), Store(tmp_path / "whole", pytest.fail)
    for seeds in (1, 3):
        trained(planned(experiment, dataset, "finetune", 2, seeds=seeds), dataset, store)
    long = planned(experiment, dataset, "finetune", 4, seeds=3)
    assert trained(long, dataset, store) == {"finetune": [(3, 8, 16)]}
    trained(long, dataset, whole)
    same_stages(long, store, whole)


@pytest.mark.slow
def test_what_a_pack_passes_leaves_its_state_too(experiment, dataset, tmp_path):
    sweep = ({"finetune.epochs": (2, 6), "finetune.encoder_init": ("he",)},)
    finetune = {"validate_at": (1,)}
    both = make_plan(dataclasses.replace(experiment(sweep, 2, finetune=finetune), study=KEPT), dataset)
    store, whole = Store(tmp_path / "store", pytest.fail), Store(tmp_path / "whole", pytest.fail)
    trained(both, dataset, store)
    for epochs, first in ((4, 8), (7, 24)):
        plan = planned(experiment, dataset, "finetune", epochs, encoder={"layers": (12, 6)})
        assert trained(plan, dataset, store) == {"finetune": [(2, first, 4 * epochs)]}
        trained(plan, dataset, whole)
        same_stages(plan, store, whole)


WHOLE = {
    "a cosine schedule": ({"optimizer": AdamConfig(schedule="cosine")},) * 2,
    "a corruption that falls": ({"method": AutoencoderConfig(corruption="masking", corruption_schedule="linear")},) * 2,
    "another rate": ({}, {"optimizer": AdamConfig(learning_rate=0.02)}),
    "another batch": ({}, {"batch_size": 25}),
    "other measurements": ({}, {"validate_every": 3}),
    "other patience": ({"stop": "validation", "patience": 2}, {"stop": "validation", "patience": 3}),
    "updates, measured after the last": ({"updates": 15}, {"updates": 20}),
}


@pytest.mark.parametrize("name", slow_but(WHOLE, "a cosine schedule"))
def test_a_stage_is_trained_whole_where_its_beginning_is_not_the_shorter_one(name, experiment, dataset, tmp_path):
    before, now = WHOLE[name]
    short = planned(experiment, dataset, pretrain=before)
    long = planned(experiment, dataset, epochs=3, pretrain=now)
    assert gone_on(tmp_path, dataset, short, long)["pretrain/0"] == [(2, 0, _updates(long, 0))]


def test_code_names_a_course_and_its_length_does_not(experiment, dataset):
    def courses(epochs, fingerprint):
        found = dataclasses.replace(experiment(seeds=1, pretrain={"epochs": epochs}), study=KEPT)
        jobs = plan_all(found, {found.data: dataset}, fingerprint).jobs.values()
        assert all(job.course for job in jobs)
        return {job.course for job in jobs}

    first = courses(1, lambda *_: "this code")
    assert len(first) > 2 and first == courses(3, lambda *_: "this code")
    assert first.isdisjoint(courses(1, lambda *_: "another"))


@pytest.mark.slow
def test_a_second_layer_starts_from_another_parent(experiment, dataset, tmp_path):
    short, long = (planned(experiment, dataset, epochs=epochs, encoder={"layers": (12, 6)}) for epochs in (1, 2))
    made = gone_on(tmp_path, dataset, short, long)
    assert {name: first for name, ((_, first, _),) in made.items()} == {
        "pretrain/0": 10,
        "pretrain/1": 0,
        "finetune": 0,
    }


def test_nothing_is_kept_unasked_and_ids_are_the_same(experiment, dataset, tmp_path):
    asked, unasked = (planned(experiment, dataset, study=study) for study in (KEPT, NOT_KEPT))
    assert asked.jobs.keys() == unasked.jobs.keys() and asked.trials == unasked.trials
    store = Store(tmp_path, pytest.fail)
    trained(unasked, dataset, store)
    assert not (tmp_path / "states").exists() and not any(job.course for job in unasked.jobs.values())
    long = planned(experiment, dataset, epochs=2)
    assert not store.states.starts(long.jobs.values())


@pytest.mark.parametrize("file", slow_but(["manifest.json", "arrays/_METADATA", "all"], "arrays/_METADATA"))
def test_a_damaged_state_is_named_and_its_stages_are_trained_whole(file, experiment, dataset, tmp_path):
    warnings = []
    store, whole = Store(tmp_path / "store", pytest.fail), Store(tmp_path / "whole", pytest.fail)
    short, long = (planned(experiment, dataset, "finetune", epochs) for epochs in (2, 4))
    trained(short, dataset, store)
    (state,) = (tmp_path / "store" / "states").iterdir()
    for path in [path for path in state.rglob("*") if path.is_file()] if file == "all" else [state / file]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    store = Store(tmp_path / "store", warnings.append)
    assert trained(long, dataset, store) == {"finetune": [(2, 0, 16)]}
    (line,) = warnings
    assert str(state) in line and "trained whole" in line and not state.exists()
    trained(long, dataset, whole)
    same_stages(long, store, whole)


def test_a_state_that_was_deleted_is_no_damage_and_its_stages_are_trained_whole(experiment, dataset, tmp_path):
    short, long = (planned(experiment, dataset, "finetune", epochs) for epochs in (2, 4))
    store = Store(tmp_path, pytest.fail)
    trained(short, dataset, store)
    assert store.states.starts(long.jobs.values())
    (state,) = (tmp_path / "states").iterdir()
    shutil.rmtree(state)  # as by another process, after this one has found it
    (pack,) = packs(long.jobs.values(), (), MEMORY, 2)
    assert store.states.progress(pack) is None and not store.states.starts(long.jobs.values())


def test_a_state_that_finds_no_room_costs_no_stage(experiment, dataset, tmp_path, monkeypatch):
    def full(draft, progress):
        raise OSError(errno.ENOSPC, "No space left on device", str(draft))

    monkeypatch.setattr(states, "fill", full)
    warnings, plan = [], planned(experiment, dataset, "finetune")
    store = Store(tmp_path, warnings.append)
    trained(plan, dataset, store)
    assert store.verified(plan.jobs) == set(plan.jobs) and not list(tmp_path.glob("states/*"))
    (line,) = warnings
    assert "No space left" in line and "does not go on" in line


def test_a_state_of_another_seed_or_parent_is_not_taken(experiment, dataset, tmp_path):
    store = Store(tmp_path, pytest.fail)
    trained(planned(experiment, dataset, "finetune", 2, is_pretrained=True), dataset, store)
    others = planned(experiment, dataset, "finetune", 4, is_pretrained=True, pretrain={"l2": 0.0})
    assert not store.states.starts(others.jobs.values())
    more = planned(experiment, dataset, "finetune", 4, is_pretrained=True, seeds=3)
    starts = store.states.starts(more.jobs.values())
    assert {more.jobs[job].seed for job in starts} == {0, 1}
    line = reuse.continued(more, reuse.reasons(more, store), store)
    assert line == "2 stages from kept states: 2 of finetune (after 8 of 16 updates)"
    assert preview.states(more, reuse.reasons(more, store)) == "states to keep: 0 MB"
    kept = [entry for entry in inventory.entries(tmp_path, verify=True) if "state" in entry.kind]
    assert sorted((entry.kind, len(entry.stages), entry.fault) for entry in kept) == [
        ("finetune, state", 2, ""),
        ("pretrain/0, state", 2, ""),
    ]
    for entry in kept:
        (entry.path / "arrays" / "_METADATA").unlink()
    damaged = [entry.fault for entry in inventory.entries(tmp_path, verify=True) if entry.fault]
    assert len(damaged) == 2 and all("_METADATA" in fault for fault in damaged)
    assert {entry.path for entry in inventory.prune(tmp_path)[0]} >= {entry.path for entry in kept}

"""Which stored stages a plan takes, and why the others run: read from plans and manifests, with nothing trained."""

import dataclasses

import numpy as np
import pytest

from pretrain.plan.identity import versions
from pretrain.plan.named import job_id
from pretrain.plan.plan import Plan, packs
from pretrain.plan.plan import plan as plan_all
from pretrain.store import reuse
from pretrain.store import store as store_module
from pretrain.store.records import Outcome
from pretrain.store.reuse import NEW, PARENT, PROGRAM, again, chosen, reasons, summary
from pretrain.store.store import Store
from tests.small_sweep import path

OLD = {"jax": "0.0.1", "numpy": "1.0"}


@pytest.fixture
def plan(experiment, dataset):
    """Returns a function that plans a sweep as a code that traces certain programs, by the stage's name, would."""

    def make(code="first", **changed):
        found = experiment(sweep=({"finetune.encoder_init": ("pretrained", "he")},), seeds=2)
        return plan_all(
            found, {found.data: dataset}, lambda spec, parent, _: f"{changed.get(spec.stage.name, code)} {parent}"
        )

    return make


@pytest.fixture
def ignoring(experiment):
    return dataclasses.replace(experiment(), code="ignore")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", pytest.fail)


def save(store, plan, *names):
    """Stores a plan's stages, or those of certain names, as if they had been trained."""
    for pack in packs(plan.jobs.values(), (), 1 << 40, 1):
        if not names or pack.stage.name in names:
            n, curves = len(pack.jobs), {"loss": np.ones((len(pack.jobs), pack.stage.n_updates))}
            store.save(pack, Outcome({"weights": np.ones((n, 2))}, curves, {}, 0.0, np.ones(n, bool), {}))


def reported(plan, found):
    """The reasons by the names of stages, and whether they come after others."""
    return {(plan.jobs[job].stage.name, plan.jobs[job].parent is not None): reason for job, reason in found.items()}


def test_what_is_stored_has_no_reason_to_run(plan, store):
    save(store, plan())
    assert reasons(plan(), store) == {} and again(plan(), {}) is None
    assert summary(plan(), {}) == "0 of 8 stages would run"


def test_what_was_never_stored_is_new(plan, store):
    save(store, plan(), "pretrain/0")
    found = reasons(plan(), store)
    assert reported(plan(), found) == {
        ("pretrain/1", True): NEW,
        ("finetune", True): NEW,
        ("finetune", False): NEW,
    }
    assert again(plan(), found) is None  # nothing runs again
    assert summary(plan(), found) == "6 of 8 stages would run: 6 new settings"


def test_another_program_is_distinguished_from_another_parent(plan, store):
    save(store, plan())
    lowest = plan(**{"pretrain/0": "second"})
    found = reasons(lowest, store)
    assert reported(lowest, found) == {
        ("pretrain/0", False): PROGRAM,
        ("pretrain/1", True): PARENT,
        ("finetune", True): PARENT,
    }
    assert summary(lowest, found) == "6 of 8 stages would run: 2 another program, 4 after a stage that runs again"
    assert again(lowest, found) == (
        "6 stored stages run again: 2 of pretrain/0 (another program), "
        "2 of pretrain/1 (after a stage that runs again), 2 of finetune (after a stage that runs again); "
        "--code ignore takes them as they are"
    )
    last = plan(finetune="second")
    assert reported(last, reasons(last, store)) == {("finetune", True): PROGRAM, ("finetune", False): PROGRAM}


def test_other_versions_are_named_where_the_program_is_another(plan, store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "versions", lambda: OLD)
        save(store, plan())
    # They alone are no reason: the program is the same.
    assert reasons(plan(), store) == {}
    second = plan(**{"pretrain/0": "second"})
    monkeypatch.setattr(reuse, "versions", lambda: {"jax": "0.0.2", "numpy": "1.0"})
    reason = "other versions (jax 0.0.1, now 0.0.2)"
    assert reported(second, reasons(second, store)) == {
        ("pretrain/0", False): reason,
        ("pretrain/1", True): PARENT,
        ("finetune", True): PARENT,
    }
    assert f"2 of pretrain/0 ({reason})" in again(second, reasons(second, store))
    monkeypatch.setattr(reuse, "versions", lambda: {"jax": "0.0.2", "numpy": "2.0"})
    found = reasons(second, store)
    assert set(found.values()) == {"other versions (jax 0.0.1, now 0.0.2; numpy 1.0, now 2.0)", PARENT}
    monkeypatch.setattr(reuse, "versions", lambda: OLD)
    assert set(reasons(second, store).values()) == {PROGRAM, PARENT}


def test_a_pack_records_the_versions_that_made_it(plan, store):
    save(store, plan())
    for job in plan().jobs.values():
        (stored,) = store.with_settings(job.settings_id)
        assert stored == (job.id, job.program, versions(), job.parent)


def test_only_stages_of_the_same_program_are_taken_unless_code_is_ignored(plan, store, experiment, ignoring):
    save(store, plan())
    second = plan("second")
    assert chosen(experiment(), second, store) is second
    taken = chosen(ignoring, second, store)
    assert taken.jobs.keys() == plan().jobs.keys() and reasons(taken, store) == {}
    assert [trial.jobs for trial in taken.trials] == [trial.jobs for trial in plan().trials]
    # Trials are named by their settings, and so their names are the same.
    assert [trial.id for trial in taken.trials] == [trial.id for trial in second.trials]
    for name, job in taken.jobs.items():
        assert job.id == name and (job.parent is None or job.parent in taken.jobs)
        assert job.parent == plan().jobs[name].parent


def test_what_is_not_stored_runs_after_what_was_taken(plan, store, ignoring):
    save(store, plan(), "pretrain/0", "pretrain/1")
    second = plan("second")
    taken = chosen(ignoring, second, store)
    *phases, finetune = path(taken)
    assert [job.id for job in phases] == [job.id for job in path(plan())[:-1]]
    assert finetune.parent == phases[-1].id and finetune.program == path(second)[-1].program
    assert finetune.id == job_id(finetune.content, finetune.seed, finetune.program, finetune.parent)
    # Not as if its pretraining had been trained by this code, nor as if it had been trained by the other.
    assert finetune.id not in {path(second)[-1].id, path(plan())[-1].id}
    assert set(reasons(taken, store)) == {job.id for job in taken.jobs.values() if job.stage.stack.head is not None}
    save(store, taken, "finetune")
    repeated = chosen(ignoring, second, store)
    assert repeated.jobs.keys() == taken.jobs.keys() and reasons(repeated, store) == {}
    # A run that does not ignore code takes none of what came after other code.
    found = reasons(second, store)
    assert found.keys() == {name for name, job in second.jobs.items() if job.parent or job.stage.stack.head is None}


def test_a_stage_of_the_same_program_comes_first(plan, store, ignoring):
    for code in ("second", "first", "third"):
        save(store, plan(code))
    for code in ("first", "second", "third"):
        assert chosen(ignoring, plan(code), store) == plan(code)
    taken = chosen(ignoring, plan("fourth"), store)
    assert reasons(taken, store) == {} and len(taken.jobs) == 8


def test_neither_a_damaged_stage_nor_what_was_trained_from_it_is_taken(plan, store, ignoring):
    save(store, plan())
    victim = next(
        file for file in store.root.glob("packs/*/manifest.json") if '"kind": "pretrain/0"' in file.read_text()
    )
    (victim.parent / "records.json").write_text("")
    faults = []
    opened, second = Store(store.root, faults.append), plan("second")
    taken = chosen(ignoring, second, opened)
    assert len(faults) == 1 and str(victim.parent / "records.json") in faults[0]
    lowest, above, _ = path(taken)
    assert lowest.id == path(second)[0].id and above.id == path(second)[1].id and above.parent == lowest.id
    assert reported(taken, reasons(taken, opened)) == {
        ("pretrain/0", False): NEW,
        ("pretrain/1", True): PROGRAM,
        ("finetune", True): PROGRAM,
    }


def test_a_plan_without_stages_that_run_again_says_nothing(plan):
    nothing = Plan((), {})
    assert again(nothing, {}) is None and summary(nothing, {}) == "0 of 0 stages would run"


def test_chains_are_taken_whole_and_the_newest_first(plan, store, ignoring):
    for code in ("first", "second", "third"):
        save(store, plan(code))
    found = chosen(ignoring, plan("fourth"), Store(store.root, pytest.fail))
    newest = plan("third")
    assert found.jobs.keys() == newest.jobs.keys()
    for job in found.jobs.values():
        assert job.parent == newest.jobs[job.id].parent


def test_a_stage_whose_parent_was_trained_otherwise_is_not_taken(plan, store, ignoring):
    save(store, plan("first"))
    save(store, plan("second"), "pretrain/0")  # whose children are not stored
    found = chosen(ignoring, plan("third"), store)
    taken = {found.jobs[job].stage.name: job for job in found.trials[0].jobs}
    assert taken["pretrain/0"] in plan("second").jobs
    assert not {taken["pretrain/1"], taken["finetune"]} & set(plan("first").jobs)

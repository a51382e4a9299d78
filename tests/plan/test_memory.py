"""The memory of a run is counted by hand, its temporaries are XLA's own, and packs fit in what there is."""

import io

import jax
import pytest
from rich.console import Console

from pretrain.data import room
from pretrain.engines import work
from pretrain.execute import execute
from pretrain.plan import cost, memory
from pretrain.plan.plan import Pack, packs
from pretrain.runs import preview
from pretrain.store.store import Store
from tests.small_sweep import PROGRAMS, forget_programs, make_plan, unwatched

PRETRAINED = {"finetune.encoder_init": ("pretrained",)}
NUMBERS, UPDATES, PIXELS, UNITS = 10, 20, 36, 12  # of the lowest stage
PARAMETERS = 2 * PIXELS * UNITS + UNITS + PIXELS


@pytest.fixture(scope="module")
def plan(experiment, dataset):
    """A plan of 16 seeds of one path of stages."""
    return make_plan(experiment(sweep=(PRETRAINED,), seeds=16), dataset)


@pytest.fixture(scope="module")
def lowest(plan):
    """The jobs of its lowest stage."""
    return tuple(job for job in plan.jobs.values() if job.stage.name == "pretrain/0")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store", warn=pytest.fail)


def run(jobs, dataset, store):
    """Runs jobs as a pack, which is stored, and returns it."""
    pack = Pack(jobs[0].stage, jobs)
    work.do(pack, dataset, store, 1e9, lambda updates: None, lambda: False, store.save, pytest.fail)
    return pack


def previewed(plan, noted):
    """The lines of a preview."""
    out = io.StringIO()
    preview.show(plan, Console(file=out, width=200), noted)
    return out.getvalue().splitlines()


def test_a_trial_takes_its_inputs_its_carry_twice_and_its_outcome_twice(lowest):
    seed, step, curves, digest, errors = 4, 4, 2 * 4 * UPDATES, 4, 2 * 4
    inputs = seed + 4 * NUMBERS
    carry = 3 * 4 * PARAMETERS + step + curves + seed + 4 * NUMBERS + digest
    outcome = 4 * PARAMETERS + curves + errors
    assert cost.job_memory(lowest[0].traced) == inputs + 2 * carry + 2 * outcome


def test_a_run_takes_its_process_its_data_temporaries_and_trials(lowest, dataset):
    job, platform, trial = lowest[0], jax.default_backend(), cost.job_memory(lowest[0].traced)
    examples = 2 * PIXELS * (200 + 60 + 60)  # those of the test are not read by pretraining, and counted as validation
    needs = memory.needs_of(job, {(job.program, platform): 1000}, 2)
    assert needs == (examples, 2000, trial, True)
    parts = memory.parts_of(needs, 3, memory.PROCESS)
    assert parts == (memory.PROCESS, memory.PROCESS - 250_000_000 + examples, 2000, 3 * trial)
    unknown = memory.needs_of(job, {(job.program, "tpu"): 1000}, 2)  # noted on another machine
    assert unknown == (examples, 0, trial, False)


def test_temporaries_of_an_accelerator_are_those_of_its_trials(lowest, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    job, trial = lowest[0], cost.job_memory(lowest[0].traced)
    needs = memory.needs_of(job, {(job.program, "gpu"): 1000}, 2)
    assert needs[1:] == (0, trial + 1000, True)
    assert memory.parts_of(needs, 3, 1 << 40) == (0, needs.examples, 0, 3 * (trial + 1000))


def test_packs_fit_beside_examples_and_temporaries(plan, lowest):
    needs = memory.needs_of(lowest[0], {}, 2)
    room = needs.examples + 7 * needs.trial
    for noted, n_fitting in (({}, 4), ({(lowest[0].program, jax.default_backend()): 5 * needs.trial // 2}, 2)):
        cut = packs(lowest, (), room, 2, noted=noted)
        assert {len(pack.jobs) for pack in cut} == {n_fitting}


def test_temporaries_are_noted_and_read_back_and_nothing_is_compiled_for_them(plan, lowest, dataset, store):
    assert previewed(plan, store.temporaries)[-2].startswith("at least ")
    forget_programs()
    pack = run(lowest[:4], dataset, store)
    n_compiled = [program.n_compiled for program in PROGRAMS]
    noted = execute.temporaries(pack, dataset)
    assert [program.n_compiled for program in PROGRAMS] == n_compiled == [1, 1, 1, 0]
    again = Store(store.root, warn=pytest.fail)
    platform = jax.default_backend()
    seconds = again.temporaries.pop((lowest[0].program, f"{platform} seconds"))
    assert again.temporaries == {(lowest[0].program, platform): noted} and noted > 0 and 0 < seconds < 60
    assert previewed(plan, again.temporaries)[-2].startswith("at least ")  # other stages have not run
    all_noted = {(job.program, jax.default_backend()): 10**9 for job in plan.jobs.values()}
    line = previewed(plan, all_noted)[-2]
    assert line.startswith("at most ") and f", {jax.local_device_count()},000 MB temporaries, " in line


def test_temporaries_of_a_device_are_the_same_in_packs_of_any_size(lowest, dataset, store):
    few, many = (Pack(lowest[0].stage, lowest[:size]) for size in (8, 16))
    for pack in (few, many):
        execute.run(pack, dataset, [None] * len(pack.jobs), unwatched)
    assert execute.temporaries(few, dataset) == pytest.approx(execute.temporaries(many, dataset), rel=0.1)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        ([], 10**12),
        (["max"], 10**12),
        (["3000000000\n"], 3e9),
        (["max", "2000000000"], 2e9),
        (["9223372036854771712"], 10**12),
    ],
    ids=["none", "version 2, none", "version 2", "version 1", "version 1, none"],
)
def test_a_container_limits_what_is_free(limits, expected, tmp_path, monkeypatch):
    files = [tmp_path / "memory.max", tmp_path / "memory.limit_in_bytes"]
    for file, limit in zip(files, limits, strict=False):
        file.write_text(limit)
    monkeypatch.setattr(room, "_LIMITS", files)
    monkeypatch.setattr(room, "taken", lambda: 10**9)
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: type("", (), {"available": 10**12}))
    to_come = memory.PROCESS - 250_000_000
    assert memory.free() == (expected if expected == 10**12 else expected - 10**9) - to_come

"""A pack that does not fit in memory runs in halves, once, and nothing of it is lost."""

import io
import re
from pathlib import Path

import jax
import numpy as np
import pytest

from pretrain.commands.options import console
from pretrain.config.fields import with_values
from pretrain.engines import here, message, remote, work, worker
from pretrain.engines.request import Request
from pretrain.engines.set_aside import reason_of
from pretrain.execute import execute
from pretrain.plan.plan import cut, packs
from pretrain.store import programs
from pretrain.store.store import Store
from tests.small_sweep import make_plan

ERRORS = {
    "bad_alloc": MemoryError("std::bad_alloc"),
    "nothing said": MemoryError(),
    "XLA": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes."),
}
LINE = r"pretrain/0: a pack of {} does not fit in memory"


@pytest.fixture
def small(experiment, dataset, tmp_path):
    """A task of three seeds of one path of stages, and what it prints."""
    own = {"save_every": 0.0, "run_dir": str(tmp_path)}
    found = with_values(experiment(sweep=({"finetune.encoder_init": ("pretrained",)},)), own)
    plan = make_plan(found, dataset)
    out = io.StringIO()
    store = Store(tmp_path / "store", warn=lambda line: out.write(line))
    return Request(found, plan, {found.data: dataset}, store, console(out), lambda: False), out


def fail(monkeypatch, error, fits=1, stage="pretrain/0", after=0):
    """Makes packs of a stage with more jobs than fit fail, after so many chunks; returns sizes and starts of all."""
    run, sizes = execute.run, []

    def ran(pack, dataset, parents, after_chunk, begun=None, *rest):
        if pack.stage.name == stage:
            sizes.append((len(pack.jobs), begun.step if begun else 0))
        chunks = []

        def noted(step, progress):
            after_chunk(step, progress)
            chunks.append(step)
            if pack.stage.name == stage and len(pack.jobs) > fits and len(chunks) > after - 1 >= 0:
                raise error

        if pack.stage.name == stage and len(pack.jobs) > fits and not after:
            raise error
        return run(pack, dataset, parents, noted, begun, *rest)

    monkeypatch.setattr(execute, "run", ran)
    return sizes


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_a_pack_that_does_not_fit_is_cut_in_half(error, small, monkeypatch):
    task, out = small
    sizes = fail(monkeypatch, error, fits=2)
    here.run_here(task)
    assert sizes == [(3, 0), (2, 0), (1, 0)]
    assert task.store.verified(task.plan.jobs) == task.plan.jobs.keys()
    said = [line for line in out.getvalue().splitlines() if "fit in memory" in line]
    assert len(said) == 1 and said[0].startswith(LINE.format("3 trials"))
    assert said[0].endswith("; it is cut in half and run again")


def test_halves_that_do_not_fit_are_set_aside_and_cost_nothing(small, monkeypatch):
    task, out = small
    sizes = fail(monkeypatch, ERRORS["XLA"], fits=1, stage="finetune")
    why = here.run_here(task)
    assert sizes == [(3, 0), (2, 0)]
    (reason,) = set(why.values())
    assert reason.startswith("finetune: a pack of 2 trials does not fit in memory") and len(why) == 3
    assert f"{reason}; the pack is set aside" in out.getvalue()
    stored = task.store.verified(task.plan.jobs)
    assert {task.plan.jobs[job].stage.name for job in stored} == {"pretrain/0", "pretrain/1"} and len(stored) == 6
    monkeypatch.undo()
    assert here.run_here(task) == {}
    assert task.store.verified(task.plan.jobs) == task.plan.jobs.keys()


def test_what_follows_a_half_that_is_stored_is_run(small, monkeypatch):
    task, _ = small
    done = work.train

    def train(pack, *rest):
        if pack.stage.name == "pretrain/0" and len(pack.jobs) != 2:
            raise work.MemoryFault("pretrain/0: too large")
        return done(pack, *rest)

    monkeypatch.setattr(work, "train", train)
    why = here.run_here(task)
    stored = task.store.verified(task.plan.jobs)
    assert len(why) == 3 and len(stored) == 6  # the second half is a seed, of three stages
    assert stored == task.plan.jobs.keys() - why.keys()
    assert len({task.plan.jobs[job].seed for job in why}) == 1


def test_a_single_trial_that_does_not_fit_is_not_run_again(small, monkeypatch):
    task, _ = small
    sizes = fail(monkeypatch, ERRORS["bad_alloc"], fits=0)
    one = make_plan(with_values(task.experiment, {"seeds": 1}), task.datasets[task.experiment.data])
    why = here.run_here(task._replace(plan=one))
    assert why.keys() == one.jobs.keys() and all(re.match(LINE.format("1 trial"), each) for each in why.values())
    assert sizes == [(1, 0)]


def test_another_fault_of_xla_is_none_of_memory_and_has_the_pack_run_once_more(small, monkeypatch):
    task, out = small
    sizes = fail(monkeypatch, jax.errors.JaxRuntimeError("INTERNAL: a fault"))
    why = here.run_here(task)
    assert set(why.values()) == {"pretrain/0: JaxRuntimeError: INTERNAL: a fault"} and len(why) == 9
    assert sizes == [(3, 0), (3, 0)] and out.getvalue().count("; the pack is run again after all others") == 1


def test_the_reason_of_a_callback_is_the_users_own_error():
    of_jax = "INTERNAL: CpuCallback error calling callback: Traceback (most recent call last):\n"
    frames = '  File "/jax/callback.py", line 816, in _wrapped\n    x = 1\n    ^^^\n  File "/own.py", line 9, in read\n'
    for said, reason in {
        f"{of_jax}{frames}ValueError: a sensor: is\n unplugged\n": "ValueError: a sensor: is unplugged",
        f"{of_jax}{frames}own.errors.Unplugged\n": "own.errors.Unplugged",
        "INTERNAL: a fault": "JaxRuntimeError: INTERNAL: a fault",
        "": "JaxRuntimeError",
    }.items():
        assert reason_of(jax.errors.JaxRuntimeError(said)) == reason


def test_a_fault_of_this_program_ends_the_run(small, monkeypatch):
    task, _ = small
    fail(monkeypatch, execute.LaneError("another job's"))
    with pytest.raises(execute.LaneError):
        here.run_here(task)


def fails_at(monkeypatch, is_failing):
    """Makes packs in which some job is failing raise."""
    done = work.do

    def do(pack, *rest):
        if any(map(is_failing, pack.jobs)):
            raise ValueError("a layer of somebody's")
        done(pack, *rest)

    monkeypatch.setattr(work, "do", do)


def packs_of_two(monkeypatch):
    monkeypatch.setattr(here, "packs", lambda *rest, **options: packs(*rest[:4], fewest=2, **options))


def test_only_lanes_that_lack_a_parent_are_left_out(small, monkeypatch):
    task, _ = small
    first = next(job for job in task.plan.jobs.values() if job.stage.name == "pretrain/0")
    packs_of_two(monkeypatch)
    fails_at(monkeypatch, lambda job: job.id == first.id)
    why = here.run_here(task)
    lost = {job.seed for job in task.plan.jobs.values() if job.id in why}
    assert len(why) == 6 and len(lost) == 2  # a pack of two seeds, of three stages each
    assert task.store.verified(task.plan.jobs) == task.plan.jobs.keys() - why.keys()


def test_a_pack_that_fails_once_is_run_after_all_others_and_what_follows_it_then(small, monkeypatch):
    task, out = small
    packs_of_two(monkeypatch)
    done, turns = work.do, []

    def do(pack, *rest):
        turns.append((pack.stage.name, sorted(job.seed for job in pack.jobs)))
        if len(turns) == 1:
            raise ValueError("by chance")
        done(pack, *rest)

    monkeypatch.setattr(work, "do", do)
    assert here.run_here(task) == {}
    assert task.store.verified(task.plan.jobs) == task.plan.jobs.keys()
    (first, late), rest = turns[0], turns[1:]
    assert first == "pretrain/0" and [name for name, _ in rest[-3:]] == ["pretrain/0", "pretrain/1", "finetune"]
    assert all(set(seeds) <= set(late) for _, seeds in rest[-3:])
    assert not any(set(seeds) & set(late) for _, seeds in rest[:-3])
    log = Path(task.experiment.run_dir) / remote.LOG
    assert f"ValueError: by chance (trace in {log}); the pack is run again after all others" in out.getvalue()
    assert "Traceback" in log.read_text() and log.read_text().endswith("ValueError: by chance\n")


def test_halves_go_on_where_the_pack_was(small, monkeypatch):
    task, _ = small
    monkeypatch.setattr(execute, "_FIRST_CHUNK", 3)
    sizes = fail(monkeypatch, ERRORS["XLA"], fits=2, after=1)
    here.run_here(task)
    assert sizes == [(3, 0), (2, 3), (1, 3)]
    assert list(task.store.root.glob("begun/*")) == []


@pytest.mark.optimised
@pytest.mark.parametrize("after", [0, 1])
def test_trials_of_halves_are_those_of_the_whole_to_the_bit(after, small, monkeypatch, tmp_path):
    task, _ = small
    monkeypatch.setattr(execute, "_FIRST_CHUNK", 3)
    here.run_here(task)
    with monkeypatch.context() as patched:
        fail(patched, ERRORS["XLA"], fits=2, stage="pretrain/0", after=after)
        again = task._replace(store=Store(tmp_path / "again", warn=lambda line: None))
        here.run_here(again)
    for job in task.plan.jobs:
        jax.tree.map(np.testing.assert_array_equal, task.store.params(job), again.store.params(job))
        assert task.store.curves([job])[0].equals(again.store.curves([job])[0])


def test_the_run_of_a_pack_that_does_not_fit_ends_in_one_line(site, run, monkeypatch):
    monkeypatch.setattr(execute, "run", lambda *_: (_ for _ in ()).throw(MemoryError("std::bad_alloc")))
    done = site.launch(*site.at("too-large"))
    *others, last = done.stderr.splitlines()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert last == "pretrain/0: a pack of 1 trial does not fit in memory (std::bad_alloc)"
    first, *others = others
    assert first.startswith("6 packs on ")
    assert [line for line in others if "cut in half" not in line and "the pack is set aside" not in line] == []


def test_memory_that_runs_out_elsewhere_is_one_line(site, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("pretrain.data.load_all", fail)
    done = site.launch(*site.at("full-memory"))
    assert done.returncode == 1 and done.stderr.startswith("out of memory; ") and done.stderr.count("\n") == 1


class Crew:
    """Works in this process, each worker at once; those with a pack of more jobs than fit are killed."""

    most = 1

    def __init__(self, queue, fits, monkeypatch):
        self.queue, self.sizes, self.ended = queue, [], []
        done = work.do

        def do(pack, *rest):
            self.sizes.append(len(pack.jobs))
            if len(pack.jobs) > fits:
                raise KeyboardInterrupt  # which leaves everything as it lies, as a kill does
            done(pack, *rest)

        monkeypatch.setattr(work, "do", do)

    def hire(self, n):
        name = f"worker-{len(self.sizes)}"
        try:
            worker.work_on(self.queue, name, retries=2)
        except KeyboardInterrupt:
            self.ended.append(remote.Left(name, "killed"))

    def left(self):
        ended, self.ended = self.ended, []
        return ended

    def dismiss(self):
        pass

    def size(self):
        return 0


@pytest.mark.parametrize(("fits", "sizes"), [(2, [3, 2, 1, 3, 2, 1, 3, 2, 1]), (1, [3, 2, 2])])
def test_a_worker_that_is_killed_has_its_pack_run_in_halves(fits, sizes, small, monkeypatch):
    task, out = small
    found = with_values(task.experiment, {"engine.name": "slurm", "engine.retries": 2, "engine.cpus": 2})
    found = with_values(found, {"run_dir": str(task.store.root / "run"), "store": str(task.store.root)})
    (task.store.root / "run").mkdir(parents=True)
    monkeypatch.setattr(remote, "_SECONDS_BETWEEN_POLLS", 0.0)
    monkeypatch.setattr(programs, "prepare_devices", lambda *_: None)
    monkeypatch.setattr(message, "_Datasets", lambda: task.datasets)
    crew = Crew(task.store.root / "run" / "queue", fits, monkeypatch)
    why = remote.run(task._replace(experiment=found), crew)
    n_lost = out.getvalue().count("was killed, maybe for its memory")
    if fits == 2:
        assert crew.sizes == sizes and not why
        assert task.store.verified(task.plan.jobs) == task.plan.jobs.keys()
        assert out.getvalue().count("; the pack is cut in half and run again") == n_lost == 3
        return
    # Halves that are killed, too, set the pack aside, and all that would follow it.
    assert crew.sizes == sizes and n_lost == 3
    assert set(why) == set(task.plan.jobs) and len(set(why.values())) == 1
    assert "was lost" in why[next(iter(why))] and "it is set aside" in out.getvalue()


def test_cut_packs_are_even_and_whole(small):
    task, _ = small
    (pack, *_) = packs(task.plan.jobs.values(), (), 1 << 30, 2)
    for most in (1, 2, 3, 5):
        parts = cut(pack, most)
        assert tuple(job for part in parts for job in part.jobs) == pack.jobs
        assert max(len(part.jobs) for part in parts) - min(len(part.jobs) for part in parts) <= 1


def test_a_trial_far_beyond_memory_is_refused_before_it_trains(site, monkeypatch):
    monkeypatch.setattr(here.memory, "free", lambda: 1000)
    done = site.launch(*site.at("far-too-large"))
    assert (done.returncode, done.stdout) == (1, "")
    *_, last = done.stderr.splitlines()
    assert last.startswith("pretrain/0: a trial takes about ") and "are free; make layers smaller" in last

"""Seconds of jobs: noted without compilation, by program and platform, and estimated where none are noted."""

import dataclasses
import time

import jax
import pytest

from pretrain.engines import pace, work
from pretrain.execute import execute
from pretrain.execute.compiled import Compiled, seconds_waited
from pretrain.plan import cost
from pretrain.plan.plan import packs
from pretrain.store.store import Store
from tests.small_sweep import make_plan as plan_of


def test_the_wait_for_a_compilation_is_counted_and_a_run_is_not():
    doubled, numbers = Compiled(lambda numbers: 2 * numbers, n_static=0), jax.numpy.ones(3)
    compile_, before = doubled.compile, seconds_waited()

    def slowly(*arguments):
        time.sleep(0.2)
        program = compile_(*arguments)
        return lambda *given: time.sleep(0.3) or program(*given)

    doubled.compile = slowly
    assert doubled(numbers).tolist() == [2.0] * 3
    waited = seconds_waited() - before
    assert waited >= 0.2
    doubled.compile = lambda *arguments: lambda *given: time.sleep(0.3)
    doubled(numbers)
    assert seconds_waited() - before - waited < 0.3


def test_seconds_of_a_pack_are_noted_without_compilation(experiment, dataset, tmp_path, monkeypatch):
    plan = plan_of(experiment(sweep=({"finetune.encoder_init": ("he",)},), seeds=2), dataset)
    (pack,) = packs(plan.jobs.values(), (), 1 << 30, 1)
    store, real = Store(tmp_path, pytest.fail), execute.run
    waits = iter((0.0, 7.0, 7.0, 7.0))
    monkeypatch.setattr(work, "seconds_waited", lambda: next(waits))
    monkeypatch.setattr(execute, "run", lambda *given, **named: real(*given, **named)._replace(seconds=5.0))
    do = lambda: work.do(pack, dataset, store, 60, lambda n: None, lambda: False, store.save, pytest.fail)
    do()
    key = pace.key(pack.jobs[0].program, jax.default_backend())
    assert store.temporaries[key] == 5.0 - 7.0 / 2
    do()  # 5 s
    assert store.temporaries[key] == 1.5 == Store(tmp_path, pytest.fail).temporaries[key]
    assert store.records([pack.jobs[0].id])[0].seconds == 5.0  # as it was


def test_a_job_takes_what_was_noted_or_what_its_arithmetic_says(corners):
    job = next(iter(corners.jobs.values()))
    noted = {pace.key(job.program, "gpu"): 0.25, (job.program, "gpu"): 1e9}
    here, there = pace.Pace(noted, 2.0), pace.Pace(noted, 20.0, "gpu")
    assert there(job) == 0.25 / 20 and there.is_noted(job) and not here.is_noted(job)
    assert here(job) == cost.job_seconds(job.traced, cost.flop_rate()) / 2
    assert not there.is_noted(dataclasses.replace(job, program="another"))

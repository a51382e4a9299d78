"""Packs as job arrays of Slurm, through submitit; or as processes of this machine, through its local executor."""

import contextlib
import io
import math
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import submitit
from rich.console import Console

from pretrain.config import EngineConfig, Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.engines import remote
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.request import Request
from pretrain.learn.stage import Stage
from pretrain.plan.plan import Pack
from pretrain.store.store import StoreError

_SECONDS_BETWEEN_LOOKS = 1.0
_LOCAL = "local"  # the address for processes of this machine


def check(engine: EngineConfig) -> None:
    """Checks that jobs can be submitted from here.

    Raises:
      ConfigError: they cannot.
    """
    if engine.address not in ("", _LOCAL):
        raise ConfigError("engine.address", engine.address, f"is nothing slurm knows; '{_LOCAL}', or leave it out")
    if not engine.address and not (shutil.which("sbatch") and shutil.which("srun")):
        remedy = f"finds no sbatch here; launch on a login node, or try the jobs here with --engine.address {_LOCAL}"
        raise ConfigError("engine.name", engine.name, remedy)


class Worker:
    """A job: does one pack, and is queued again where it was when it is preempted or out of time."""

    def __call__(self, experiment_json: str, ids: tuple[tuple[str, ...], ...]) -> str:
        asked = False

        def ask(number, frame) -> None:
            nonlocal asked
            asked = True

        # Submitit would save and requeue in the middle of an update; it may, but after the chunk.
        requeue = signal.signal(submitit.JobEnvironment()._usr_sig(), ask)
        answer = remote.do(experiment_json, ids, stop=lambda: asked)
        if asked and answer == remote.STOPPED:
            requeue(signal.SIGUSR2, None)
        return answer

    def checkpoint(self, *arguments) -> submitit.helpers.DelayedSubmission:
        """Returns the job to queue again: the same, for the store knows how far it came."""
        return submitit.helpers.DelayedSubmission(self, *arguments)


def run(request: Request) -> None:
    """Runs packs as Slurm jobs, an array for each depth of stages; an engine, see ``here.Engine``."""
    experiment, plan, _, store, console, stop, _ = request
    executor = _executor(experiment.engine, Path(experiment.run_dir) / "slurm")
    with remote.stoppable(experiment) as ask_to_stop:
        fault, tries = "", 0
        most: dict[Stage, int] = {}
        while todo := remote.cut(experiment, plan, store, experiment.engine.parallel, most):
            # Packs whose parents are stored; the others wait for the next array.
            made_here = {job.id for pack in todo for job in pack.left}
            level = [pack for pack in todo if not any(job.parent in made_here for job in pack.jobs)]
            if stop():
                raise Interrupted
            answers, fault, killed = _run_array(executor, experiment, level, console, stop, ask_to_stop)
            if remote.STOPPED in answers:
                raise Interrupted
            store.refresh()
            if remote.halve(killed, most, store, partial(console.print, soft_wrap=True)):
                continue
            tries = tries + 1 if fault else 0
            if tries > experiment.engine.retries:
                raise StoreError(f"{fault}; logs are in {executor.folder}")


def _run_array(
    executor: submitit.AutoExecutor,
    experiment: Experiment,
    level: list[Pack],
    console: Console,
    stop: Callable[[], bool],
    ask_to_stop: Callable[[], None],
) -> tuple[list[str], str, list[Pack]]:
    """Submits packs as one array and waits for it; returns answers, what went wrong, and the packs of killed jobs."""
    messages = [remote.message(experiment, pack) for pack in level]
    try:
        # Submitit repeats on stderr what sbatch says.
        with contextlib.redirect_stderr(io.StringIO()), _deaf_to_ctrl_c():
            jobs = executor.map_array(Worker(), *zip(*messages, strict=True))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise ConfigError("engine.name", experiment.engine.name, f"refused the jobs ({reason}); see --help") from None
    console.print(
        f"slurm: {level[0].stage.name}, {counted(len(jobs), 'job')}, the first is {jobs[0].job_id}",
        soft_wrap=True,
    )
    asked = False
    while not all(job.done() for job in jobs):
        time.sleep(_SECONDS_BETWEEN_LOOKS)
        if stop() and not asked:
            asked = True
            ask_to_stop()
            for job in jobs:
                if job.state == "PENDING":
                    job.cancel()
    answers, fault, killed = [], "", []
    for job, pack in zip(jobs, level, strict=True):
        error = job.exception()
        if error is None:
            answers.append(job.result())
        elif asked:
            answers.append(remote.STOPPED)
        else:
            fault = f"job {job.job_id} failed: {' '.join(str(error).split())[-300:]}"
            killed += [pack] if isinstance(error, submitit.core.utils.UncompletedJobError) else []
    return answers, fault, killed


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Lets processes that are started meanwhile not be interrupted at a terminal, where they get what we get."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _executor(engine: EngineConfig, folder: Path) -> submitit.AutoExecutor:
    cluster = "local" if engine.address == _LOCAL else "slurm"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": engine.retries})
    flags = dict(flag.partition("=")[::2] for flag in engine.flags)
    executor.update_parameters(
        name="pretrain",
        timeout_min=engine.time_limit,
        cpus_per_task=engine.cpus,
        mem_gb=engine.memory,
        gpus_per_node=math.ceil(engine.gpus),
        slurm_array_parallelism=engine.parallel,
        slurm_additional_parameters={name: value or True for name, value in flags.items()},
        **({"slurm_partition": engine.partition} if engine.partition else {}),
    )
    return executor

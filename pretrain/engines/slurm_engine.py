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

from pretrain.config import EngineConfig
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.engines import remote
from pretrain.engines.remote import Ended
from pretrain.engines.request import Request
from pretrain.plan.plan import Pack

_SECONDS_BETWEEN_POLLS = 1.0
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
    engine = request.experiment.engine
    executor = _executor(engine, Path(request.experiment.run_dir) / "slurm")
    remote.run(request, partial(_submit, request, executor), engine.parallel, engine.retries)


def _submit(
    request: Request, executor: submitit.AutoExecutor, packs: list[Pack], ask_to_stop: Callable[[], None]
) -> Ended:
    """Submits the packs whose parents are stored as one array, and waits for it."""
    experiment = request.experiment
    made_here = {job.id for pack in packs for job in pack.left}
    level = [pack for pack in packs if not any(job.parent in made_here for job in pack.jobs)]
    messages = [remote.message(experiment, pack) for pack in level]
    try:
        # Submitit repeats on stderr what sbatch says.
        with contextlib.redirect_stderr(io.StringIO()), _deaf_to_ctrl_c():
            jobs = executor.map_array(Worker(), *zip(*messages, strict=True))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError) as error:
        reason = " ".join(str(error).split())[-200:]
        raise ConfigError("engine.name", experiment.engine.name, f"refused the jobs ({reason}); see --help") from None
    request.console.print(
        f"slurm: {level[0].stage.name}, {counted(len(jobs), 'job')}, the first is {jobs[0].job_id}",
        soft_wrap=True,
    )
    is_asked = False
    while not all(job.done() for job in jobs):
        time.sleep(_SECONDS_BETWEEN_POLLS)
        if request.stop() and not is_asked:
            is_asked = True
            ask_to_stop()
            for job in jobs:
                if job.state == "PENDING":
                    job.cancel()
    is_stopped, fault, killed = False, "", []
    for job, pack in zip(jobs, level, strict=True):
        error = job.exception()
        if error is None:
            is_stopped |= job.result() == remote.STOPPED
        elif is_asked:
            is_stopped = True
        else:
            reason = " ".join(str(error).split())[-300:]
            fault = f"job {job.job_id} failed: {reason}; logs are in {executor.folder}"
            killed += [pack] if isinstance(error, submitit.core.utils.UncompletedJobError) else []
    return Ended(is_stopped, fault, killed)


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

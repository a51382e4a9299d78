"""Workers as jobs of Slurm, through submitit; or as processes of this machine, through its local executor."""

import contextlib
import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import submitit

from pretrain.config import EngineConfig, Experiment
from pretrain.config.fields import ConfigError
from pretrain.config.paths import written_whole
from pretrain.engines import node, remote
from pretrain.engines.queue import FOLDER, JOBS
from pretrain.engines.remote import Left
from pretrain.engines.request import Request

_LOCAL = "local"  # the address for processes of this machine
_LOGS = "slurm"  # in the run's directory
_LARGEST_ARRAY = 1001  # Slurm's own default of MaxArraySize
_FAILED = (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError)


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


def run(request: Request) -> Mapping[str, str]:
    """Runs packs by workers that are jobs of an array, as long as packs wait; an engine, see ``here.Engine``."""
    return remote.run(request, _Crew(request.experiment))


def follow(experiment: Experiment, command: Sequence[str]) -> str:
    """Submits a command for when the workers of a run have ended; returns the job's id.

    Raises:
      ConfigError: it was refused.
    """
    executor, jobs = _executor(experiment), _noted(experiment)
    if jobs and not experiment.engine.address:
        arrays = sorted({job.partition("_")[0] for job in jobs})
        more = {**_flags(experiment.engine), "dependency": f"afterany:{':'.join(arrays)}"}
        executor.update_parameters(slurm_additional_parameters=more)
    function = submitit.helpers.CommandFunction(list(command), cwd=os.getcwd())
    with _refusal_named(experiment.engine):
        return executor.submit(function).job_id


class Job:
    """A job: one worker or several, and is queued again when it is preempted or out of time."""

    def __call__(self, queue: str, retries: int, n_workers: int) -> str:
        asked = False

        def ask(number, frame) -> None:
            nonlocal asked
            asked = True

        # Submitit would save and requeue in the middle of an update; it may, but after the chunk.
        environment = submitit.JobEnvironment()
        requeue = signal.signal(environment._usr_sig(), ask)
        answer = node.work_on(Path(queue), _name(environment.job_id), retries, n_workers, lambda: asked)
        if asked and answer == node.STOPPED:
            requeue(signal.SIGUSR2, None)
        return answer

    def checkpoint(self, *arguments) -> submitit.helpers.DelayedSubmission:
        """Returns the job to queue again: the same, for the store knows how far it came."""
        return submitit.helpers.DelayedSubmission(self, *arguments)


class _Crew:
    """Workers as jobs, among them those of a launcher that has left; see ``remote.Crew``."""

    def __init__(self, experiment: Experiment):
        engine = experiment.engine
        self._experiment, self._executor = experiment, _executor(experiment)
        self._n_workers = engine.workers
        self.most = min(engine.parallel, _largest_array(engine)) * engine.workers
        if engine.address:
            self.most = min(self.most, max(1, len(os.sched_getaffinity(0)) // engine.cpus))
        self._jobs: list[submitit.Job] = []
        if not engine.address:
            folder = self._executor.folder
            self._jobs = [submitit.SlurmJob(folder=folder, job_id=job) for job in _noted(experiment)]

    def hire(self, n: int) -> None:
        n_jobs = -(-n // self._n_workers)
        queue = str(Path(self._experiment.run_dir, FOLDER))
        given = [queue] * n_jobs, [self._experiment.engine.retries] * n_jobs, [self._n_workers] * n_jobs
        with _refusal_named(self._experiment.engine), _deaf_to_ctrl_c():
            self._jobs += self._executor.map_array(Job(), *given)
        self._note()

    def left(self) -> list[Left]:
        ended = [job for job in self._jobs if job.done()]
        if not ended:
            return []
        self._jobs = [job for job in self._jobs if job not in ended]
        self._note()
        return [Left(_name(job.job_id), self._fault(job)) for job in ended]

    def dismiss(self) -> None:
        for job in self._jobs:
            if job.state == "PENDING":
                job.cancel()

    def size(self) -> int:
        return len(self._jobs) * self._n_workers

    def _fault(self, job: submitit.Job) -> str:
        if (error := job.exception()) is None:
            return ""
        reason = " ".join(str(error).split())[-300:]
        return f"job {job.job_id} failed: {reason}; logs are in {self._executor.folder}"

    def _note(self) -> None:
        """Notes the jobs for a launcher that comes after."""
        with written_whole(Path(self._experiment.run_dir, FOLDER, JOBS)) as draft:
            draft.write_text(json.dumps([job.job_id for job in self._jobs]))


def _name(job: str) -> str:
    """Returns the name of a job's worker, or the beginning of those of its workers."""
    return f"slurm-{job}"


def _noted(experiment: Experiment) -> list[str]:
    """Returns the ids of the jobs that a launcher before has noted."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        return [str(job) for job in json.loads(Path(experiment.run_dir, FOLDER, JOBS).read_text())]
    return []


def _largest_array(engine: EngineConfig) -> int:
    """Returns the jobs that an array may have, as the site's configuration says."""
    if engine.address:
        return _LARGEST_ARRAY
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        shown = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=30).stdout
        if found := re.search(r"^MaxArraySize\s*=\s*(\d+)", shown, re.MULTILINE):
            return max(1, int(found[1]) - 1)
    return _LARGEST_ARRAY - 1


@contextlib.contextmanager
def _refusal_named(engine: EngineConfig) -> Iterator[None]:
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # submitit repeats on stderr what sbatch says
            yield
    except _FAILED as error:
        reason = " ".join(str(error).split())[-200:]
        raise ConfigError("engine.name", engine.name, f"refused the jobs ({reason}); see --help") from None


@contextlib.contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """Lets processes that are started meanwhile not be interrupted at a terminal, where they get what we get."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _flags(engine: EngineConfig) -> dict[str, str | bool]:
    flags = dict(flag.partition("=")[::2] for flag in engine.flags)
    return {name: value or True for name, value in flags.items()}


def _executor(experiment: Experiment) -> submitit.AutoExecutor:
    engine, folder = experiment.engine, Path(experiment.run_dir) / _LOGS
    cluster = "local" if engine.address == _LOCAL else "slurm"
    executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **{f"{cluster}_max_num_timeout": engine.retries})
    executor.update_parameters(
        name="pretrain",
        timeout_min=engine.time_limit,
        cpus_per_task=engine.workers * engine.cpus,
        mem_gb=engine.workers * engine.memory,
        gpus_per_node=math.ceil(engine.workers * engine.gpus),
        slurm_array_parallelism=engine.parallel,
        slurm_additional_parameters=_flags(engine),
        **({"slurm_partition": engine.partition} if engine.partition else {}),
    )
    return executor

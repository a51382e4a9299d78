"""Several workers in one job: a process each, with its share of the job's cores and devices."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from pretrain.engines.queue import Queue

DONE, STOPPED = "done", "stopped"
_DEVICES = "CUDA_VISIBLE_DEVICES"
_SECONDS_BETWEEN_POLLS = 0.2
STOPPED_CODE = 75  # exit code of a worker's process


class WorkerError(Exception):
    """A worker's process that failed; the message is the last line that it printed."""


def work_on(queue: Path, name: str, retries: int, n_workers: int, stop: Callable[[], bool]) -> str:
    """Does packs of a queue by one worker in this process, or by several in processes of their own.

    Args:
      queue: its folder.
      name: of the worker; of several the beginning, followed by a number each.
      retries: as of ``worker.work_on``.
      n_workers: how many.
      stop: asked whether to stop.

    Returns:
      ``done``, or ``stopped`` where a worker was to stop, and saved.

    Raises:
      WorkerError: one of several failed, after the others have ended.
    """
    if n_workers == 1:
        from pretrain.engines import worker  # which imports JAX

        return worker.work_on(queue, name, retries, stop)
    with contextlib.ExitStack() as files:
        # A pipe that nobody reads would stop a worker that writes much.
        said = [files.enter_context(tempfile.TemporaryFile()) for _ in range(n_workers)]
        return _in_processes(queue, name, retries, stop, said)


def _in_processes(queue: Path, name: str, retries: int, stop: Callable[[], bool], said: Sequence[IO[bytes]]) -> str:
    """Does packs by as many processes as there are files for what they print on standard error."""
    n_workers, cores = len(said), sorted(os.sched_getaffinity(0))
    devices, processes = os.environ.get(_DEVICES, "").split(","), []
    for number, errors in enumerate(said):
        own_cores = cores[number * len(cores) // n_workers : (number + 1) * len(cores) // n_workers] or cores
        own = {} if devices == [""] else {_DEVICES: ",".join(devices[number::n_workers])}
        command = [sys.executable, "-m", "pretrain.engines.worker", str(queue), f"{name}.{number}", str(retries)]
        command.append(",".join(map(str, own_cores)))
        processes.append(subprocess.Popen(command, env={**os.environ, **own}, stderr=errors))
    working, is_asked = dict(enumerate(processes)), False
    while working:
        time.sleep(_SECONDS_BETWEEN_POLLS)
        for number, process in list(working.items()):
            if process.poll() is not None:
                del working[number]
                Queue(queue).lose(f"{name}.{number}", retries)  # of one that was killed; the others go on with it
        if stop() and not is_asked:
            is_asked = True
            for process in working.values():
                process.send_signal(signal.SIGTERM)
    codes = [process.returncode for process in processes]
    for number, (code, errors) in enumerate(zip(codes, said, strict=True)):
        if code not in (0, STOPPED_CODE):
            errors.seek(0)
            lines = errors.read().decode(errors="replace").strip().splitlines() or [f"ended with code {code}"]
            raise WorkerError(f"{name}.{number}: {lines[-1]}")
    return STOPPED if STOPPED_CODE in codes else DONE

"""Several workers in one job: a process each, with its share of the job's cores and devices."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

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
    cores, devices = sorted(os.sched_getaffinity(0)), os.environ.get(_DEVICES, "").split(",")
    processes = []
    for number in range(n_workers):
        own_cores = cores[number * len(cores) // n_workers : (number + 1) * len(cores) // n_workers] or cores
        own = {} if devices == [""] else {_DEVICES: ",".join(devices[number::n_workers])}
        command = [sys.executable, "-m", "pretrain.engines.worker", str(queue), f"{name}.{number}", str(retries)]
        command.append(",".join(map(str, own_cores)))
        processes.append(subprocess.Popen(command, env={**os.environ, **own}, stderr=subprocess.PIPE, text=True))
    is_asked = False
    while any(process.poll() is None for process in processes):
        time.sleep(_SECONDS_BETWEEN_POLLS)
        if stop() and not is_asked:
            is_asked = True
            for process in processes:
                process.send_signal(signal.SIGTERM)
    said = [process.communicate()[1] for process in processes]
    codes = [process.returncode for process in processes]
    for number, code in enumerate(codes):
        Queue(queue).lose(f"{name}.{number}", retries)  # of one that was killed
        if code not in (0, STOPPED_CODE):
            lines = said[number].strip().splitlines() or [f"ended with code {code}"]
            raise WorkerError(f"{name}.{number}: {lines[-1]}")
    return STOPPED if STOPPED_CODE in codes else DONE

"""Workers: each pulls packs from a queue until none is left, and keeps data and compiled programs between them."""

import contextlib
import functools
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from pretrain.config import EngineConfig, from_json
from pretrain.config.fields import ConfigError
from pretrain.engines import work
from pretrain.engines.interrupts import Interrupted, Interrupts
from pretrain.engines.message import AlteredError, Deriver
from pretrain.engines.node import DONE, STOPPED, STOPPED_CODE
from pretrain.engines.queue import Claim, Queue
from pretrain.engines.set_aside import reason_of
from pretrain.engines.signs import BEAT, SILENT, Signs
from pretrain.engines.work import MemoryFault
from pretrain.execute.compiled import seconds_waited
from pretrain.plan import environment
from pretrain.plan import plan as planning
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import Pack
from pretrain.store import programs
from pretrain.store.records import Outcome
from pretrain.store.store import Store, StoreError

FAULTY = "faulty"
_MOST_RAISED = 2  # packs in a row, after which the process is believed to be broken
_PAUSES = 0.05, 2.0  # seconds between two looks for a pack that is ready, from the shortest to the longest


def work_on(root: Path, name: str, retries: int, stop: Callable[[], bool] = lambda: False) -> str:
    """Does packs of a queue until none waits.

    Args:
      root: of the queue.
      name: of this worker, the same when a lost one is started again.
      retries: workers that a pack may lose before it is set aside.
      stop: asked after each chunk whether to stop, besides the queue.

    Returns:
      ``done``; ``stopped`` after all that was done was saved; or ``faulty`` after two packs in a row raised, as in a
      process whose device is gone.

    Raises:
      AlteredError, ConfigError: the data or the code are not those of the launcher.
      OSError, StoreError: something could not be read or written.
    """
    queue = Queue(root)

    def stopping() -> bool:
        return stop() or queue.is_stopping()

    signs = Signs(queue)
    with _beating(signs, name):
        queue.lose(name, retries)  # what a former life of this worker had
        pause, raised, n_raised = _PAUSES[0], set[str](), 0
        while not stopping():
            claim = queue.claim(name, raised)
            if claim is None:
                if not queue.has_waiting():
                    return DONE
                if pause == _PAUSES[1]:
                    signs.lose_silent(retries, SILENT / 3)
                time.sleep(pause)
                pause = min(2 * pause, _PAUSES[1])
                continue
            pause = _PAUSES[0]
            if _done(queue, claim, name, stopping):
                n_raised = 0
                continue
            raised.add(claim.name)
            n_raised += 1
            if n_raised == _MOST_RAISED:
                return FAULTY
        return STOPPED


def _done(queue: Queue, claim: Claim, worker: str, stop: Callable[[], bool]) -> bool:
    """Does a pack, and notes in the queue how it ended; returns whether it raised no fault of its own."""
    try:
        queue.finish(claim.name, worker, _result(queue, claim, stop))
    except Interrupted:
        queue.release(claim.name, worker)
    except (AlteredError, ConfigError, OSError, StoreError):  # of this machine
        queue.release(claim.name, worker)
        if queue.exists():  # or its launcher was done, and removed the experiment, too
            raise
    except MemoryFault as fault:
        queue.fail(claim.name, worker, str(fault), is_final=True)
    except Exception as error:  # of the user's layers, methods and losses, or of the device
        queue.fail(claim.name, worker, reason_of(error), traceback.format_exc())
        return False
    return True


def _result(queue: Queue, claim: Claim, stop: Callable[[], bool]) -> dict[str, Any]:
    """Does a pack, or what of it is not stored yet and has its parents; in halves if a worker was lost with it."""
    bench = _bench(queue.experiment(claim.message["experiment"]))
    began, waited = time.monotonic(), seconds_waited()
    stored = [each for name in claim.after for each in (queue.result(name) or {}).get("stored", ())]
    store = Store(bench.experiment.store, _warn, packs=[*claim.message["opens"], *stored])
    jobs = [job for part in claim.message["parts"] for job in part]
    sound = store.verified({job["parent"] for job in jobs if job["parent"]})
    orphans = {job["id"] for job in jobs if job["parent"] and job["parent"] not in sound}
    pack, names = bench.deriver.pack(claim.message, orphans), list[str]()

    def keep(pack: Pack, outcome: Outcome) -> None:
        names.append(store.save(pack, outcome))

    parts = [pack] if pack else []
    if claim.n_lost and pack and len(pack.jobs) > 1:
        parts = planning.cut(pack, -(-len(pack.jobs) // 2))
        store.cut_progress(pack, parts)
    # Of a worker that was believed lost, or was lost between two halves.
    store.open({store.name_of(each) for whole in {pack, *parts} - {None} for each in (whole, *whole.passed)})
    for part in parts:
        left = {job.id for job in part.left}
        if store.verified(left) == left:
            names += {store.pack_of(job) for job in left}
            store.cut_progress(part, ())  # of a worker that was killed before it forgot that
            continue
        if stop():
            raise Interrupted
        how = (bench.experiment.save_every, lambda updates: None, stop, keep, _warn)
        with environment.one_thread():
            work.do(part, bench.deriver.datasets[part.data], store, *how)
    seconds, compiling = time.monotonic() - began, seconds_waited() - waited
    return {"stored": sorted(set(names)), "seconds": seconds, "compiling": compiling}


class _Bench:
    """What a worker keeps between packs of an experiment: data, stages, and the process that it has set up for them."""

    def __init__(self, experiment_json: str):
        self.experiment = from_json(experiment_json)
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # orbax logs a traceback of what it also raises
        _leave_room(self.experiment.engine)
        environment.fix()
        programs.prepare_devices(self.experiment.engine.cpus)
        programs.prepare(Path(self.experiment.store) / "programs")
        self.deriver = Deriver(self.experiment, Fingerprints(Path(self.experiment.store)))


_bench = functools.lru_cache(maxsize=2)(_Bench)


@contextlib.contextmanager
def _beating(signs: Signs, name: str) -> Iterator[None]:
    """Gives signs of life while entered."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(BEAT):
            signs.beat(name)

    signs.beat(name)
    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        signs.part(name)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _leave_room(engine: EngineConfig) -> None:
    """Keeps JAX from taking a whole GPU that other workers share."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    if 0 < engine.gpus < 1:
        os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", f"{0.9 * engine.gpus:.3f}")


def main(argv: Sequence[str]) -> int:
    """Works on a queue in a process of its own; returns the exit code: 0, or 75 when it was to stop and saved.

    Args:
      argv: the queue's folder, the worker's name, its retries, and its cores, separated by commas.
    """
    queue, name, retries, cores = argv
    os.sched_setaffinity(0, map(int, cores.split(",")))
    with Interrupts(_warn) as interrupts:
        answer = work_on(Path(queue), name, int(retries), interrupts.requested)
    return STOPPED_CODE if answer == STOPPED else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

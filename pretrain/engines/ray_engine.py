"""Packs as tasks of a Ray cluster: one that is there, or one that is started on this machine."""

import contextlib
import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import ray
from ray.remote_function import RemoteFunction

from pretrain.config import EngineConfig
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.engines import remote
from pretrain.engines.remote import Ended
from pretrain.engines.request import Request
from pretrain.plan import environment
from pretrain.plan.plan import Pack
from pretrain.store.store import StoreError

_LOG = "ray.log"  # in the run's directory
_SECONDS_BETWEEN_POLLS = 0.5
_SECONDS_TO_CONNECT = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_KILLED = (ray.exceptions.WorkerCrashedError, ray.exceptions.OutOfMemoryError)
_FOUND_BY_RAY = ("", "auto", "local")  # addresses that name no host


def check(engine: EngineConfig) -> None:
    """Checks that somebody listens at the cluster's address, where Ray itself would wait for minutes.

    Raises:
      ConfigError: nobody does, or it is no address.
    """
    if engine.address in _FOUND_BY_RAY:
        return
    host, _, port = engine.address.removeprefix("ray://").rpartition(":")
    if host in _LOOPBACK and not engine.address.startswith("ray://"):
        host = ray.util.get_node_ip_address()  # where Ray looks for a cluster of this machine
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(engine, error) from None


def run(request: Request) -> None:
    """Runs packs as Ray tasks, each as soon as its parents' packs are stored; an engine, see ``here.Engine``.

    A task whose worker or node is lost is retried by Ray; what it had stored is kept once, since stages are named by
    their content.
    """
    engine = request.experiment.engine
    log = Path(request.experiment.run_dir, _LOG)
    with _aside(log), _connected(engine, log):
        n_workers = int(_check_room(engine))
        task = ray.remote(_task).options(
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
            memory=engine.memory * 1e9,
            max_retries=engine.retries,
            runtime_env={"env_vars": environment.variables() | ({} if engine.gpus else {"JAX_PLATFORMS": "cpu"})},
        )
        remote.run(request, partial(_submit, request, task, n_workers), n_workers)


def _submit(
    request: Request, task: RemoteFunction, n_workers: int, packs: list[Pack], ask_to_stop: Callable[[], None]
) -> Ended:
    """Submits all packs, each as a task that waits for those of its parents, and reports each when it is done."""
    experiment, console = request.experiment, request.console
    cores = counted(experiment.engine.cpus, "core")
    console.print(f"ray: {counted(len(packs), 'pack')} for {counted(n_workers, 'worker')} of {cores}")
    made_by: dict[str, ray.ObjectRef] = {}  # job id to the task that stores it
    titles, submitted = {}, {}
    for number, pack in enumerate(packs):
        parents = {made_by[job.parent] for job in pack.jobs if job.parent in made_by}
        reference = task.remote(os.getcwd(), *remote.message(experiment, pack), *parents)
        made_by |= {job.id: reference for job in pack.left}
        titles[reference] = f"{pack.stage.name}  pack {number + 1}/{len(packs)}, {counted(len(pack.jobs), 'trial')}"
        submitted[reference] = pack
    waiting, is_asked, is_stopped, failed = list(submitted), False, False, {}
    while waiting:
        ready, waiting = ray.wait(waiting, timeout=_SECONDS_BETWEEN_POLLS)
        for reference in ready:
            try:
                is_stopped |= ray.get(reference) == remote.STOPPED
            except ray.exceptions.RayError as error:
                reason = " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
                failed[reference] = f"{titles[reference]} failed on Ray: {reason}"
                if not isinstance(getattr(error, "cause", error), _KILLED):  # or the task before it was
                    raise StoreError(failed[reference]) from None
                continue
            console.print(f"{titles[reference]}: done")
        if request.stop() and not is_asked:
            is_asked = True
            ask_to_stop()
    # A task whose parents' worker was killed fails as they do, and never ran.
    lost = {job.id for reference in failed for job in submitted[reference].jobs}
    killed = [each for each in failed if lost.isdisjoint(job.parent for job in submitted[each].jobs)]
    return Ended(is_stopped, failed[killed[0]] if killed else "", [submitted[each] for each in killed])


def _task(directory: str, experiment_json: str, ids: tuple[tuple[str, ...], ...], *parents: str) -> str:
    """Does a pack, once Ray has its parents' answers, in the launcher's directory, where relative paths begin."""
    with contextlib.suppress(OSError):  # not here; then a path that it is needed for is named as missing
        os.chdir(directory)
    return remote.STOPPED if remote.STOPPED in parents else remote.do(experiment_json, ids)


@contextlib.contextmanager
def _aside(log: Path) -> Iterator[None]:
    """Keeps the lines that Ray logs off the terminal: they go to a file, which is there if there are any."""
    logger, handler = logging.getLogger("ray"), logging.FileHandler(log, delay=True)
    before = logger.handlers, logger.propagate
    logger.handlers, logger.propagate = [handler], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = before
        handler.close()
        if log.is_file() and not log.stat().st_size:
            log.unlink()


@contextlib.contextmanager
def _errors_to(log: Path) -> Iterator[None]:
    """Sends what anything prints on standard error to a file, as Ray's daemons and warnings of their start do."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with log.open("ab") as file:
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _connected(engine: EngineConfig, log: Path) -> Iterator[None]:
    """Connects to the cluster; starts one here without an address, and stops that one at the end."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    here = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    where = {"address": engine.address} if engine.address else here
    try:
        with _errors_to(log):
            ray.init(**where, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(engine, error) from None
    try:
        yield
    finally:
        ray.shutdown()


def _unreachable(engine: EngineConfig, error: Exception) -> ConfigError:
    reason = " ".join(str(error).split())[:200]
    remedy = f"cannot be reached ({reason}); start it with `ray start --head`, or leave the address out"
    return ConfigError("engine.address", engine.address, remedy)


def _check_room(engine: EngineConfig) -> float:
    """Returns how many packs the cluster can run at once; refuses a request that no node could ever meet."""
    wanted = {"CPU": engine.cpus, "GPU": engine.gpus, "memory": engine.memory * 1e9}
    fields = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for kind, amount in wanted.items():
        most = max((node.get(kind, 0) for node in nodes), default=0)
        if amount > most:
            field = fields[kind]
            most = round(most / 1e9, 1) if kind == "memory" else most
            raise ConfigError(
                f"engine.{field}", getattr(engine, field), f"is more than any node has ({most}); lower it"
            )
    room = (min(node.get(kind, 0) // amount for kind, amount in wanted.items() if amount) for node in nodes)
    return max(1, sum(room))

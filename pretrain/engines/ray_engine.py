"""Workers as tasks of a Ray cluster: one that is there, or one that is started on this machine."""

import contextlib
import logging
import os
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import ray

from pretrain.config import EngineConfig, Experiment
from pretrain.config.fields import ConfigError
from pretrain.engines import remote, worker
from pretrain.engines.queue import FOLDER
from pretrain.engines.remote import Left
from pretrain.engines.request import Request
from pretrain.plan import environment

_SECONDS_TO_CONNECT = 5.0
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_FOUND_BY_RAY = ("", "auto", "local")  # addresses that name no host


def check(engine: EngineConfig) -> None:
    """Checks that somebody listens at the cluster's address, where Ray itself would wait for minutes.

    Raises:
      ConfigError: nobody does, or it is no address; or the launcher is to leave.
    """
    if engine.detach:
        raise ConfigError("engine.detach", True, "is for slurm; leave it out, or start the launch with nohup")
    address = _noted_here() if engine.address == "auto" else engine.address
    if address in _FOUND_BY_RAY:
        return
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host in _LOOPBACK and not address.startswith("ray://"):
        host = ray.util.get_node_ip_address()  # where Ray looks for a cluster of this machine
    try:
        socket.create_connection((host.strip("[]"), int(port)), _SECONDS_TO_CONNECT).close()
    except (OSError, ValueError, OverflowError) as error:
        raise _unreachable(engine, error) from None


def _noted_here() -> str:
    """Returns the address that `ray start` has noted on this machine, of a cluster that may be gone; or nothing."""
    with contextlib.suppress(ImportError, AttributeError, OSError):  # a seam that Ray does not promise
        from ray._private import services

        return services.find_bootstrap_address(None) or ""
    return ""


def run(request: Request) -> Mapping[str, str]:
    """Runs packs by workers that are Ray tasks, each for as long as packs wait; an engine, see ``here.Engine``.

    A worker that is lost with its node is started again by Ray; what it had stored is kept once, since stages are named
    by their content.
    """
    experiment = request.experiment
    log = Path(experiment.run_dir, remote.LOG)
    with _aside(log), _connected(experiment.engine, log):
        return remote.run(request, _Crew(experiment, int(_check_room(experiment.engine))))


class _Crew:
    """Workers as Ray tasks; see ``remote.Crew``."""

    def __init__(self, experiment: Experiment, most: int):
        engine = experiment.engine
        self.most = most
        self._arguments = os.getcwd(), str(Path(experiment.run_dir, FOLDER)), engine.retries
        self._launch, self._n_hired = uuid.uuid4().hex[:6], 0
        self._working: dict[ray.ObjectRef, str] = {}
        self._task = ray.remote(_work).options(
            num_cpus=engine.cpus,
            num_gpus=engine.gpus,
            memory=engine.memory * 1e9,
            max_retries=engine.retries,
            runtime_env={"env_vars": environment.variables() | ({} if engine.gpus else {"JAX_PLATFORMS": "cpu"})},
        )

    def hire(self, n: int) -> None:
        for _ in range(n):
            name = f"ray-{self._launch}-{self._n_hired}"
            self._working[self._task.remote(*self._arguments, name)] = name
            self._n_hired += 1

    def left(self) -> list[Left]:
        if not self._working:
            return []
        ended, _ = ray.wait(list(self._working), num_returns=len(self._working), timeout=0)
        return [Left(self._working.pop(task), _fault(task)) for task in ended]

    def dismiss(self) -> None:
        """Leaves tasks that wait for room, which end as soon as they start."""

    def size(self) -> int:
        return len(self._working)


def _fault(task: ray.ObjectRef) -> str:
    """Returns why a task that has ended failed; empty where it did not."""
    try:
        ray.get(task)
    except ray.exceptions.RayError as error:
        return " ".join(str(getattr(error, "cause", None) or error).split())[-300:]
    return ""


def _work(directory: str, queue: str, retries: int, name: str) -> str:
    """Works in the launcher's directory, where relative paths begin."""
    with contextlib.suppress(OSError):  # not here; then a path that it is needed for is named as missing
        os.chdir(directory)
    return worker.work_on(Path(queue), name, retries)


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
    # Not the cluster that a process before has noted for others to find, which may be gone.
    here = {"address": "local", "include_dashboard": False, "_node_ip_address": "127.0.0.1"}
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

"""``pretrain.run``: a run for programs and notebooks, in this process or in one of its own."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console

from pretrain import running
from pretrain.config import Experiment, config_file, invocation, to_json
from pretrain.config.fields import ConfigError
from pretrain.config.overrides import Overridden, override
from pretrain.data.findings import MISSING
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.work import MemoryFault
from pretrain.plan import environment
from pretrain.running import QUIET, Prepared, Trained
from pretrain.store.manifests import DamageError
from pretrain.store.store import StoreError
from pretrain.study.results import Run, load_run

_AXES = ("sweep", "tune", "per_layer", "draws", "draw_seed")  # overrides that are no fields
_FAULTS = {kind.__name__: kind for kind in (ConfigError, DamageError, StoreError, MemoryFault, MemoryError, OSError)}
_AWAKE = 0.2  # seconds
_INTERRUPTIONS = (Interrupted.__name__, KeyboardInterrupt.__name__)


def run(
    experiment: Experiment | Path | str,
    overrides: Mapping[str, Any] | None = None,
    *,
    progress: bool = False,
    isolated: bool = False,
) -> Run:
    """Runs an experiment, as ``python launch.py`` does, and leaves the same files; trains what is not stored yet.

    It sets nothing of JAX, whose devices it uses as they are, and takes no signal. What an interruption stops is saved,
    and the same call goes on from there.

    Args:
      experiment: what to run, every field of it as chosen; or a config, by its path or by its name if it is the
        package's, of which fields that neither it nor an override sets are fitted to the data.
      overrides: of a config: values by dotted name of a field, and ``sweep``, ``tune`` and ``per_layer``, each with the
        values of fields by name, as the options of these names have them.
      progress: whether to print notes and progress on standard error.
      isolated: whether to run in a process of its own, with JAX as a command sets it.

    Raises:
      ConfigError: there is a mistake in the experiment, or JAX has settings that would change results.
      DamageError, MemoryFault, OSError, StoreError: something could not be read or written, or does not fit in memory.
        The data may have been altered meanwhile: ``load_run`` gives the run, which is of the data before.
      KeyboardInterrupt: it was interrupted, with everything saved.
    """
    asked = _asked(experiment, overrides or {})
    chosen = None if isinstance(experiment, Experiment) else asked.chosen
    if progress:
        print(*asked.notes, sep="\n", end="\n" * bool(asked.notes), file=sys.stderr)
    if asked.experiment.engine.detach:
        raise ConfigError("engine.detach", True, f"leaves no run to return; give it to {invocation.command()}")
    if isolated:
        return _warned(_isolated(asked.experiment, chosen, progress))
    if asked.experiment.engine.distributed:
        remedy = f"takes a process of its own on every host; start {invocation.command()} there"
        raise ConfigError("engine.distributed", True, remedy)
    environment.check()
    prepared, console = running.prepare(asked.experiment, chosen), QUIET
    if progress:
        console = Console(file=sys.stderr, markup=False, emoji=False, highlight=False, force_jupyter=False)
        running.report(prepared, console)
    with running.occupied(prepared) as note:
        finished = running.conclude(_trained(prepared, console, note))
    running.check_data(prepared)
    return _warned(finished)


def _warned(run: Run) -> Run:
    """Warns of trials that are missing from a run, and returns it."""
    for finding in run.findings:
        if finding.kind == MISSING:
            warnings.warn(str(finding), stacklevel=3)
    return run


def _asked(experiment: Experiment | Path | str, overrides: Mapping[str, Any]) -> Overridden:
    """Returns the experiment that a call asks for."""
    if isinstance(experiment, Experiment):
        if overrides:
            remedy = "overrides a config, and this is an experiment; use dataclasses.replace"
            raise ConfigError("overrides", next(iter(overrides)), remedy)
        return Overridden(experiment, frozenset(), ())
    name = str(experiment)
    configs = config_file.packaged() if name.isidentifier() else None
    values = {field: value for field, value in overrides.items() if field not in _AXES}
    axes = {field: value for field, value in overrides.items() if field in _AXES}
    return override(config_file.load(config_file.find(name, configs), name), values, **axes)


def _trained(prepared: Prepared, console: Console, note: Callable[[str], None]) -> Trained:
    """Trains in a thread of its own, so that an interruption of this one meets it where it can be saved.

    Raises:
      KeyboardInterrupt: this thread was interrupted: once, after all that was done was saved; twice, at once.
    """
    stop, thread = threading.Event(), ThreadPoolExecutor(1)
    training = thread.submit(running.train, prepared, console, stop.is_set, note)
    try:
        try:
            # Now and then awake, since a signal that another thread is given ends no wait of this one.
            while not wait([training], timeout=_AWAKE).done:
                pass
            return training.result()
        except KeyboardInterrupt:
            stop.set()
            training.result()
            raise
    except Interrupted as stopped:
        raise KeyboardInterrupt(str(stopped)) from None
    finally:
        thread.shutdown(wait=False)


def _isolated(experiment: Experiment, chosen: frozenset[str] | None, progress: bool) -> Run:
    """Runs an experiment by ``pretrain.commands.isolated``, which stops as soon as its standard input ends."""
    asked = json.dumps({"experiment": to_json(experiment), "chosen": None if chosen is None else sorted(chosen)})
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(
        [sys.executable, "-m", "pretrain.commands.isolated"],
        text=True,
        start_new_session=True,  # a terminal's Ctrl-C is for this process, which passes it on
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        **pipes,
    ) as process:
        lines = ThreadPoolExecutor(1).submit(_passed_on, process.stderr, progress)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(f"{asked}\n")
            process.stdin.flush()
        try:
            answered = process.stdout.read()
        except KeyboardInterrupt:
            process.stdin.close()
            answered = process.stdout.read()
        last = lines.result()
    ended = json.loads(answered or "null")
    if ended is None:
        raise RuntimeError(f"the process of the run ended with {process.returncode} ({last}); the same call goes on")
    if ended["kind"] in _INTERRUPTIONS:
        raise KeyboardInterrupt(ended["message"])
    if kind := _FAULTS.get(ended["kind"]):
        raise kind.__new__(kind, ended["message"])
    if ended["kind"]:
        raise RuntimeError(ended["traceback"])
    return load_run(Path(ended["run_dir"]))


def _passed_on(stream: TextIO, progress: bool) -> str:
    """Prints the lines of a stream as they come, if they are wanted; returns the last."""
    line = ""
    for line in stream:
        if progress:
            print(line, end="", file=sys.stderr)
    return line.strip()

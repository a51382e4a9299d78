"""A real run on Ray on this machine, beside the simulation of it."""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.bench.cluster_costs import wall
from tests.bench.cluster_model import Cluster, Costs, Level, Spent, Sweep, pulled
from tests.bench.seed_job import ROOT
from tests.bench.small_trials import write_rows

_SMALLEST = "0.8501"  # GB, of which the process takes all but what holds no trial: packs are of one


class Checked(NamedTuple):
    """A real run, and the simulation of it."""

    packs: int
    trials: int
    wall: float  # seconds of the whole command
    again: float  # of the same command here with all stored: its reading, planning and judging
    ray: float  # of starting Ray and stopping it
    simulated: Spent  # of the workers, by the simulation

    @property
    def predicted(self) -> float:
        """Seconds of the whole command, by the simulation."""
        return self.again + self.ray + self.simulated.wall


def checked(n_packs: int, costs: Costs, workers: int = 2, memory: str = "") -> Checked:
    """Runs about so many packs of small trials on Ray here, and simulates as many.

    Args:
      n_packs: asked for.
      costs: as measured here, on the same day.
      workers: of one core each.
      memory: of a worker (GB), by which packs are cut; by default so little that a trial fills it.
    """
    n_trials = max(2, n_packs // 2)
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        write_rows(directory / "rows.npz")
        places = [f"--run-dir={directory}/run", f"--store={directory}/store"]
        engine = ["--engine", "ray", "--engine.address=local", "--engine.cpus=1"]
        engine += [f"--engine.memory={memory or _SMALLEST}"]
        config = str(ROOT / "tests" / "bench" / "small_trials.py")
        argv = [config, f"--data.name={directory}/rows.npz", f"--seeds={n_trials}", *places]
        with _limited(workers):
            taken = wall(lambda: _launch([*argv, *engine]))
            sizes = _sizes(directory / "store")
            again = wall(lambda: _launch(argv))
            ray = wall(_ray)
    simulated = pulled_as(sizes, costs, workers)
    return Checked(len(sizes), n_trials, taken, again, ray, simulated)


def pulled_as(sizes: list[tuple[str, int]], costs: Costs, workers: int) -> Spent:
    """Simulates packs as a store holds them, on a disk of this machine: it serves at once, and workers share it.

    Args:
      sizes: the stage and the trials of each pack.
      costs: of this machine.
      workers: that pull.
    """
    names = list(dict.fromkeys(name for name, _ in sizes))
    of_level = {name: [n for each, n in sizes if each == name] for name in sorted(names, key=_depth)}
    seconds = costs.trial / len(of_level)
    levels = tuple(Level(sum(trials), seconds) for trials in of_level.values())
    most = tuple(max(trials) for trials in of_level.values())
    cluster = Cluster(workers, operations=1e6, latency=0.0, varied=0.0)
    return pulled(Sweep(levels), cluster, costs._replace(plan_trial=0.0, plan_point=0.0), sizes=most)


def _depth(stage: str) -> tuple[bool, str]:
    return not stage.startswith("pretrain"), stage


def _sizes(store: Path) -> list[tuple[str, int]]:
    """Returns the stage and the number of trials of each pack of a store."""
    from pretrain.store import sealed

    manifests = [sealed.read_manifest(path) or {} for path in sorted((store / "packs").iterdir())]
    return [(manifest["kind"], len(manifest["stages"])) for manifest in manifests]


def _launch(argv: list[str]) -> None:
    done = subprocess.run([sys.executable, str(ROOT / "launch.py"), *argv], cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")


def _ray() -> None:
    code = "import ray; ray.init(address='local', include_dashboard=False, log_to_driver=False); ray.shutdown()"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


@contextlib.contextmanager
def _limited(n_cores: int) -> Iterator[None]:
    """Gives this process, and those that it starts, so many cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:n_cores])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def compared(run: Checked) -> Iterator[str]:
    """Yields lines about a real run and the simulation of it."""
    pulling = run.wall - run.again - run.ray
    yield f"{run.packs:,} packs of {run.trials:,} small trials on Ray, 2 workers: {run.wall:.1f} s"
    yield f"  of it the same command with all stored {run.again:.1f} s, Ray's start and end {run.ray:.1f} s"
    yield f"simulated: {run.predicted:.1f} s in all, {run.simulated.wall:.1f} s of workers; measured {pulling:.1f} s"
    ratios = f"{run.wall / run.predicted:.2f} in all, {pulling / run.simulated.wall:.2f} of workers"
    yield f"ratio of measured to simulated: {ratios}"
    yield f"workers' time in training, simulated: {run.simulated.share():.1%}"

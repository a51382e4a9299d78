"""Times sweeps of fine-tunings on this machine: what a trial costs in small and large ones, memory, overhead, restart.

    python -m tests.bench.sweep [--repeats 3] [--quick]

The large sweep is 1,024 fine-tunings of a 784-64-32 encoder with 500 labels: 8 learning rates x 16 repeats on each of 8
pretrainings. The small one is 16 of them, 8 rates on 2 pretrainings; the middle one 256. Each runs in a process of its
own with compiled programs at hand, small and large take turns. A trial's cost is its share of the wall clock of its
pack, from restoring its parent to handing its result back; overhead is the time in planning, restoring, saving and
recording, while nothing trains; reading the images and writing the report are not counted. The report that is written
again is the large sweep's.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table

from tests.bench.seed_job import ROOT, environment, machine

SIZES = {"small": (2, 1), "middle": (4, 8), "large": (8, 16)}  # pretrainings, repeats
RATES = tuple(1e-4 * 10 ** (3 * index / 7) for index in range(8))
OVERHEAD = {
    "planning": [
        ("pretrain.plan.plan", "plan"),
        ("pretrain.store.reuse", "reasons"),
        ("pretrain.engines.here", "packs"),
    ],
    "restoring": [("pretrain.store.store.Store", "verified"), ("pretrain.store.store.Store", "params")],
    "saving": [
        ("pretrain.engines.here._Saver", "save"),
        ("pretrain.engines.here._Saver", "wait"),
        ("pretrain.store.store.Store", "save_progress"),
    ],
    "recording": [
        ("pretrain.running", "_judged"),
        ("pretrain.runs.tables", "write"),
    ],
}


def experiment(size, directory, name, epochs):
    """Returns a sweep as an experiment; all sweeps in a directory share compiled programs."""
    from pretrain.config import EncoderConfig, Experiment, FinetuneConfig, PretrainConfig

    seeds, repeats = SIZES[size]
    store = Path(directory) / name / "store"
    store.mkdir(parents=True, exist_ok=True)
    if not (store / "programs").exists():
        (Path(directory) / "programs").mkdir(exist_ok=True)
        (store / "programs").symlink_to(Path(directory) / "programs")
    return Experiment(
        encoder=EncoderConfig(layers=(64, 32)),
        pretrain=PretrainConfig(epochs=1),
        finetune=FinetuneConfig(labels=500, epochs=epochs),
        sweep=({"finetune.optimizer.learning_rate": RATES},),
        seeds=seeds,
        repeats=repeats,
        run_dir=str(Path(directory) / name / "run"),
        store=str(store),
    )


class Stopwatch:
    """Times functions of the main thread by patching them; what one of them calls counts once, for the outer one."""

    def __init__(self):
        self.seconds = dict.fromkeys(OVERHEAD, 0.0)
        self._inside = False
        for part, functions in OVERHEAD.items():
            for path, name in functions:
                self._patch(part, path, name)

    def _patch(self, part, path, name):
        import pkgutil

        owner = pkgutil.resolve_name(path)
        function = getattr(owner, name)

        def timed(*arguments, **options):
            if self._inside:
                return function(*arguments, **options)
            self._inside, began = True, time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self._inside = False
                self.seconds[part] += time.perf_counter() - began

        setattr(owner, name, timed)


def work(size, directory, name, epochs):
    """Runs a sweep in this process; prints what it took as JSON."""
    from pretrain.commands import run as session

    asked = experiment(size, directory, name, epochs)
    stopwatch = Stopwatch()
    began = time.perf_counter()
    code = session.run(asked)
    seconds = time.perf_counter() - began
    if code:
        sys.exit(code)
    timings = pq.read_table(Path(asked.run_dir) / "timings.parquet").to_pylist()
    trials = [row["run_seconds"] for row in timings if row["stage"] == "finetune"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    reported = {"seconds": seconds, "trials": len(trials), "trial_seconds": statistics.mean(trials), "peak": peak}
    print(json.dumps({**reported, "overhead": stopwatch.seconds}))


def measure(size, directory, name, epochs):
    """Runs a sweep in a process of its own; returns what it took, from process start to exit as ``wall``."""
    options = json.dumps([size, directory, name, epochs])
    command = [sys.executable, "-m", "tests.bench.sweep", "--work", options]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment(directory), capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{size}: exit code {done.returncode}\n{done.stderr}")
    return {**json.loads(done.stdout.splitlines()[-1]), "wall": wall}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3, help="alternating repeats of small and large")
    parser.add_argument("--quick", action="store_true", help="one repeat, with a middle sweep for the large one")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*json.loads(options.work))
        return
    repeats, large = (1, "middle") if options.quick else (options.repeats, "large")
    out, progress = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)
    out.print(machine())
    epochs, taken = 4, {size: [] for size in SIZES}
    with tempfile.TemporaryDirectory() as directory:
        for size in SIZES:
            progress.print(f"compiling: {size}")
            measure(size, directory, f"{size}-first", epochs)
        for repeat in range(repeats):
            for size in dict.fromkeys(["small", large, "middle"]):
                progress.print(f"repeat {repeat + 1} of {repeats}: {size}")
                taken[size].append(measure(size, directory, f"{size}-{repeat}", epochs))
        again = [measure(large, directory, f"{large}-0", epochs)["wall"] for _ in range(repeats)]
        reports = [write_report(Path(directory) / f"{large}-0" / "run") for _ in range(repeats)]
    out.print(report(taken, large, again, reports))


def write_report(run):
    """Returns the seconds that ``launch.py report`` takes for a run: statistics, figures and page."""
    began = time.perf_counter()
    subprocess.run([sys.executable, str(ROOT / "launch.py"), "report", str(run)], check=True, capture_output=True)
    return time.perf_counter() - began


def report(taken, large, again, reports):
    """Returns the table of medians against their targets."""

    def median(size, quantity):
        return statistics.median(run[quantity] for run in taken[size])

    table = Table("", "measured", "target", box=None, pad_edge=False)
    n, small, big = taken[large][0]["trials"], median("small", "trial_seconds"), median(large, "trial_seconds")
    table.add_row(f"a trial of 16, of {n}", f"{1e3 * small:.1f} ms, {1e3 * big:.1f} ms", "")
    table.add_row("their ratio", f"{big / small:.2f}", "at most 1.10")
    table.add_row(f"{n} trials, whole process", f"{median(large, 'wall'):.1f} s", "")
    table.add_row("peak memory", f"{median(large, 'peak') / 1e9:.2f} GB", "under 6 GB")
    table.add_row("again, finished", f"{statistics.median(again):.1f} s", "at most 5 s")
    table.add_row("its report, written again", f"{statistics.median(reports):.1f} s", "at most 15 s")
    share = statistics.median(sum(run["overhead"].values()) / run["wall"] for run in taken["middle"])
    table.add_row("overhead of 256 trials", f"{share:.1%} of {median('middle', 'wall'):.1f} s", "at most 5 %")
    for part in OVERHEAD:
        seconds = statistics.median(run["overhead"][part] for run in taken["middle"])
        table.add_row(f"  {part}", f"{seconds:.2f} s", "")
    return table


if __name__ == "__main__":
    main()

"""Times the seed job against PyTorch, eager and compiled, on this machine, and prints a table of ratios.

    python -m tests.bench.seed_job [--repeats 5] [--quick]

The seed job is one seed of the seed's protocol: two greedy phases of a 784-300-150 autoencoder on MNIST, then a frozen
pretrained and a trainable He fine-tuning, with all of their measurements. Each side runs in processes of its own, one
at a time, and the three take turns. PyTorch comes with `pip install -e '.[bench]'`; close other programs first, since
PyTorch's threads wait for each other.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
SIDES = ("ours", "eager", "compile")
STAGES = ("pretrain/0", "pretrain/1", "finetune frozen", "finetune trainable")
TARGETS = {"cold": 1.0, "warm": 0.85, "packed": 0.55}  # at most this times eager


def cold_command(side, scratch, epochs):
    """Returns the command line of one seed job; ours is a launch as users do it, with its files in ``scratch``."""
    if side == "ours":
        places = ["--run-dir", f"{scratch}/run", "--store", f"{scratch}/store"]
        lengths = [f"--{stage}.epochs={epochs}" for stage in ("pretrain", "finetune")]
        return [sys.executable, str(ROOT / "launch.py"), str(HERE / "seed_job_config.py"), *places, *lengths]
    return [*torch_command(side), "--epochs", str(epochs)]


def serving_command(side, scratch):
    """Returns the command line of a program that does the jobs it is asked for; ours keeps files in ``scratch``."""
    if side == "ours":
        return [sys.executable, str(HERE / "seed_job_ours.py"), scratch]
    return [*torch_command(side), "--serve"]


def torch_command(side):
    """Returns the beginning of the command line of PyTorch's program."""
    return [sys.executable, str(HERE / "seed_job_torch.py"), *(["--compile"] if side == "compile" else [])]


def environment(scratch):
    """Returns the environment of a program whose caches are all in ``scratch``."""
    caches = {name: f"{scratch}/{name}" for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")}
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, **caches, "PYTHONPATH": os.pathsep.join(paths)}


def cold(side, epochs):
    """Returns the seconds of one seed job from the start of a process with empty caches to its exit."""
    with tempfile.TemporaryDirectory() as scratch:
        options = {"cwd": ROOT, "env": environment(scratch), "capture_output": True, "text": True}
        began = time.perf_counter()
        done = subprocess.run(cold_command(side, scratch, epochs), **options)
        seconds = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{side}: exit code {done.returncode}\n{done.stderr}")
    return seconds


class Worker:
    """A side's program, kept running: a JSON line to it asks for jobs, a JSON line from it gives their times."""

    def __init__(self, side):
        self._side, self._scratch = side, tempfile.TemporaryDirectory()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in close()
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self._errors, "text": True}
        scratch = self._scratch.name
        self._process = subprocess.Popen(serving_command(side, scratch), cwd=ROOT, env=environment(scratch), **pipes)

    def ask(self, **request):
        try:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            self._process.wait()
            self._errors.seek(0)
            sys.exit(f"{self._side}: exit code {self._process.returncode}\n{self._errors.read()}")

    def jobs(self, seeds, epochs):
        """Does the jobs of some seeds; returns seconds a seed, and what each ask answered."""
        if self._side == "ours":
            answers = [self.ask(seeds=seeds, epochs=epochs)]
            return answers[0]["seconds"] / len(seeds), answers
        answers = [self.ask(seed=seed, epochs=epochs) for seed in seeds]
        return statistics.median(answer["seconds"] for answer in answers), answers

    def close(self):
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()
        self._scratch.cleanup()


def measure(repeats, epochs, n_seeds, n_torch, notify):
    """Runs every measurement; returns values (seconds) by quantity and side, and what the warm jobs reached."""
    times = {quantity: {side: [] for side in SIDES} for quantity in ("cold", "warm", *STAGES, "packed")}
    reached = {side: [] for side in SIDES}
    for repeat in range(repeats):
        for side in SIDES:
            notify(f"cold, repeat {repeat + 1} of {repeats}: {side}")
            times["cold"][side].append(cold(side, epochs))
    workers = {side: Worker(side) for side in SIDES}
    packs = {side: list(range(n_seeds if side == "ours" else n_torch)) for side in SIDES}
    for side, worker in workers.items():
        notify(f"compiling: {side}")
        worker.jobs([0], epochs)
        if side == "ours":
            worker.jobs(packs[side], epochs)
    for repeat in range(repeats):
        for side, worker in workers.items():
            notify(f"warm, repeat {repeat + 1} of {repeats}: {side}")
            seconds, (answer,) = worker.jobs([repeat], epochs)
            times["warm"][side].append(seconds)
            reached[side].append(answer)
            for stage in STAGES:
                times[stage][side].append(answer["step_seconds"][stage])
    for repeat in range(repeats):
        for side, worker in workers.items():
            notify(f"{n_seeds} seeds, repeat {repeat + 1} of {repeats}: {side}")
            times["packed"][side].append(worker.jobs(packs[side], epochs)[0])
    for worker in workers.values():
        worker.close()
    return times, reached


def timings(times, n_seeds, judged):
    """Returns the table of medians and ratios."""
    titles = {"cold": "cold process, s", "warm": "warm computation, s", "packed": f"a seed of {n_seeds}, s"}
    table = Table("median", *SIDES, "ours/eager", "ours/compile", "target", box=None, pad_edge=False)
    for quantity, by_side in times.items():
        ours, eager, compiled = (statistics.median(by_side[side]) for side in SIDES)
        is_step = quantity in STAGES
        title = f"{quantity} step, ms" if is_step else titles[quantity]
        values = [f"{1e3 * value:.3f}" if is_step else f"{value:.2f}" for value in (ours, eager, compiled)]
        target = TARGETS.get(quantity)
        verdict = f"≤ {target:.2f} eager" if target else ""
        if target and judged:
            verdict += ": met" if ours <= target * eager else ": missed"
        table.add_row(title, *values, f"{ours / eager:.2f}", f"{ours / compiled:.2f}", verdict)
    return table


def outcomes(reached):
    """Returns the table of what the warm jobs reached, mean over repeats: the sides must have done the same work."""
    table = Table("mean", *SIDES, box=None, pad_edge=False)
    for index, arm in enumerate(("pretrained, frozen", "He, trainable")):
        means = [statistics.mean(answer["test_accuracy"][index] for answer in reached[side]) for side in SIDES]
        table.add_row(f"test accuracy, {arm}", *(f"{mean:.3f}" for mean in means))
    means = [statistics.mean(answer["test_mse"] for answer in reached[side]) for side in SIDES]
    table.add_row("test reconstruction error", *(f"{mean:.5f}" for mean in means))
    return table


def machine():
    """Returns the machine and the versions, in a line."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("jax", "jaxlib"))
    return f"{processor()}, {len(os.sched_getaffinity(0))} cores; Python {platform.python_version()}, {versions}"


def processor():
    """Returns the CPU's model, as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="alternating repeats of every measurement")
    parser.add_argument("--quick", action="store_true", help="one repeat of one epoch, 4 seeds: that it works")
    options = parser.parse_args()
    if importlib.util.find_spec("torch") is None:
        print("the benchmark needs PyTorch: pip install -e '.[bench]'", file=sys.stderr)
        return 2
    repeats, epochs, n_seeds, n_torch = (1, 1, 4, 1) if options.quick else (options.repeats, 4, 16, 3)
    out, progress = Console(highlight=False, soft_wrap=True), Console(stderr=True, highlight=False)
    out.print(f"{machine()}, torch {version('torch')}")
    out.print(f"{repeats} alternating repeats; load average before: {os.getloadavg()[0]:.2f}")
    times, reached = measure(repeats, epochs, n_seeds, n_torch, progress.print)
    out.print(timings(times, n_seeds, judged=not options.quick))
    out.print(outcomes(reached))
    return 0


if __name__ == "__main__":
    sys.exit(main())

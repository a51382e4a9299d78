"""The seed job in `pretrain`: the other side of `tests/bench/seed_job.py`.

As a program it does one seed job from a cold start, as `launch.py` runs it, in a directory that is new:

    python tests/bench/seed_job_ours.py DIRECTORY [--epochs 4]

With `--serve` it stays, and for every line it reads it does the job of the seeds that the line names, in one pack a
stage, without a store.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax

from pretrain import data
from pretrain.commands import run as session
from pretrain.config import Experiment, FinetuneConfig, PretrainConfig
from pretrain.sweep import execute, programs
from pretrain.sweep import plan as planning
from pretrain.sweep.identity import Fingerprints

ARMS = (
    {"finetune.encoder_init": ("pretrained",), "finetune.frozen_layers": (2,)},
    {"finetune.encoder_init": ("he",), "finetune.frozen_layers": (0,)},
)
MEMORY = 2**40  # so that all seeds share a pack


def experiment(directory, epochs, seeds=1):
    """Returns the seed job as an experiment; its defaults are the seed's protocol."""
    return Experiment(
        pretrain=PretrainConfig(epochs=epochs),
        finetune=FinetuneConfig(epochs=epochs),
        sweep=ARMS,
        seeds=seeds,
        run_dir=f"{directory}/run",
        store=f"{directory}/store",
    )


class Stopwatch:
    """Called after each chunk of a pack; times the updates after the first chunk."""

    def __init__(self, n_jobs):
        self.n_jobs, self.marks = n_jobs, []

    def __call__(self, step, progress):
        self.marks.append((time.perf_counter(), step))

    def step_seconds(self):
        """Returns seconds an update, all the pack's jobs together counting as many."""
        (began, first), *_, (ended, last) = self.marks
        return (ended - began) / ((last - first) * self.n_jobs)


def title(stage):
    if not stage.is_last:
        return stage.name
    return "finetune frozen" if stage.stack.start else "finetune trainable"


def run(dataset, directory, seeds, epochs=4):
    """Does the jobs of these seeds; returns their seconds and, seed by seed, what they reached."""
    began = time.perf_counter()
    asked = experiment(directory, epochs, max(seeds) + 1)
    fingerprints = Fingerprints(Path(directory))
    jobs = planning.plan(asked, {asked.data: dataset}, fingerprints).jobs.values()
    fingerprints.save()
    params, results, step_seconds = {None: None}, {}, {}
    packs = planning.packs([job for job in jobs if job.seed in seeds], (), MEMORY, jax.local_device_count())
    for pack in packs:
        stopwatch = Stopwatch(len(pack.jobs))
        outcome = execute.run(pack, dataset, [params[job.parent] for job in pack.jobs], stopwatch)
        step_seconds[title(pack.stage)] = stopwatch.step_seconds()
        for lane, job in enumerate(pack.jobs):
            params[job.id] = jax.tree.map(lambda leaf, lane=lane: leaf[lane], outcome.params)
        results[title(pack.stage)] = {name: values.tolist() for name, values in outcome.results.items()}
    assert len(packs) == 4, "the seeds do not fit one pack a stage"
    return {
        "seconds": time.perf_counter() - began,
        "step_seconds": step_seconds,
        "test_accuracy": [results[f"finetune {arm}"]["test_accuracy"][0] for arm in ("frozen", "trainable")],
        "test_mse": results["pretrain/1"]["pretrain_test_mse"][0],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--serve", action="store_true")
    options = parser.parse_args()
    if not options.serve:
        sys.exit(session.run(experiment(options.directory, options.epochs)))
    programs.prepare_devices()
    programs.prepare(Path(options.directory) / "programs")
    dataset = data.load(experiment(options.directory, 1).data)
    for line in sys.stdin:
        print(json.dumps(run(dataset, options.directory, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

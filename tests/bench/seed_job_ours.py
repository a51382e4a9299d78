"""The seed job in `pretrain`, warm: the other side of `tests/bench/seed_job.py`.

    python tests/bench/seed_job_ours.py DIRECTORY

For every line it reads it does the job of the seeds that the line names, in one pack a stage, without a store.
"""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path

import jax

from pretrain import data
from pretrain.config.fields import replace_all
from pretrain.execute import execute
from pretrain.plan import plan as planning
from pretrain.plan.identity import Fingerprints
from pretrain.store import programs
from tests.bench.seed_job_config import get_config

EPOCHS = ("pretrain.epochs", "finetune.epochs")
MEMORY = 2**40  # so that all seeds share a pack


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
    if stage.name != "finetune":
        return stage.name
    return "finetune frozen" if stage.stack.start else "finetune trainable"


def run(dataset, directory, seeds, epochs=4):
    """Does the jobs of these seeds; returns their seconds and, seed by seed, what they reached."""
    began = time.perf_counter()
    asked = replace_all(replace(get_config(), seeds=max(seeds) + 1), dict.fromkeys(EPOCHS, epochs))
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
    (directory,) = sys.argv[1:]
    programs.prepare_devices()
    programs.prepare(Path(directory) / "programs")
    dataset = data.load(get_config().data)
    for line in sys.stdin:
        print(json.dumps(run(dataset, directory, **json.loads(line))), flush=True)


if __name__ == "__main__":
    main()

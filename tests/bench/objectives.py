"""Times a phase's update under every objective against plain reconstruction, at the seed's sizes, on this machine.

    python -m tests.bench.objectives [--repeats 5] [--seeds 2]

One epoch of phase 1 (784-300-784, sigmoid units, batches of 150) of seeds packed on the local devices, with its share
of the measurements at its end; an update is a seed's share of its pack's. Programs are compiled before, objectives
take turns, medians.
"""

import argparse
import statistics

from rich.console import Console
from rich.table import Table

from pretrain.config import EncoderConfig, Experiment, FinetuneConfig, ObjectiveConfig, PretrainConfig
from tests.bench.seed_job import machine

OBJECTIVES = {
    "plain": {},
    "cross-entropy": {"loss": "cross_entropy"},
    "tied": {"tied": True},
    "masking": {"corruption": "masking"},
    "salt and pepper": {"corruption": "salt_and_pepper"},
    "gaussian": {"corruption": "gaussian"},
    "sparse, KL": {"sparsity": "kl"},
    "sparse, L1": {"sparsity": "l1"},
    "contractive": {"contractive": True},
    "variational": {"variational": True},
    "rbm, CD-1": {"kind": "rbm"},
    "rbm, persistent": {"kind": "rbm", "persistent": True},
    "rbm, gaussian": {"kind": "rbm", "visible": "gaussian"},
    "supervised": {"kind": "supervised"},
    "tied, cross-entropy, masking": {"tied": True, "loss": "cross_entropy", "corruption": "masking"},
}
TARGET = 1.6


def pack(objective, seeds):
    """Returns the pack of a phase under an objective, and its images."""
    from pretrain import data
    from pretrain.sweep import plan as planning

    config = PretrainConfig(objective=ObjectiveConfig(**objective), epochs=1)
    encoder, finetune = EncoderConfig(widths=(300,), activation="sigmoid"), FinetuneConfig(labels=55_000)
    asked = Experiment(encoder=encoder, pretrain=config, finetune=finetune, seeds=seeds)
    dataset = data.load(asked.data)
    jobs = [job for job in planning.plan(asked, {asked.data: dataset}).jobs.values() if job.parent is None]
    return planning.Pack(jobs[0].stage, tuple(jobs)), dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    from pretrain.sweep import execute, programs

    programs.prepare_devices()
    packs = {name: pack(objective, asked.seeds) for name, objective in OBJECTIVES.items()}
    taken = {name: [] for name in packs}
    for repeat in range(asked.repeats + 1):  # the first compiles
        for name, (work, dataset) in packs.items():
            ran = execute.run(work, dataset, [None] * len(work.jobs), lambda step, progress: None)
            taken[name] += [1e3 * ran.seconds / work.stage.total_steps] if repeat else []
    table = Table("objective", "an update (ms)", "ratio", "target", box=None, pad_edge=False)
    for name, times in taken.items():
        ratio = statistics.median(mine / plain for mine, plain in zip(times, taken["plain"], strict=True))
        table.add_row(name, f"{statistics.median(times):.2f}", f"{ratio:.2f}", f"at most {TARGET}")
    out = Console(highlight=False, soft_wrap=True)
    out.print(machine())
    out.print(table)


if __name__ == "__main__":
    main()

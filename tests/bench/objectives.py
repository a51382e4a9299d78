"""Times a greedy stage's update by every method against plain reconstruction, at the seed's sizes, on this machine.

    python -m tests.bench.objectives [--repeats 5] [--seeds 2]

One epoch of the first stage (784-300-784, sigmoid units, batches of 150) of seeds packed on the local devices, with its
share of the measurements at its end; an update is a seed's share of its pack's. Programs are compiled before, methods
take turns, medians.
"""

import argparse
import statistics

from rich.console import Console
from rich.table import Table

from pretrain.config import (
    AutoencoderConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PretrainConfig,
    RbmConfig,
    SupervisedConfig,
)
from tests.bench.seed_job import machine

METHODS = {
    "plain": AutoencoderConfig(),
    "cross-entropy": AutoencoderConfig(loss="cross_entropy"),
    "tied": AutoencoderConfig(tied=True),
    "masking": AutoencoderConfig(corruption="masking"),
    "salt and pepper": AutoencoderConfig(corruption="salt_and_pepper"),
    "gaussian": AutoencoderConfig(corruption="gaussian"),
    "sparse, KL": AutoencoderConfig(sparsity="kl"),
    "sparse, L1": AutoencoderConfig(sparsity="l1"),
    "contractive": AutoencoderConfig(contractive=True),
    "variational": AutoencoderConfig(variational=True),
    "rbm, CD-1": RbmConfig(),
    "rbm, persistent": RbmConfig(persistent=True),
    "rbm, gaussian": RbmConfig(visible="gaussian"),
    "supervised": SupervisedConfig(),
    "tied, cross-entropy, masking": AutoencoderConfig(tied=True, loss="cross_entropy", corruption="masking"),
}
TARGET = 1.6


def pack(method, seeds, fingerprints):
    """Returns the pack of a stage by a method, and its images."""
    from pretrain import data
    from pretrain.plan import plan as planning

    config = PretrainConfig(method=method, epochs=1)
    encoder, finetune = EncoderConfig(layers=(300,), activation="sigmoid"), FinetuneConfig(labels=55_000)
    asked = Experiment(encoder=encoder, pretrain=config, finetune=finetune, seeds=seeds)
    dataset = data.load(asked.data)
    plan = planning.plan(asked, {asked.data: dataset}, fingerprints)
    jobs = [job for job in plan.jobs.values() if job.parent is None]
    return planning.Pack(jobs[0].stage, tuple(jobs)), dataset


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    from pretrain.execute import execute
    from pretrain.plan.identity import Fingerprints
    from pretrain.store import programs

    programs.prepare_devices()
    fingerprints = Fingerprints()
    packs = {name: pack(method, asked.seeds, fingerprints) for name, method in METHODS.items()}
    taken = {name: [] for name in packs}
    for repeat in range(asked.repeats + 1):  # the first compiles
        for name, (work, dataset) in packs.items():
            ran = execute.run(work, dataset, [None] * len(work.jobs), lambda step, progress: None)
            taken[name] += [1e3 * ran.seconds / work.stage.n_updates] if repeat else []
    table = Table("method", "an update (ms)", "ratio", "target", box=None, pad_edge=False)
    for name, times in taken.items():
        ratio = statistics.median(mine / plain for mine, plain in zip(times, taken["plain"], strict=True))
        table.add_row(name, f"{statistics.median(times):.2f}", f"{ratio:.2f}", f"at most {TARGET}")
    out = Console(highlight=False, soft_wrap=True)
    out.print(machine())
    out.print(table)


if __name__ == "__main__":
    main()

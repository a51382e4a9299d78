"""An update of each method of two views against its matrix products, against PyTorch eager, and without its views.

    pip install -e '.[bench]' && python -m tests.bench.two_views [--repeats 5] [--seconds 0.5] [--threads 1]

Updates are those of a stage that trains all layers at once on MNIST by Adam, 256 views of 128 images, in a compiled
loop on one XLA device. Products are those of the forward and the backward pass, each jitted by itself, summed. An
update that is given its views is compared with them, and with PyTorch, which is given views, too. Programs take turns,
on as many cores as threads; medians, in CPU seconds.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from unittest import mock

from rich.console import Console
from rich.table import Table

from pretrain.config import (
    ContrastiveConfig,
    EncoderConfig,
    Experiment,
    PretrainConfig,
    RedundancyConfig,
    TeacherConfig,
    VarianceConfig,
)
from tests.bench.seed_job import machine

METHODS = {
    "NT-Xent": ContrastiveConfig(),
    "Barlow Twins": RedundancyConfig(),
    "VICReg": VarianceConfig(),
    "BYOL": TeacherConfig(),
}
LAYERS = {"dense": (300, 150), "convolution": ("32c5s2", "64c5s2", 128)}
BATCH = 128


def stage_of(method, layers, fingerprints):
    """Returns a stage that trains all layers at once, the numbers of its config, and its examples."""
    import jax

    from pretrain import data
    from pretrain.plan import arrays
    from pretrain.plan import plan as planning

    pretrain = PretrainConfig(method=method, training="end_to_end", updates=1000, batch_size=BATCH)
    asked = Experiment(encoder=EncoderConfig(layers=layers, activation="relu"), pretrain=pretrain, seeds=1)
    dataset = data.load(asked.data)
    plan = planning.plan(asked, {asked.data: dataset}, fingerprints)
    (job,) = (job for job in plan.jobs.values() if job.parent is None)
    return job.stage, job.config, jax.device_put(arrays.examples_of(job.stage, dataset))


def programs_of(stage, config, examples, seconds: float) -> dict:
    """Returns an update, the same given its views, and its products, to be timed."""
    import jax
    import jax.numpy as jnp

    from pretrain.learn import two_views
    from pretrain.learn.layers import scaled
    from tests.bench import products

    rows, keys = scaled(jnp.asarray(examples.train.inputs[:BATCH])), jax.random.split(jax.random.key(0))
    made = jax.jit(lambda keys: two_views.views(rows, stage.static, config.method, keys))(keys)
    whole = products.looped(*products.update_of(stage, config, examples), seconds)
    with mock.patch.object(two_views, "views", lambda *_: made):
        given = products.update_of(stage, config, examples)
        timed = {"update": whole, "given views": products.looped(*given, seconds)}
        return {**timed, "products": products.of_products(*given)}


def torch_eager(method: str, seconds: float, threads: int) -> Callable[[], float]:
    """Returns an update of the convolution by PyTorch, given its views, to be timed."""
    import torch
    from torch import nn

    from tests.bench.products import of_one

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    views = torch.rand(2 * BATCH, 1, 28, 28)
    model = nn.Sequential(
        *(nn.Conv2d(1, 32, 5, 2, 2), nn.ReLU(), nn.Conv2d(32, 64, 5, 2, 2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(49 * 64, 128), nn.ReLU()),
        *(nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 64)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)
    pairs, own = torch.arange(2 * BATCH).roll(BATCH), torch.eye(2 * BATCH, dtype=torch.bool)
    diagonal = torch.eye(64, dtype=torch.bool)

    def nt_xent(outputs):
        outputs = nn.functional.normalize(outputs, dim=1)
        return nn.functional.cross_entropy((outputs @ outputs.T / 0.5).masked_fill(own, -torch.inf), pairs)

    def barlow_twins(outputs):
        first, second = ((each - each.mean(0)) / (each.var(0, correction=0) + 1e-5).sqrt() for each in outputs.chunk(2))
        correlations = first.T @ second / BATCH
        off = correlations.masked_fill(diagonal, 0).square().sum()
        return ((1 - correlations.diagonal()).square().sum() + 0.005 * off) / 64

    loss = {"NT-Xent": nt_xent, "Barlow Twins": barlow_twins}[method]

    def step():
        optimizer.zero_grad()
        loss(model(views)).backward()
        optimizer.step()

    return lambda: of_one(step, max(3, round(seconds / of_one(step, 1))))


def main() -> None:
    """Prints medians of programs that take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each program in each of its turns")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: asked.threads])  # before XLA counts them
    from pretrain.plan.identity import Fingerprints

    out, fingerprints = Console(highlight=False, soft_wrap=True, width=120), Fingerprints()
    columns = ("update", "given views", "products", "PyTorch", "to products", "to PyTorch", "views")
    table = Table("method", "layers", *columns, box=None, pad_edge=False)
    for layers, words in LAYERS.items():
        for name, method in METHODS.items():
            timed = programs_of(*stage_of(method, words, fingerprints), asked.seconds)
            if layers == "convolution" and name in ("NT-Xent", "Barlow Twins"):
                timed["PyTorch"] = torch_eager(name, asked.seconds, asked.threads)
            rounds = [{part: each() for part, each in timed.items()} for _ in range(asked.repeats + 1)][1:]
            taken = {part: statistics.median(each[part] for each in rounds) for part in timed}
            shares = {
                "to products": [each["given views"] / each["products"] for each in rounds],
                "to PyTorch": [each["given views"] / each["PyTorch"] for each in rounds if "PyTorch" in each],
                "views": [1 - each["given views"] / each["update"] for each in rounds],
            }
            ratios = {part: f"{statistics.median(each):.2f}" if each else "" for part, each in shares.items()}
            times = {part: f"{1000 * each:.2f} ms" for part, each in taken.items()}
            table.add_row(name, layers, *({**times, **ratios}.get(column, "") for column in columns))
    out.print(f"{machine()}, threads: {asked.threads}")
    out.print(table)


if __name__ == "__main__":
    main()

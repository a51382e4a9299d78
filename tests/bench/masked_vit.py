"""An update of masked pretraining of a small ViT against its products, with hidden tokens, and against PyTorch eager.

    pip install -e '.[bench]' && python -m tests.bench.masked_vit [--repeats 5] [--seconds 0.5] [--threads 2]

``64p4 t4 t4`` on images of 28 x 28 in batches of 128, three quarters of the tokens hidden, by Adam, in a loop on
one XLA device. Products are those of the forward and the backward pass, each jitted by itself, summed; the update with
hidden tokens has them as zeros in the encoder, as other layers do. Programs take turns, on as many cores as threads;
medians, of the time of the process on its cores (CPU seconds), which other work on the machine alters least.
"""

import argparse
import os
import statistics
from collections.abc import Callable
from unittest import mock

from rich.console import Console
from rich.table import Table

from tests.bench.seed_job import machine

BATCH, IMAGES, SIDE, UNITS, WINDOW, HEADS, DEPTH, HIDDEN = 128, 2048, 28, 64, 4, 4, 2, 37
N_TOKENS, VALUES = (SIDE // WINDOW) ** 2, WINDOW**2


def ours(seconds: float) -> dict[str, Callable[[], float]]:
    """Returns our update, the one that computes hidden tokens, and the products of ours, to be timed."""
    import jax

    from pretrain.config import MaskedConfig, PretrainConfig
    from pretrain.learn.attention import Attention, Patches
    from pretrain.learn.methods import masked
    from pretrain.learn.metrics import Batch, Splits
    from pretrain.learn.stack import Stack
    from pretrain.learn.stage import Layout
    from pretrain.learn.tasks import NO_TASK
    from pretrain.plan import builders
    from tests.bench import products

    method, layers, shape = MaskedConfig(), (Patches(UNITS, WINDOW), *[Attention(HEADS)] * DEPTH), (SIDE, SIDE, 1)
    section = PretrainConfig(method=method, training="end_to_end", updates=1000, batch_size=BATCH)
    batch = Batch(jax.random.uniform(jax.random.key(0), (IMAGES, *shape)))
    examples = Splits(batch, batch, batch)

    def update() -> tuple[Callable, tuple]:
        beside = tuple(builders.companions(method, layers[:depth], shape, NO_TASK) for depth in range(1, DEPTH + 2))
        made = builders.pretraining(section, method, Stack(layers, shape, beside), 1, IMAGES, layout=Layout(shape))
        return products.update_of(made[0], made[1], examples)

    one = update()
    timed = {"update": products.looped(*one, seconds), "products": products.of_products(*one)}
    with mock.patch.object(masked.tokens, "n_layers", lambda *_: 0):
        return {**timed, "with hidden tokens": products.looped(*update(), seconds)}


def torch_eager(seconds: float, threads: int) -> Callable[[], float]:
    """Returns the update by PyTorch, to be timed; masks by sorting noise, as He et al. (2022) draw them."""
    import torch
    from torch import nn

    from tests.bench.products import of_one
    from tests.vit import Block

    torch.manual_seed(0)
    torch.set_num_threads(threads)
    images = torch.rand(IMAGES, 1, SIDE, SIDE)

    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.patches, self.embed = nn.Linear(VALUES, UNITS), nn.Linear(UNITS, UNITS // 2)
            self.positions = nn.Parameter(0.02 * torch.randn(N_TOKENS, UNITS))
            self.others = nn.Parameter(0.02 * torch.randn(N_TOKENS, UNITS // 2))
            self.blocks = nn.Sequential(*(Block(UNITS, HEADS) for _ in range(DEPTH)))
            self.block, self.norm = Block(UNITS // 2, 2), nn.LayerNorm(UNITS // 2)
            self.mask, self.values = nn.Parameter(torch.zeros(UNITS // 2)), nn.Linear(UNITS // 2, VALUES)

        def forward(self, rows):
            cut = nn.functional.unfold(rows, WINDOW, stride=WINDOW).transpose(1, 2)
            order = torch.rand(len(rows), N_TOKENS).argsort(1)
            back, kept = order.argsort(1), order[:, HIDDEN:, None]
            tokens = self.patches(cut.gather(1, kept.expand(-1, -1, VALUES))) + self.positions[kept[:, :, 0]]
            seen = self.embed(self.blocks(tokens))
            whole = torch.cat([self.mask.expand(len(rows), HIDDEN, -1), seen], 1)
            whole = whole.gather(1, back[:, :, None].expand(-1, -1, UNITS // 2)) + self.others
            errors = (self.values(self.norm(self.block(whole))) - cut).square().mean(2)
            return (errors * (back < HIDDEN)).sum() / (len(rows) * HIDDEN)

    model = Masked()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

    def step():
        rows = images[torch.randint(0, IMAGES, (BATCH,))]
        optimizer.zero_grad()
        model(rows).backward()
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
    timed = {**ours(asked.seconds), "PyTorch": torch_eager(asked.seconds, asked.threads)}
    rounds = [{part: each() for part, each in timed.items()} for _ in range(asked.repeats + 1)][1:]
    out, table = Console(highlight=False, soft_wrap=True), Table("", "ms", "update / it", box=None, pad_edge=False)
    for part in timed:
        ratio = statistics.median(each["update"] / each[part] for each in rounds)
        table.add_row(part, f"{1000 * statistics.median(each[part] for each in rounds):.2f}", f"{ratio:.2f}")
    out.print(f"{machine()}, threads: {asked.threads}")
    out.print(table)


if __name__ == "__main__":
    main()

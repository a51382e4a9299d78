"""An update of a convolutional classifier against PyTorch eager, taking turns.

    pip install -e '.[bench]' && python -m tests.bench.convolution --repeats 5

The classifier is ``32c5s2 64c5s2 128`` with a head of ten classes on 28 x 28 images, in batches of 128, trained by Adam
in a loop. Ours runs as in a stage, inside a compiled loop on one XLA device; PyTorch has all cores, too.
"""

import argparse
import statistics
import subprocess
import sys
import time

BATCH, UPDATES, IMAGES, CLASSES, FEATURES, UNITS = 128, 50, 2048, 10, (32, 64), 128


def ours() -> float:
    """Returns the seconds of an update."""
    import functools

    import jax
    import jax.numpy as jnp
    import numpy as np

    from pretrain.config import AdamConfig, FinetuneConfig
    from pretrain.learn.codes import identity_statistics
    from pretrain.learn.layers import Convolution, Dense
    from pretrain.learn.methods.finetuning import objective
    from pretrain.learn.metrics import Batch
    from pretrain.learn.optimizers import make_optimizer
    from pretrain.learn.stack import Stack
    from pretrain.learn.stage import Choices
    from pretrain.learn.start import encoder, fresh_head
    from pretrain.learn.train import init_state, train_step

    layers = (*(Convolution(features, 5, 2, "relu") for features in FEATURES), Dense(UNITS, "relu"))
    stack = Stack(layers, (28, 28, 1), head=Dense(CLASSES))
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (IMAGES, 28, 28, 1)), jnp.uint8)
    labels = jnp.asarray(rng.integers(0, CLASSES, IMAGES), jnp.int32)
    codes = identity_statistics(stack.n_codes)
    params = {"encoder": encoder(stack, Choices(), 0, None), "codes": codes, "head": fresh_head(stack, 0)}
    optimizer = make_optimizer(AdamConfig(learning_rate=0.001), 0.0, 1)
    names = frozenset([*(f"encoder/layers_{number}" for number in range(len(layers))), "head"])

    def step(state, index):
        rows = (index * BATCH + jnp.arange(BATCH)) % IMAGES
        minimised = functools.partial(objective, stack=stack, config=FinetuneConfig())
        return train_step(state, Batch(images[rows], labels[rows]), minimised, optimizer)[0]

    @functools.partial(jax.jit, donate_argnums=0)
    def run(state, n_updates):
        return jax.lax.fori_loop(0, n_updates, lambda index, state: step(state, index), state)

    state = jax.block_until_ready(run(init_state(params, names, optimizer), 3))
    began = time.perf_counter()
    jax.block_until_ready(run(state, UPDATES))
    return (time.perf_counter() - began) / UPDATES


def torch_eager() -> float:
    """Returns the seconds of an update."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, CLASSES, (IMAGES,))
    model = nn.Sequential(
        *(nn.Conv2d(1, FEATURES[0], 5, 2, 2), nn.ReLU(), nn.Conv2d(*FEATURES, 5, 2, 2), nn.ReLU(), nn.Flatten()),
        *(nn.Linear(49 * FEATURES[1], UNITS), nn.ReLU(), nn.Linear(UNITS, CLASSES)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.001)

    def step(index: int) -> None:
        rows = (index * BATCH + torch.arange(BATCH)) % IMAGES
        loss = nn.functional.cross_entropy(model(images[rows].float() / 255), labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    for index in range(3):
        step(index)
    began = time.perf_counter()
    for index in range(UPDATES):
        step(index)
    return (time.perf_counter() - began) / UPDATES


WORKERS = {"ours": ours, "torch": torch_eager}


def main() -> None:
    """Prints medians over processes that take turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--worker", choices=WORKERS)
    options = parser.parse_args()
    if options.worker:
        print(WORKERS[options.worker]())
        return
    found: dict[str, list[float]] = {name: [] for name in WORKERS}
    for _ in range(options.repeats):
        for name, seconds in found.items():
            command = [sys.executable, "-m", "tests.bench.convolution", "--worker", name]
            seconds.append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    medians = {name: statistics.median(seconds) for name, seconds in found.items()}
    for name, seconds in medians.items():
        print(f"{name:6} {1000 * seconds:6.1f} ms an update, median of {options.repeats}")
    print(f"ratio  {medians['ours'] / medians['torch']:6.2f}")


if __name__ == "__main__":
    main()

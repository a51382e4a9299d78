"""What a job of a stage costs: memory, arithmetic, time."""

import itertools
import time

import jax
import jax.numpy as jnp

from pretrain.learn.finetune import Finetune
from pretrain.learn.stage import Stage


def job_memory(stage: Stage) -> int:
    """Returns the estimated bytes that one job of a stage takes while it runs, besides the images that all share."""
    n_weights = n_parameters(stage)
    # Parameters, gradients and two Adam moments, once more for what a program returns.
    total = 4 * 4 * n_weights * 2
    if stage.encoded:
        total += 4 * stage.widths[stage.encoded - 1] * stage.n_examples
    elif isinstance(stage, Finetune):
        total += stage.image_size * stage.n_examples
    return total + 4 * len(stage.curve_names) * stage.total_steps


def n_parameters(stage: Stage) -> int:
    """Returns the number of parameters that a stage hands on."""
    sizes = (stage.image_size, *stage.widths)
    encoder = sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
    if isinstance(stage, Finetune):
        return encoder + (sizes[-1] + 1) * stage.n_classes
    kernels = [0 if stage.tied else fan_in for fan_in in stage.widths]
    return encoder + sum((kernel + 1) * fan_out for fan_out, kernel in zip(sizes, kernels, strict=False))


def flops(stage: Stage, n_validation: int, n_test: int) -> float:
    """Returns the floating-point operations of one job of a stage in its matrix products (FLOP).

    A layer's forward pass takes 2 an example and weight, and so does each of its two backward ones: for its weights,
    and for its inputs unless nothing below is trained.
    """
    sizes = (stage.image_size, *stage.widths)
    layers = [2 * below * above for below, above in itertools.pairwise(sizes)]
    per_update = stage.config.batch_size * stage.total_steps
    n_validations = int(next(mask for name, mask in stage.measured().items() if name.startswith("validation_")).sum())
    encoding = sum(layers[: stage.encoded]) * (stage.n_examples + n_validation)
    if isinstance(stage, Finetune):
        trained = [*layers[stage.frozen_layers :], 2 * sizes[-1] * stage.n_classes]
        forward = sum(layers[stage.encoded : stage.frozen_layers]) + sum(trained)
        backward = 2 * sum(trained) - trained[0]
        updates = per_update * (2 * forward + backward)  # measured after the update, too
        final = n_test * (sum(layers) + trained[-1])
    else:
        forward = sum(layers[stage.encoded : -1]) + 2 * layers[-1]
        updates = per_update * (forward + 3 * layers[-1])
        final = (n_validation + n_test) * 2 * sum(layers)
    return float(encoding + updates + n_validations * n_validation * forward + final)


def flop_rate() -> float:
    """Returns what the local devices reach together in matrix products like those of training (FLOP / s)."""
    left, right = jnp.ones((150, 784)), jnp.ones((784, 300))
    rounds = 50

    @jax.jit
    def multiply(left, right):
        return jax.lax.fori_loop(0, rounds, lambda _, left: (left @ right @ right.T) * 1e-6, left)

    multiply(left, right).block_until_ready()
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        multiply(left, right).block_until_ready()
        fastest = min(fastest, time.perf_counter() - began)
    n_devices = 1 if jax.local_devices()[0].platform == "cpu" else jax.local_device_count()  # CPUs share their threads
    return n_devices * rounds * 2 * 2 * left.size * right.shape[1] / fastest

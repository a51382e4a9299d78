"""What a job of a stage costs: memory, arithmetic, time."""

import itertools
import math
import time
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from pretrain.learn.finetune import Finetune
from pretrain.learn.phase import Phase
from pretrain.learn.readout import Readout
from pretrain.learn.stage import Stage


def job_memory(stage: Stage) -> int:
    """Returns the estimated bytes that one job of a stage takes while it runs, besides the images that all share."""
    # Parameters, gradients and two Adam moments, once more for what a program returns.
    total = 4 * 4 * n_parameters(stage) * 2
    if stage.encoded:
        total += 4 * stage.widths[stage.encoded - 1] * stage.n_examples
    elif not isinstance(stage, Phase) or stage.kind == "supervised":
        total += stage.image_size * stage.n_examples
    if not isinstance(stage, Phase):  # codes that a head may be fitted to, and centred
        total += 8 * stage.widths[-1] * stage.n_examples
    return total + 4 * len(stage.curve_names) * stage.total_steps


def n_parameters(stage: Stage) -> int:
    """Returns the number of parameters that a stage hands on."""
    sizes = (stage.image_size, *stage.widths)
    if isinstance(stage, Phase):
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(stage.shapes))
    encoder = sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))
    return encoder + (sizes[-1] + 1) * stage.n_classes


def flops(stage: Stage, n_validation: int, n_test: int) -> float:
    """Returns the floating-point operations of one job of a stage in its matrix products (FLOP).

    A layer's forward pass takes 2 an example and weight, and so does each of its two backward ones: for its weights,
    and for its inputs unless nothing below is trained.
    """
    sizes = (stage.image_size, *stage.widths)
    layers = [2 * below * above for below, above in itertools.pairwise(sizes)]
    encoding = sum(layers[: stage.encoded]) * (stage.n_examples + n_validation)
    if isinstance(stage, Readout):
        return float(encoding + n_test * sum(layers) + _fit(stage, n_validation, n_test))
    if isinstance(stage, Phase) and stage.kind == "pca":
        read = sizes[-2]
        return float(encoding + 2 * stage.n_examples * read**2 + (n_validation + n_test) * 4 * sum(layers))
    per_update = stage.config.batch_size * stage.total_steps
    n_validations = int(next(mask for name, mask in stage.measured().items() if name.startswith("validation_")).sum())
    if isinstance(stage, Finetune):
        trained = [*layers[stage.frozen_layers :], 2 * sizes[-1] * stage.n_classes]
        forward = sum(layers[stage.encoded : stage.frozen_layers]) + sum(trained)
        backward = 2 * sum(trained) - trained[0]
        updates = per_update * (2 * forward + backward)  # measured after the update, too
        final = n_test * (sum(layers) + trained[-1])
    else:
        trained = layers[stage.frozen_layers :]
        forward = sum(layers[stage.encoded : stage.frozen_layers]) + 2 * sum(trained)
        updates = per_update * (forward + _backward(stage, trained))
        final = (n_validation + n_test) * 2 * sum(layers)
    return float(encoding + updates + n_validations * n_validation * forward + final)


def _backward(phase: Phase, trained: Sequence[int]) -> int:
    """Returns what an update of a phase takes for an example besides its forward pass (FLOP).

    Args:
      phase: the phase.
      trained: what each of its layers takes in one direction, the lowest first.
    """
    match phase.kind:
        case "supervised":
            return 0  # it decodes nothing, which pays for its backward pass
        case "rbm":  # each step of the chain goes up and down; so do both free energies and their gradients
            return trained[0] * (2 * phase.config.objective.gibbs_steps + 4)
    return 4 * sum(trained) - trained[0]  # nothing below the lowest encoder layer is trained


def _fit(readout: Readout, n_validation: int, n_test: int) -> int:
    """Returns what it takes to fit a read-out and to apply it (FLOP)."""
    n, units = readout.n_examples, readout.widths[-1]
    match readout.kind:
        case "knn":
            return 2 * n * units * (n_validation + n_test)
        case "ridge":
            return 2 * n * units**2 + 20 * units**3
    return 100 * 4 * n * units * readout.n_classes  # a hundred iterations are usual


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

"""Costs of a job of a stage: memory, arithmetic, time."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pretrain.config.fields import with_values
from pretrain.learn import program as programs
from pretrain.learn.attention import Attention
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import Program
from pretrain.learn.pytrees import frozen

# Operations of matrix products in the time of a block of attention, for each of its exponentials and error functions:
# with norms, and copies of heads. Measured on one core, 840 to 1,150 of ViTs of 64 and 128 units.
_TRANSCENDENTAL = 900.0
_UPDATE_SECONDS = 30e-6  # of an update besides its matrix products


@functools.lru_cache(maxsize=256)
def job_memory(program: Program) -> int:
    """Returns the bytes that one job of a stage takes while it runs, besides the examples that all share.

    They are those of its inputs; of all that it carries, once more as a program returns it; of the examples that it
    draws from; and of its outcome on the host, once more as it is stored while the next pack runs.
    """
    carry, source = outputs(program.init)
    outcome = carry.state.kept, carry.curves, outputs(program.finish)
    return sum(map(bytes_of, (program.trial, carry, carry, source, outcome, outcome)))


def outputs(piece: programs.Piece) -> Any:
    """Returns the shapes of a piece's outputs, of one trial."""
    return jax.eval_shape(functools.partial(piece.function, piece.static), piece.trial, piece.shared)


def bytes_of(tree: Any) -> int:
    """Returns the bytes of a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def n_parameters(program: Program) -> int:
    """Returns the number of parameters that a stage leaves, statistics of codes aside."""
    params = program.finish.trial
    return sum(
        math.prod(leaf.shape) for side, tree in params.items() if side != "codes" for leaf in jax.tree.leaves(tree)
    )


def flops(program: Program) -> float:
    """Returns the floating-point operations of one job of a stage (FLOP), as XLA counts its pieces."""
    return float(_operations(program)[0])


def seconds(program: Program, rate: float) -> float:
    """Returns the time of one job of a stage at a rate (FLOP/s) of matrix products.

    Blocks of attention take longer than these by what is done element by element.
    """
    plain, transcendental = _operations(program)
    attends = any(isinstance(layer, Attention) for layer in program.stage.stack.layers)
    return float(plain + _TRANSCENDENTAL * transcendental * attends) / rate


def job_seconds(program: Program, rate: float) -> float:
    """Returns the time of one job of a stage, all updates made, at a rate (FLOP/s) of matrix products."""
    stage = program.stage
    uncounted = stage.method.seconds
    more = uncounted(stage.static, len(program.examples.tree.validation.inputs)) if uncounted else 0.0
    return seconds(program, rate) + stage.n_updates * _UPDATE_SECONDS + more


@functools.lru_cache(maxsize=256)
def _operations(program: Program) -> np.ndarray:
    """Returns the operations of one job of a stage, and the transcendental ones among its functions: [2].

    They depend on no number of its config. The body of a loop counts once, so that long Markov chains are estimated
    too low.
    """
    stage, stack, examples = program.stage, program.stage.stack, program.examples.tree
    n_validation, params = len(examples.validation.inputs), program.finish.trial
    total = np.zeros(2)
    if stack.encoded:

        def encode(params: Any, images: jax.Array) -> jax.Array:
            return stack.encoding(params, stack.encoded)(images)

        total += _counted(encode, params, _first(examples.train, 1).inputs) * (stage.rows.n + n_validation)
    if stage.n_updates:
        update = _undiagnosed(program).update
        total += stage.n_updates * _counted(functools.partial(update.function, update.static), *update[2:])
        total += stage.n_validations * n_validation * _measured(program)
    else:
        init = program.init
        total += _counted(functools.partial(init.function, init.static), *init[2:])
    return total + _finished(program)


def _undiagnosed(program: Program) -> Program:
    """Returns a program whose updates are not diagnosed."""
    if not getattr(program.stage.config.method, "diagnose_at", ()):
        return program
    config = program.config.tree
    config = config._replace(method=with_values(config.method, {"diagnose_at": ()}))
    return program._replace(config=frozen(config))


def _measured(program: Program) -> np.ndarray:
    """Returns the operations of a measurement, of one example."""
    (carry, source, trial), (examples, *_) = program.loop.trial, program.loop.shared

    def measure(config: Any, state: Any, batch: Batch, seed: jax.Array) -> Any:
        stage = program.stage.updating
        return stage.method.measure(stage.static, config, state, batch, seed)

    held_out = _first(source.validation or examples.validation, 1)
    return _counted(measure, trial.config, carry.state, held_out, trial.seed)


def _finished(program: Program) -> np.ndarray:
    """Returns the operations of a stage's results, by the slope over examples; labelled ones are encoded once."""
    piece, examples = program.finish, program.examples.tree

    def counted(n_validation: int, n_test: int) -> np.ndarray:
        few = Splits(
            examples.train, _first(examples.validation, n_validation), _first(examples.test, n_test), examples.labelled
        )
        return _counted(functools.partial(piece.function, piece.static), piece.trial, few)

    least = counted(1, 1)
    slopes = counted(2, 1) - least, counted(1, 2) - least
    sizes = len(examples.validation.inputs), len(examples.test.inputs)
    return least + sum((size - 1) * slope for size, slope in zip(sizes, slopes, strict=True))


def _first(batch: Batch, size: int) -> Batch:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((size, *leaf.shape[1:]), leaf.dtype), batch)


def _counted(function: Callable, *shapes: Any) -> np.ndarray:
    """Returns the operations of a function, and those transcendental, as XLA counts them before it optimises: [2]."""
    counted = jax.jit(function).lower(*shapes).cost_analysis() or {}
    return np.array([counted.get(kind, 0.0) for kind in ("flops", "transcendentals")])


@functools.cache
def flop_rate() -> float:
    """Returns the speed of the local devices together in matrix products like those of training (FLOP / s)."""
    left, right = jnp.ones((150, 784)), jnp.ones((784, 300))
    rounds = 50

    @jax.jit
    def multiply(left: jax.Array, right: jax.Array) -> jax.Array:
        return jax.lax.fori_loop(0, rounds, lambda _, left: (left @ right @ right.T) * 1e-6, left)

    multiply(left, right).block_until_ready()
    fastest = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        multiply(left, right).block_until_ready()
        fastest = min(fastest, time.perf_counter() - began)
    n_devices = 1 if jax.local_devices()[0].platform == "cpu" else jax.local_device_count()  # CPUs share their threads
    return n_devices * rounds * 2 * 2 * left.size * right.shape[1] / fastest

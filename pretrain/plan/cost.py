"""Costs of a job of a stage: memory, arithmetic, time."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pretrain.learn.codes import identity_statistics
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras, Step
from pretrain.learn.metrics import Batch
from pretrain.learn.results import results
from pretrain.learn.stack import layer_shapes, stack_shapes
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.train import TrainState, Values, init_state

_CURVES = 4  # of a usual stage


def job_memory(stage: Stage) -> int:
    """Returns the estimated bytes that one job of a stage takes while it runs, besides the images that all share."""
    # Parameters, gradients and two Adam moments, once more for what a program returns.
    total = 4 * 4 * n_parameters(stage) * 2
    stack, reads_labels = stage.stack, stage.config.method.reads_labels
    if stack.encoded:
        total += 4 * math.prod(stack.shapes[stack.encoded - 1].outputs) * stage.n_examples
    elif reads_labels:
        total += math.prod(stack.example) * stage.n_examples
    if stage.is_last:  # codes that a head may be fitted to, and centred
        total += 8 * stack.n_codes * stage.n_examples
    if stage.config.training:  # codes of a batch at every layer, and their slopes
        values = math.prod(stack.example) + sum(math.prod(shape.outputs) for shape in stack.shapes)
        total += 3 * 4 * values * stage.config.training.batch_size
    if stage.stops_early:  # its best parameters
        total += 4 * n_parameters(stage)
    return total + 4 * _CURVES * stage.total_steps


@functools.lru_cache(maxsize=256)
def n_parameters(stage: Stage) -> int:
    """Returns the number of parameters that a stage hands on."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(_shapes(stage)))


def _shapes(stage: Stage) -> Params:
    """Returns the shapes of the parameters that a stage hands on, statistics of codes aside."""
    stack = stage.stack
    if not stage.is_last:
        return stack_shapes(stack)
    encoder = {f"layers_{number}": layer_shapes(stack, number)["encoder"] for number in range(len(stack.layers))}
    head = jax.eval_shape(stack.head.init, jax.random.key(0), jax.ShapeDtypeStruct((1, stack.n_codes), jnp.float32))[
        "params"
    ]
    return {"encoder": encoder, "head": head}


def flops(stage: Stage, config: StageConfig, n_validation: int, n_test: int) -> float:
    """Returns the floating-point operations of one job of a stage (FLOP), as XLA counts its update and measurements.

    They depend on no number of its config. The body of a loop counts once, so that long Markov chains are estimated
    too low.
    """
    return _flops(stage, jax.tree.map(lambda _: 1.0, config), n_validation, n_test)


@functools.lru_cache(maxsize=256)
def _flops(stage: Stage, config: StageConfig, n_validation: int, n_test: int) -> float:
    stack, method, params = stage.stack, config.method, _state_params(stage)
    encoded = _batch(stage, 1, stack.encoded)
    total = 0.0
    if stack.encoded:
        encode = stack.encoding
        each = _counted(
            lambda params, images: encode(params, stack.encoded)(images), params, _batch(stage, 1, 0).inputs
        )
        total += each * (stage.n_examples + n_validation)
    if config.training is None:
        examples, held_out = (_batch(stage, max(1, n), stack.encoded) for n in (stage.n_examples, n_validation))
        total += _counted(functools.partial(stage.method.fit, stack, method), params, examples, held_out)
    else:
        total += stage.total_steps * _counted(*_update(stage, config))
        held = _counted(functools.partial(stage.method.measure, stack, method), params, encoded)
        total += held * n_validation * stage.n_validations
    for split in stage.result_names:
        n_images = {"validation": n_validation, "test": n_test}[split]
        measure, known = functools.partial(results, *stage.as_left()), _batch(stage, stage.n_examples, 0)
        one, two = (_counted(measure, params, known, _batch(stage, size, 0)) for size in (1, 2))
        total += one + (n_images - 1) * (two - one)  # what is known is encoded once
    return total


def _update(stage: Stage, config: StageConfig) -> tuple[Callable, TrainState, Any, Batch, Batch]:
    """Returns a stage's plain update, and the shapes of its arguments."""
    method = config.method
    if stage.is_last:
        method = dataclasses.replace(method, diagnose_at=())
    batch, held_out = (_batch(stage, size, stage.stack.encoded) for size in (config.training.batch_size, 1))
    prepare, extras = stage.method.prepare, Extras()
    optimizer = functools.partial(stage.optimizer, config)

    def begin(params: Params, batch: Batch, held_out: Batch) -> tuple[TrainState, Any]:
        state = init_state(params, stage.trainable(), optimizer())
        return prepare(stage.stack, method, optimizer, state, batch, held_out, extras)

    state, own = jax.eval_shape(begin, _state_params(stage), batch, held_out)

    def update(state: TrainState, own: Any, batch: Batch, held_out: Batch) -> tuple[TrainState, Values]:
        key = jax.random.key(0)
        step = Step(jnp.int32(0), jnp.float32(0), key, key, held_out, own)
        return stage.method.update(stage.stack, method, optimizer, state, batch, step)

    return update, state, own, batch, held_out


def _state_params(stage: Stage) -> Params:
    """Returns the shapes of all parameters of a stage in training."""
    params = _shapes(stage)
    if stage.is_last:
        codes = jax.eval_shape(lambda: identity_statistics(stage.stack.n_codes, whitening=stage.whitens))
        rows = jax.ShapeDtypeStruct((stage.n_examples,), jnp.int32)
        above = jax.eval_shape(stage.method.on_top, params["head"], rows)
        params = {"encoder": params["encoder"], **above, "codes": codes}
    return params


def _batch(stage: Stage, size: int, encoded: int) -> Batch:
    """Returns the shapes of a batch of images, or of codes of the lowest layers."""
    shape = stage.stack.shapes[encoded - 1].outputs if encoded else stage.stack.example
    inputs = jax.ShapeDtypeStruct((size, *shape), jnp.float32 if encoded else jnp.uint8)
    if not stage.config.method.reads_labels:
        return Batch(inputs)
    target = stage.stack.task.target_shape
    return Batch(inputs, jax.ShapeDtypeStruct((size, *target), jnp.float32 if target else jnp.int32))


def _counted(function: Callable, *shapes: Any) -> float:
    """Returns the operations of a function, as XLA counts them before it optimises."""
    counted = jax.jit(function).lower(*shapes).cost_analysis()
    return float((counted or {}).get("flops", 0.0))


def flop_rate() -> float:
    """Returns the speed of the local devices together in matrix products like those of training (FLOP / s)."""
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

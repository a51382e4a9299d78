"""Times of an update in a loop, and of its matrix products alone, in CPU seconds: other work alters these least."""

import functools
import time
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
from jax.interpreters import partial_eval

from pretrain.learn import program

Timed = Callable[[], float]  # to the seconds of an update


def update_of(stage, config, examples) -> tuple[Callable, tuple]:
    """Returns the update of a stage, of a state, a number and examples, and arguments for the first."""
    config, seed = jax.tree.map(jnp.float32, config), jnp.uint32(0)
    state = jax.jit(lambda: stage.method.init(stage.static, config, seed, None, examples))()

    def one(state, index, examples):
        trial = state, program.Source(None, None), program.Inputs(seed, config, None), index
        return program.update(stage.updating, trial, (examples, index / stage.n_updates))[0]

    return one, (state, 0, examples)


def looped(one: Callable, first: tuple, seconds: float) -> Timed:
    """Returns an update in a compiled loop of about so many seconds, to be timed."""

    def loop(state, n, examples):
        return jax.lax.fori_loop(0, n, lambda index, state: one(state, index, examples), state)

    state, _, examples = first
    compiled = jax.jit(loop).lower(state, 1, examples).compile()

    def timed() -> float:
        n = max(3, round(seconds / of_one(lambda: compiled(state, 1, examples), 1)))
        return of_one(lambda: compiled(state, n, examples), 1) / n

    return timed


def of_products(one: Callable, first: tuple) -> Timed:
    """Returns the matrix products of an update, each compiled by itself, to be timed and summed."""
    jitted = [_jitted(equation) for equation in products(jax.make_jaxpr(one)(*first).jaxpr)]
    return lambda: sum(of_one(product, 20) for product in jitted)


def of_one(function: Callable, n: int) -> float:
    """Returns the CPU seconds of a call, as one of n in a row."""
    began = time.process_time()
    for _ in range(n):
        result = function()
    jax.block_until_ready(result)
    return (time.process_time() - began) / n


def products(jaxpr) -> Iterator:
    """Yields the matrix products that a trace uses, those of parts of it included; convolutions on CPUs are such."""
    used, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))  # no gradient of images
    for equation in used.eqns:
        if equation.primitive is jax.lax.dot_general_p:
            yield equation
        for part in jax.tree.leaves(list(equation.params.values()), is_leaf=lambda each: hasattr(each, "eqns")):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield from products(part)


def _jitted(equation) -> Callable:
    """Returns one product of random factors of its shapes, compiled."""
    shapes = [each.aval.shape for each in equation.invars]
    factors = [jax.random.normal(jax.random.key(number), shape) for number, shape in enumerate(shapes)]
    compiled = jax.jit(lambda *pair: equation.primitive.bind(*pair, **equation.params)).lower(*factors).compile()
    return functools.partial(compiled, *factors)

"""The way from inputs to codes and outputs, in blocks of one size."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np

from pretrain.learn import layers, probes
from pretrain.learn.layers import Params
from pretrain.learn.methods import trees
from pretrain.learn.metrics import Batch
from pretrain.learn.products import in_precision
from pretrain.learn.stack import Stack

NEIGHBOURS = "knn"  # the kind of an ending whose outputs are votes of codes
TREES = "trees"  # and of one whose outputs are sums of trees
VOTERS = "voters"  # side of parameters: ``codes`` [L, units] and ``labels`` [L, ...] of the rows that vote


def outside_of_loops(stack: Stack) -> Stack:
    """Returns a stack whose convolutions are XLA's own, which are the fastest where no loop is around them."""
    return dataclasses.replace(stack.whole, layers=tuple(map(layers.outside_of_loops, stack.layers)))


@functools.partial(jax.jit, static_argnums=(0, 1))
def codes(stack: Stack, n_layers: int, params: Params, inputs: jax.Array) -> jax.Array:
    """Returns the codes of the lowest layers for a block of inputs [B, D]: [B, *codes]."""
    with in_precision(stack.precision):
        return stack.encoding(params, n_layers)(_shaped(stack, inputs))


@functools.partial(jax.jit, static_argnums=(0, 1))
def outputs(stack: Stack, ending: str, params: Params, inputs: jax.Array) -> jax.Array:
    """Returns the outputs of a network for a block of inputs [B, D]: [B, outputs].

    They are logits of classes or labels, standardised numbers, or the votes of neighbours: see ``probes.voted``.
    """
    with in_precision(stack.precision):
        return _outputs(stack, ending, params, inputs)


def _outputs(stack: Stack, ending: str, params: Params, inputs: jax.Array) -> jax.Array:
    images = _shaped(stack, inputs)
    if ending == TREES:
        return trees.outputs(stack, params, images)
    if ending != NEIGHBOURS:
        return stack.logits(params, images)
    voters = params[VOTERS]
    most = probes.most_neighbours(len(voters["codes"]))
    asked = probes.as_read(params, Batch(stack.encoding(params)(images)))
    near = probes.nearest(asked.inputs, voters["codes"], voters["labels"], most)
    return probes.voted(near, stack.task, params["neighbours"]["count"])


def _shaped(stack: Stack, inputs: jax.Array) -> jax.Array:
    return inputs.reshape(inputs.shape[0], *stack.example)


def in_blocks(
    function: Callable[[np.ndarray], jax.Array], read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, size: int
) -> Iterator[np.ndarray]:
    """Yields what a function makes of rows, block by block.

    Every block has as many rows, the last filled up with zeros: a row's result depends neither on the rows beside it
    nor on how many there are, where XLA chooses another product for other shapes.

    Args:
      function: of a block of inputs [size, D].
      read: from rows [n, ...] to inputs [n, D].
      rows: all rows [N, ...].
      size: of a block.
    """
    for start in range(0, len(rows), size):
        inputs = read(rows[start : start + size])
        n = len(inputs)
        if n < size:
            inputs = np.concatenate([inputs, np.zeros((size - n, *inputs.shape[1:]), inputs.dtype)])
        yield np.asarray(function(inputs))[:n]

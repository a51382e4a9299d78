"""Which parameters go from stage to stage, and which stay frozen.

Both are total: every leaf is accounted for, or it fails.
"""

import itertools
from collections.abc import Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from flax import traverse_util

from pretrain.learn.model import Counterpart, Layer, Params


class TransferError(Exception):
    """Parameters that do not fit where they should go; the message lists every one."""


@partial(jax.jit, static_argnums=(0, 1))
def fresh_layer(units: int, input_size: int, key: jax.Array) -> Params:
    """Returns the He-initialised parameters of a layer of ``units`` that reads ``input_size`` values."""
    return Layer(units).init(key, jnp.zeros((1, input_size)))["params"]


def layer_shapes(input_size: int, units: int, counterpart: Counterpart, n_classes: int = 0) -> Params:
    """Returns the shapes of an encoder layer that reads ``input_size`` values, and of its counterpart, side by side."""

    def shape(*dimensions: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(dimensions, jnp.float32)

    def dense(fan_in: int, fan_out: int) -> Params:
        return {"kernel": shape(fan_in, fan_out), "bias": shape(fan_out)}

    sides = {"encoder": dense(input_size, units)}
    match counterpart.decoder:
        case "untied":
            sides["decoder"] = dense(units, input_size)
        case "tied":
            sides["decoder"] = {"bias": shape(input_size)}
        case "scaled":
            sides["decoder"] = {"bias": shape(input_size), "variance": shape()}
        case "none":
            sides["classifier"] = dense(units, n_classes)
    if counterpart.variational:
        sides["log_variance"] = dense(input_size, units)
    return sides


def stack_shapes(sizes: Sequence[int], counterparts: Sequence[Counterpart] = (), n_classes: int = 0) -> Params:
    """Returns the shapes of a pretrained stack between images of ``sizes[0]`` and codes of ``sizes[-1]``.

    Args:
      sizes: of the images and each layer.
      counterparts: of each layer; by default all have a decoder of their own.
      n_classes: that classifiers among them tell.
    """
    counterparts = counterparts or [Counterpart()] * (len(sizes) - 1)
    stack: Params = {}
    for number, (counterpart, (below, above)) in enumerate(zip(counterparts, itertools.pairwise(sizes), strict=True)):
        for side, layer in layer_shapes(below, above, counterpart, n_classes).items():
            stack.setdefault(side, {})[f"layers_{number}"] = layer
    return stack


def fresh_stack_layer(shapes: Params, keys: Mapping[str, jax.Array]) -> Params:
    """Returns the parameters of an encoder layer and its counterpart at the start of pretraining.

    Args:
      shapes: by ``layer_shapes``.
      keys: of the sides that have one to draw from.

    Returns:
      He-initialised layers where there is a key, zero elsewhere; a variance of one.
    """

    def fresh(side: str, layer: Params) -> Params:
        if side in keys and "kernel" in layer:
            input_size, units = layer["kernel"].shape
            return fresh_layer(units, input_size, keys[side])
        return {name: (jnp.ones if name == "variance" else jnp.zeros)(leaf.shape) for name, leaf in layer.items()}

    return {side: fresh(side, layer) for side, layer in shapes.items()}


def copied(target: Params, source: Params) -> Params:
    """Returns the source's parameters, checked leaf by leaf against the target's shapes and dtypes.

    Args:
      target: nested parameters, or their shapes.
      source: nested parameters.

    Raises:
      TransferError: a leaf is in one of the two only, or its shape or dtype differs.
    """
    goal, given = (traverse_util.flatten_dict(tree, sep="/") for tree in (target, source))
    faults = [f"{path} has no place" for path in given.keys() - goal.keys()]
    faults += [f"{path} is missing" for path in goal.keys() - given.keys()]
    for path in given.keys() & goal.keys():
        have, want = given[path], goal[path]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            faults.append(f"{path} is {have.dtype}{list(have.shape)}, wanted {want.dtype}{list(want.shape)}")
    if faults:
        raise TransferError("parameters do not fit: " + "; ".join(sorted(faults)))
    return source


def partition(params: Params, trainable: frozenset[str]) -> tuple[Params, Params]:
    """Splits parameters into those at or under the trainable paths, such as ``encoder/layers_1``, and the others.

    Raises:
      TransferError: a trainable path has no parameters.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    under = {path: next((root for root in trainable if f"{path}/".startswith(f"{root}/")), None) for path in flat}
    unmatched = trainable - set(under.values())
    if unmatched:
        raise TransferError(f"no parameters to train under: {', '.join(sorted(unmatched))}")
    halves = ({path: leaf for path, leaf in flat.items() if bool(under[path]) is side} for side in (True, False))
    trained, frozen = (traverse_util.unflatten_dict(half, sep="/") for half in halves)
    return trained, frozen


def merged(trainable: Params, frozen: Params) -> Params:
    """Returns the parameters that ``partition`` split.

    Raises:
      TransferError: a leaf is in both.
    """
    halves = [traverse_util.flatten_dict(tree, sep="/") for tree in (trainable, frozen)]
    both = halves[0].keys() & halves[1].keys()
    if both:
        raise TransferError(f"both trainable and frozen: {', '.join(sorted(both))}")
    return traverse_util.unflatten_dict(dict(sorted({**halves[0], **halves[1]}.items())), sep="/")

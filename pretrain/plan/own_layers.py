"""Findings about layers of the user's own: dropout that is off, maps of the last axis alone, and large decoders."""

import math
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import errors

from pretrain.config import Settings
from pretrain.data import Dataset
from pretrain.data.findings import Finding
from pretrain.learn.layers import LayerError, Shapes, apply, fresh
from pretrain.learn.modes import SWITCHES, switch_of
from pretrain.learn.stack import DenseDecoder, Stack, mirror
from pretrain.plan import modules
from pretrain.plan.stages import example_shape

_FAR_LARGER = 10  # times a layer's own parameters


def findings(settings: Settings, dataset: Dataset) -> Iterator[Finding]:
    """Yields the findings about the layers of the user's own at one point, which fit its data."""
    if all(word.kind != "own" for word in settings.words):
        return
    built = modules.build(settings)
    try:
        of_layers = Stack(built.layers, example_shape(built.layers, dataset.example_shape)).shapes
    except LayerError:
        return  # the plan says so, with the remedy
    for number, (layer, shapes) in enumerate(zip(built.layers, of_layers, strict=True)):
        if ".py:" not in built.names[number]:
            continue
        name = f"layer {number}, {type(layer).__name__},"
        if switch := _off(layer, shapes):
            yield _without_draws(name, switch)
        if _maps_positions(layer, shapes):
            yield _of_last_axis(name, shapes)
        if settings.finetune.trains_encoder_before and settings.at_layer(number).greedy_method.decodes:
            yield from _large_decoder(name, layer, shapes)


def _without_draws(name: str, switch: str) -> Finding:
    line = f"{name} has its field {switch}, so that its dropout is off in pretraining and fine-tuning, too"
    remedy = "for dropout in training take an argument: __call__(self, inputs, train: bool = False)"
    return Finding("dropout that is off", line, remedy=remedy)


def _of_last_axis(name: str, shapes: Shapes) -> Finding:
    read, made = (" × ".join(map(str, shape)) for shape in (shapes.inputs, shapes.outputs))
    line = f"{name} maps the last axis of {read} alone, as nn.Dense does, each position apart: its codes are {made}"
    remedy = "for units that read a whole row: x.reshape(len(x), -1) before it"
    return Finding("layer of the last axis alone", line, remedy=remedy)


def _large_decoder(name: str, layer: nn.Module, shapes: Shapes) -> Iterator[Finding]:
    if hasattr(layer, "decoder") or not isinstance(mirror(layer, shapes.inputs), DenseDecoder):
        return
    own = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
    n_inputs = math.prod(shapes.inputs)
    size = (math.prod(shapes.outputs) + 1) * n_inputs
    if size > _FAR_LARGER * own:
        line = f"{name} of {own:,} parameters has no method decoder(shape): a linear map of {size:,} decodes it"
        figures = {"parameters": own, "decoder": size}
        yield Finding("decoder far larger than its layer", line, remedy="give it one", figures=figures)


def _off(layer: nn.Module, shapes: Shapes) -> str:
    """Returns the field, with its value, whose other value would make a layer draw at random; none as ``""``."""
    for name in SWITCHES if not switch_of(layer) else ():
        given = getattr(layer, name, None)
        switched: dict[str, Any] = {name: not given}
        if isinstance(given, bool) and _draws(layer.clone(**switched), shapes):
            return f"{name}={given}"
    return ""


def _maps_positions(layer: nn.Module, shapes: Shapes) -> bool:
    """Returns whether a layer maps the last axis by matrices, without anything of other positions."""
    *positions, width = shapes.inputs
    kernels = [leaf.shape for leaf in jax.tree.leaves(shapes.params) if len(leaf.shape) > 1]
    are_matrices = all(len(shape) == 2 for shape in kernels) and any(shape[0] == width for shape in kernels)
    if math.prod(positions) < 2 or shapes.outputs[:-1] != tuple(positions) or not are_matrices:
        return False
    inputs = jax.random.normal(jax.random.key(0), (1, *shapes.inputs))
    middle = (0, *(size // 2 for size in positions))
    params = fresh(layer, shapes.inputs, jax.random.key(1))
    before, after = (apply(layer, params, each) for each in (inputs, inputs.at[middle].add(1.0)))
    return bool(jnp.array_equal(before, after.at[middle].set(before[middle])))


def _draws(layer: nn.Module, shapes: Shapes) -> bool:
    """Returns whether a layer that is applied asks for a key."""
    inputs = jax.ShapeDtypeStruct((2, *shapes.inputs), jnp.float32)
    try:
        jax.eval_shape(layer.apply, {"params": shapes.params}, inputs)
    except errors.InvalidRngError:
        return True
    except Exception:  # it may fail in any way where it is not asked to work
        return False
    return False

"""Configs as pytrees: traced fields are leaves, all else is part of the tree's structure.

So ``jax.tree`` splits a config into what a compiled program is keyed by and its numbers, and joins them again; inside a
program ``config.optimizer.learning_rate`` is a tracer.
"""

import functools
from typing import Any, NamedTuple

import jax

from pretrain.config.fields import bare, cached, hints, is_traced, section_classes
from pretrain.config.method import Method
from pretrain.config.settings import Settings


@functools.cache
def register() -> None:
    """Makes every config class of settings and methods a pytree."""
    for config in _reachable(Settings, *Method.__subclasses__()):
        register_class(config)


@cached
def register_class(config: type) -> None:
    """Makes a config class a pytree, once."""
    jax.tree_util.register_pytree_with_keys(
        config, functools.partial(_flatten, config), functools.partial(_unflatten, config)
    )


def skeleton(config: Any) -> Any:
    """Returns a method's or a stage's config without its numbers: hashable, equal for all that share a program."""
    return jax.tree.map(lambda _: None, config)


class Frozen(NamedTuple):
    """A tree of shapes as a hashable value."""

    structure: Any
    leaves: tuple[jax.ShapeDtypeStruct, ...]

    @property
    def tree(self) -> Any:
        return jax.tree.unflatten(self.structure, self.leaves)


def frozen(tree: Any) -> Frozen:
    """Returns the shapes and dtypes of a tree of arrays, or of such shapes."""
    leaves, structure = jax.tree.flatten(tree)
    return Frozen(structure, tuple(jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in leaves))


def _reachable(*configs: type) -> list[type]:
    reached: list[type] = []
    todo = list(configs)
    while todo:
        config = todo.pop()
        if config not in reached:
            reached.append(config)
            todo += [section for kind in hints(config).values() for section in section_classes(kind)]
    return reached


@functools.cache
def _children(config: type) -> tuple[str, ...]:
    """Returns the fields that hold leaves or sections."""
    return tuple(name for name, kind in hints(config).items() if is_traced(kind) or section_classes(kind))


@functools.cache
def _rest(config: type) -> tuple[str, ...]:
    return tuple(name for name in hints(config) if name not in _children(config))


def _flatten(config: type, value: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
    children = [(jax.tree_util.GetAttrKey(name), getattr(value, name)) for name in _children(config)]
    return children, tuple(getattr(value, name) for name in _rest(config))


def _unflatten(config: type, rest: tuple[Any, ...], children: Any) -> Any:
    return bare(
        config, {**dict(zip(_rest(config), rest, strict=True)), **dict(zip(_children(config), children, strict=True))}
    )

"""Digests of definitions by their syntax, for code that no trace shows.

To rename a local variable, move a definition or comment it changes no digest; to change anything else does. Names that
are defined in this package count as their definitions, wherever these stand. Nothing is imported, only read.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pretrain.config.digests import sha256

_PACKAGE = "pretrain"
_IGNORED = {"ctx", "type_comment", "kind", "type_params", "annotation", "returns", "type_ignores"}
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@functools.cache
def digest_of(module: str, name: str) -> str:
    """Returns the SHA-256 of a definition of a module, or of a method as ``Class.method``.

    Raises:
      KeyError: the module defines no such name.
    """
    return sha256("\n".join(_lines(module, name, ())))


def functions_of(module: str) -> list[str]:
    """Returns the names of the functions that a module defines."""
    return [name for name, node in _module(module).items() if isinstance(node, _FUNCTIONS)]


def _lines(module: str, name: str, within: tuple[tuple[str, str], ...]) -> Iterator[str]:
    """Yields a definition line by line, and those of the names in it."""
    if (module, name) in within:  # it leads back to itself
        yield f"again {len(within) - within.index((module, name))}"
        return
    top, _, method = name.partition(".")
    node = _module(module)[top]
    if method:
        node = next(each for each in node.body if isinstance(each, _FUNCTIONS) and each.name == method)
    yield from _Reader(module, (*within, (module, name))).read(node)


class _Reader:
    """Reads one definition of a module."""

    def __init__(self, module: str, within: tuple[tuple[str, str], ...]):
        self._module, self._within = module, within
        self._local: dict[str, int] = {}

    def read(self, node: ast.AST) -> Iterator[str]:
        """Yields the lines of a node."""
        if isinstance(node, (*_FUNCTIONS, ast.Lambda)):
            self._take(node)
        if isinstance(node, ast.Name):
            yield from self._name(node.id)
        elif isinstance(node, ast.Attribute) and (found := self._in_module(node)):
            yield from _lines(*found, self._within)
        else:
            yield type(node).__name__
            for field, value in ast.iter_fields(node):
                if field not in _IGNORED:
                    yield from self._field(node, field, value)

    def _take(self, node: Any) -> None:
        """Numbers the names that a function binds, in the order of their first use."""
        for each in ast.walk(node):
            bound = None
            if isinstance(each, ast.arg):
                bound = each.arg
            elif isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                bound = each.id
            elif isinstance(each, _FUNCTIONS) and each is not node:
                bound = each.name
            if bound is not None:
                self._local.setdefault(bound, len(self._local))

    def _field(self, node: ast.AST, field: str, value: Any) -> Iterator[str]:
        if field == "name" and isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            return
        if field == "body" and isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and ast.get_docstring(node) is not None:
            value = value[1:]
        yield f".{field}"
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from self.read(each)
            elif field == "arg" and each in self._local and isinstance(node, ast.arg):
                yield f"local {self._local[each]}"
            else:
                yield repr(each)

    def _name(self, name: str) -> Iterator[str]:
        if name in self._local:
            yield f"local {self._local[name]}"
        elif name in (definitions := _module(self._module)):
            if isinstance(definitions[name], str):
                yield from self._imported(definitions[name])
            else:
                yield from _lines(self._module, name, self._within)
        else:
            yield f"name {name}"

    def _imported(self, path: str) -> Iterator[str]:
        module, _, name = path.rpartition(".")
        if module.split(".")[0] == _PACKAGE and name in _module(module):
            target = _module(module)[name]
            yield from self._imported(target) if isinstance(target, str) else _lines(module, name, self._within)
        else:
            yield f"import {path}"

    def _in_module(self, node: ast.Attribute) -> tuple[str, str] | None:
        """Returns the definition that an attribute of one of the package's modules names."""
        if not isinstance(node.value, ast.Name) or node.value.id in self._local:
            return None
        path = _module(self._module).get(node.value.id)
        if not isinstance(path, str) or path.split(".")[0] != _PACKAGE:
            return None
        return (path, node.attr) if node.attr in _module(path) else None


def _file(module: str) -> Path | None:
    """Returns the file of one of the package's modules, without importing it."""
    root = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return next((path for path in (root.with_suffix(".py"), root / "__init__.py") if path.is_file()), None)


@functools.cache
def _module(module: str) -> dict[str, Any]:
    """Returns what a module binds at its top: nodes of definitions, and dotted paths of imports."""
    found: dict[str, Any] = {}
    file = _file(module)
    for node in ast.parse(file.read_text()).body if file else ():
        if isinstance(node, ast.Import):
            found |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            found[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                found |= {name.id: node for name in names if isinstance(name, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
    return found

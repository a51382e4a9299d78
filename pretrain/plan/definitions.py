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
_SCOPES = (*_FUNCTIONS, ast.Lambda, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_BINDING = (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)


@functools.cache
def digest_of(module: str, name: str) -> str:
    """Returns the SHA-256 of a definition of a module, or of a method as ``Class.method``, and of all that it names.

    Raises:
      KeyError: the module defines no such name.
    """
    named, lines = [(module, name)], []
    for module, name in named:  # which grows: each definition is read once, and stands for its place in the list
        top, _, method = name.partition(".")
        node = _module(module)[top]
        if method:
            node = next(each for each in node.body if isinstance(each, _FUNCTIONS) and each.name == method)
        lines += [*_Reader(module, named).read(node), ""]
    return sha256("\n".join(lines))


def functions_of(module: str) -> list[str]:
    """Returns the names of the functions that a module defines."""
    return [name for name, node in _module(module).items() if isinstance(node, _FUNCTIONS)]


class _Reader:
    """Reads one definition of a module, and adds those that it names to others."""

    def __init__(self, module: str, named: list[tuple[str, str]]):
        self._module, self._named = module, named
        self._scopes: list[list[str]] = []  # names that functions bind, the innermost last

    def read(self, node: ast.AST) -> Iterator[str]:
        """Yields the lines of a node."""
        if isinstance(node, ast.AnnAssign) and node.value:
            node = ast.Assign([node.target], node.value)
        if isinstance(node, ast.Name):
            yield self._name(node.id)
        elif isinstance(node, ast.Attribute) and (path := self._in_module(node)):
            yield self._imported(path)
        elif isinstance(node, _SCOPES):
            self._scopes.append(list(dict.fromkeys(_bound(node))))
            yield from self._fields(node)
            self._scopes.pop()
        else:
            yield from self._fields(node)

    def _fields(self, node: ast.AST) -> Iterator[str]:
        is_named = isinstance(node, (*_FUNCTIONS, ast.ClassDef))
        has_docstring = isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and ast.get_docstring(node) is not None
        yield type(node).__name__
        for field, value in ast.iter_fields(node):
            if field in _IGNORED or (field == "name" and is_named):
                continue
            if field == "body" and has_docstring:
                value = value[1:]
            values = value if isinstance(value, list) else [value]
            if isinstance(node, ast.JoinedStr):  # of which Python 3.12 makes some that are empty
                values = [each for each in values if getattr(each, "value", None) != ""]
            yield f".{field} {len(values)}"
            for each in values:
                if isinstance(each, ast.AST):
                    yield from self.read(each)
                elif isinstance(node, (ast.arg, *_BINDING)) and each:
                    yield self._name(each)
                else:
                    yield repr(each)

    def _name(self, name: str) -> str:
        for depth, scope in enumerate(reversed(self._scopes)):
            if name in scope:
                return f"local {depth} {scope.index(name)}"
        meaning = _module(self._module).get(name, name)
        return self._imported(meaning) if isinstance(meaning, str) else self._defined(self._module, name)

    def _imported(self, path: str) -> str:
        module, _, name = path.rpartition(".")
        if module.split(".")[0] != _PACKAGE or name not in _module(module):
            return f"name {path}"
        target = _module(module)[name]
        return self._imported(target) if isinstance(target, str) else self._defined(module, name)

    def _defined(self, module: str, name: str) -> str:
        if (module, name) not in self._named:
            self._named.append((module, name))
        return f"definition {self._named.index((module, name))}"

    def _in_module(self, node: ast.Attribute) -> str | None:
        """Returns the path of the definition that an attribute of one of the package's modules names."""
        if not isinstance(node.value, ast.Name) or any(node.value.id in scope for scope in self._scopes):
            return None
        path = _module(self._module).get(node.value.id)
        if not isinstance(path, str) or path.split(".")[0] != _PACKAGE:
            return None
        return f"{path}.{node.attr}" if node.attr in _module(path) else None


def _bound(scope: ast.AST) -> Iterator[str]:
    """Yields the names that a function or a comprehension binds, but not those that functions within it bind."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, (*_FUNCTIONS, *_BINDING)) and node.name:
            yield node.name
        if not isinstance(node, _SCOPES):
            yield from _bound(node)


def _file(module: str) -> Path | None:
    """Returns the file of one of the package's modules, without importing it."""
    root = Path(__file__).parents[1].joinpath(*module.split(".")[1:])
    return next((path for path in (root.with_suffix(".py"), root / "__init__.py") if path.is_file()), None)


@functools.cache
def _module(module: str) -> dict[str, Any]:
    """Returns what a module binds at its top: nodes of definitions, and dotted paths of imports."""
    bound: dict[str, Any] = {}
    file = _file(module)
    for node in ast.parse(file.read_text()).body if file else ():
        if isinstance(node, ast.Import):
            bound |= {alias.asname or alias.name.split(".")[0]: alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, (*_FUNCTIONS, ast.ClassDef)):
            bound[node.name] = node
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                names = target.elts if isinstance(target, ast.Tuple) else [target]
                bound |= {name.id: node for name in names if isinstance(name, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            bound[node.target.id] = node
    return bound

"""Every function on the way of a number, and its alterations by machine: an operator, a constant, a statement."""

import ast
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2] / "pretrain"
WAY = (
    *("learn/**/*.py", "execute/*.py", "store/store.py", "store/records.py", "runs/tables.py", "runs/endings.py"),
    *("runs/measures.py", "engines/here.py", "engines/work.py", "data/dataset.py", "data/splits.py", "data/scaling.py"),
    "data/moments.py",
    *("plan/arrays.py", "plan/stages.py", "plan/builders.py", "plan/plan.py", "plan/job.py"),
)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_SWAPPED = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add, ast.Div: ast.Mult, ast.FloorDiv: ast.Add},
    **{ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.MatMult: ast.Add, ast.BitXor: ast.BitOr, ast.BitAnd: ast.BitOr},
    **{ast.BitOr: ast.BitAnd, ast.LShift: ast.RShift, ast.RShift: ast.LShift, ast.And: ast.Or, ast.Or: ast.And},
    **{ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq},
    **{ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In},
}
_LEFT_OUT = (ast.Assign, ast.AugAssign, ast.Expr, ast.If, ast.For, ast.While)


class Site(NamedTuple):
    """A place that is altered."""

    file: str  # under ``pretrain/``
    function: str  # at the top of the module, or ``Class.method``
    number: int  # of the alteration, among those of the function

    def __str__(self) -> str:
        return f"{self.file}:{self.function}:{self.number}"


def files() -> list[str]:
    """The files on the way."""
    return sorted({str(path.relative_to(ROOT)) for pattern in WAY for path in ROOT.glob(pattern)})


def functions(file: str) -> dict[str, ast.AST]:
    """The functions and methods of a file, by name."""
    found = {}
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, _FUNCTIONS):
            found[node.name] = node
        elif isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}": each for each in node.body if isinstance(each, _FUNCTIONS)}
    return found


def sites(file: str) -> Iterator[Site]:
    """Yields all alterations of a file's functions."""
    for name, node in functions(file).items():
        yield from (Site(file, name, number) for number, _ in enumerate(_alterations(node)))


def altered(site: Site) -> tuple[str, str]:
    """The text of a site's file with its alteration, and the line that is altered, as it was and as it is."""
    text = (ROOT / site.file).read_text()
    tree = ast.parse(text)
    named = {}
    for node in tree.body:
        if isinstance(node, _FUNCTIONS):
            named[node.name] = node
        elif isinstance(node, ast.ClassDef):
            named |= {f"{node.name}.{each.name}": each for each in node.body if isinstance(each, _FUNCTIONS)}
    place, before, after = list(_alterations(named[site.function]))[site.number]
    _put(tree, place, after)
    words = f"line {before.lineno}: {ast.unparse(before)} -> {ast.unparse(after)}"
    return ast.unparse(ast.fix_missing_locations(tree)) + "\n", words


def _alterations(function: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, ast.AST]]:
    """Yields the nodes of a function that are altered: the node itself, and what takes its place."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    for statement in body:
        yield from _in(statement)


def _in(node: ast.AST) -> Iterator[tuple[ast.AST, ast.AST, ast.AST]]:
    if isinstance(node, (ast.Raise, ast.Assert)):
        return
    for after in _versions(node):
        yield node, node, after
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "decorator_list"):
            continue
        parts = value if isinstance(value, list) else [value]
        if field == "body" and isinstance(node, _FUNCTIONS) and ast.get_docstring(node) is not None:
            parts = parts[1:]
        for part in parts:
            if isinstance(part, ast.AST):
                yield from _in(part)


def _versions(node: ast.AST) -> Iterator[ast.AST]:
    """Yields what may take the place of a node."""
    if isinstance(node, _LEFT_OUT):
        yield ast.Pass()
    if isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in _SWAPPED:
        yield _with(node, op=_SWAPPED[type(node.op)]())
    if isinstance(node, ast.Compare):
        yield _with(node, ops=[_SWAPPED[type(node.ops[0])](), *node.ops[1:]])
    if isinstance(node, ast.UnaryOp):
        yield node.operand
    if isinstance(node, ast.IfExp):
        yield _with(node, body=node.orelse, orelse=node.body)
    if isinstance(node, ast.Slice) and (node.lower or node.upper):
        yield ast.Slice()
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, (int, float)):
            yield ast.Constant(node.value + 1)
        elif isinstance(node.value, str) and node.value:
            yield ast.Constant(f"{node.value}x")


def _with(node: ast.AST, **fields: object) -> ast.AST:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def _put(tree: ast.AST, old: ast.AST, new: ast.AST) -> None:
    """Puts a node in the place of another."""
    for node in ast.walk(tree):
        for field, value in ast.iter_fields(node):
            if value is old:
                setattr(node, field, new)
                return
            if isinstance(value, list):
                for place, each in enumerate(value):
                    if each is old:
                        value[place] = new
                        return
    raise LookupError("no such node")

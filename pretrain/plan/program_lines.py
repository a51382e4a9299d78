"""Programs as lines: equations with constants by value, and without the names of inner functions and variables.

To rename, move or comment code changes no line; to change arithmetic does, or the name of a curve or a result.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend import core

from pretrain.config.digests import sha256
from pretrain.config.fields import ConfigError

_NAMES = frozenset(
    ("name", "debug_info", "jvp_jaxpr_fun", "jvp_jaxpr_thunk", "fwd_jaxpr_thunk", "fun", "bwd", "out_trees")
)
_HOST = ("pure_callback", "io_callback")  # whose programs are not JAX's
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def digest_of(function: Callable, inputs: tuple) -> str:
    """Returns the SHA-256 of a function's program on abstract inputs.

    Raises:
      ConfigError: it calls Python from its compiled program.
    """
    program, outputs = jax.make_jaxpr(function, return_shape=True)(*inputs)
    return sha256("\n".join([*lines_of(program), *_names_of(outputs)]))


def _names_of(outputs: Any) -> Iterator[str]:
    """Yields the names of outputs in dictionaries, such as curves, which no equation shows."""
    for path, _ in jax.tree_util.tree_flatten_with_path(outputs)[0]:
        yield " ".join(["named", *(str(part.key) for part in path if isinstance(part, jax.tree_util.DictKey))])


def lines_of(program: core.ClosedJaxpr) -> Iterator[str]:
    """Yields a program line by line, without names, and with constants by value."""
    numbers: dict[Any, int] = {}

    def number(variable: Any) -> str:
        if isinstance(variable, core.Literal):
            return f"{_value(variable.val)}:{variable.aval.str_short()}"
        return f"v{numbers.setdefault(variable, len(numbers))}:{variable.aval.str_short()}"

    jaxpr = program.jaxpr
    for variable, value in zip(jaxpr.constvars, program.consts, strict=True):
        yield f"const {number(variable)} {_value(value)}"
    yield f"in {' '.join(map(number, jaxpr.invars))}"
    for equation in jaxpr.eqns:
        if equation.primitive.name in _HOST:
            remedy = "calls Python from its compiled program, which cannot be named by its content; write it in JAX"
            raise ConfigError("own code", equation.primitive.name, remedy)
        yield f"{equation.primitive.name} {' '.join(map(number, equation.invars))}"
        for name in sorted(equation.params.keys() - _NAMES):
            yield from (f"  {name} {line}" for line in _parameter(equation.params[name]))
        yield f"-> {' '.join(map(number, equation.outvars))}"
    yield f"out {' '.join(map(number, jaxpr.outvars))}"


def _parameter(value: Any) -> Iterator[str]:
    if isinstance(value, core.ClosedJaxpr):
        yield from lines_of(value)
    elif isinstance(value, core.Jaxpr):
        yield from lines_of(core.ClosedJaxpr(value, [None] * len(value.constvars)))
    elif isinstance(value, tuple | list) and not hasattr(value, "_fields"):
        for part in value:
            yield from _parameter(part)
    elif isinstance(value, np.ndarray | jax.Array):
        yield _value(value)
    elif callable(value) and not isinstance(value, type):
        yield "function"  # its program is beside it
    else:
        yield without_addresses(repr(value))


def _value(value: Any) -> str:
    if isinstance(value, jax.Array) and jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    if value is None or np.ndim(value) == 0:
        return repr(value.item() if hasattr(value, "item") else value)
    array = np.asarray(value)
    digest = sha256(np.ascontiguousarray(array).tobytes())
    return f"{array.dtype}{array.shape}{digest}"


def without_addresses(text: str) -> str:
    """Returns the text of an object without addresses in memory, which differ from process to process."""
    return _ADDRESS.sub("", text)

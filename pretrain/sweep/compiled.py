"""Programs that are compiled ahead of their first use, maybe in another thread, and never run to be compiled.

To run a program on several CPU devices from several threads at once may stop all of them for good: each waits for a
device that another holds.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import jax


class Program:
    """A function of static values and arrays, compiled once for each combination of values and shapes."""

    def __init__(self, function: Callable, n_static: int, donated: Sequence[int] = ()):
        """Args: function: its first ``n_static`` arguments are static; ``donated`` counts from the first."""
        self._function = jax.jit(function, static_argnums=tuple(range(n_static)), donate_argnums=tuple(donated))
        self._n_static = n_static
        self._compiled: dict[Any, Future] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program, compiled by now or right away."""
        return self.compile(*arguments)(*arguments[self._n_static :])

    def compile(self, *arguments: Any) -> Callable:
        """Returns the program for arguments like these, of which arrays may be abstract."""
        static, arrays = arguments[: self._n_static], arguments[self._n_static :]
        abstract = jax.tree.map(_abstract, arrays)
        leaves, structure = jax.tree.flatten(abstract)
        key = static, structure, tuple((leaf.shape, leaf.dtype, leaf.sharding) for leaf in leaves)
        with self._lock:
            is_first = key not in self._compiled
            future = self._compiled.setdefault(key, Future())
        if is_first:
            try:
                future.set_result(self._function.lower(*static, *abstract).compile())
            except BaseException as error:
                with self._lock:
                    del self._compiled[key]
                future.set_exception(error)
        return future.result()

    def outputs(self, *arguments: Any) -> Any:
        """Returns abstract arrays as the program for arguments like these returns them."""
        compiled = self.compile(*arguments)
        shapes = jax.tree.leaves(compiled.out_info)
        placed = [
            jax.ShapeDtypeStruct(shape.shape, shape.dtype, sharding=sharding)
            for shape, sharding in zip(shapes, jax.tree.leaves(compiled.output_shardings), strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(compiled.out_info), placed)

    @property
    def n_compiled(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled)

    def clear(self) -> None:
        """Forgets all programs."""
        self._compiled.clear()


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    shaped = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype)

"""Programs that are compiled ahead of their first use, maybe in another thread, and never run to be compiled.

To run a program on several CPU devices from several threads at once may stop all of them for good: each waits for a
device that another holds.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial, wraps
from typing import Any

import jax

# A process may map so much memory, of which a program on a CPU takes some ninety pieces: beyond Linux's 65,530 it ends
# without a word. So of each function the programs that were used last are kept; others are read from the cache on disk.
MOST_KEPT = 64

_waits = threading.local()


def seconds_waited() -> float:
    """Returns how long this thread has waited for compilations so far."""
    return getattr(_waits, "seconds", 0.0)


class Compiled:
    """A function of static values and arrays, compiled once for each combination of values and shapes in use."""

    def __init__(
        self,
        function: Callable,
        n_static: int,
        donated: Sequence[int] = (),
        cpu_options: Mapping[str, Any] | None = None,
    ):
        """Wraps a function.

        Args:
          function: its first ``n_static`` arguments are static.
          n_static: how many are.
          donated: arguments whose memory the program may take, counted from the first.
          cpu_options: XLA's options for the compilation where the program runs on CPUs.
        """
        self._cpu_options = dict(cpu_options or {})
        self._function = function
        self._jit = partial(jax.jit, static_argnums=tuple(range(n_static)), donate_argnums=tuple(donated))
        self._n_static = n_static
        self._traced: dict[Any, Future] = {}
        self._compiled: dict[Any, Future] = {}
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> Any:
        """Runs the program, compiled by now or right away."""
        began = time.perf_counter()
        program = self.compile(*arguments)
        _waits.seconds = seconds_waited() + time.perf_counter() - began
        return program(*arguments[self._n_static :])

    def compile(self, *arguments: Any) -> Callable:
        """Returns the program for arguments like these, of which arrays may be abstract."""
        options = self._cpu_options if jax.default_backend() == "cpu" else None

        def make() -> Callable:
            return self._trace(*arguments).lower().compile(options)

        return self._once(self._compiled, self._key(*arguments), make)

    def outputs(self, *arguments: Any) -> Any:
        """Returns the shapes and dtypes that the program for arguments like these returns, wherever they will lie."""
        return jax.tree.map(lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype), self._trace(*arguments).out_info)

    def _trace(self, *arguments: Any) -> Any:
        static, abstract = arguments[: self._n_static], jax.tree.map(_abstract, arguments[self._n_static :])

        def make() -> Any:
            # A function of its own, with which JAX forgets what it keeps of the program.
            alone = wraps(self._function)(lambda *arguments: self._function(*arguments))
            return self._jit(alone).trace(*static, *abstract)

        return self._once(self._traced, self._key(*arguments), make)

    def _key(self, *arguments: Any) -> Any:
        leaves, structure = jax.tree.flatten(jax.tree.map(_abstract, arguments[self._n_static :]))
        shapes = tuple((leaf.shape, leaf.dtype, _place(leaf.sharding)) for leaf in leaves)
        return arguments[: self._n_static], structure, shapes

    def _once(self, made: dict[Any, Future], key: Any, make: Callable[[], Any]) -> Any:
        """Returns the value of a key, made by the thread that asks first; others wait."""
        with self._lock:
            is_first = key not in made
            future = made[key] = made.pop(key, None) or Future()  # last in the order of use
            if len(made) > MOST_KEPT:
                del made[next(iter(made))]
        if is_first:
            try:
                future.set_result(make())
            except BaseException as error:
                with self._lock:
                    made.pop(key, None)
                future.set_exception(error)
        return future.result()

    @property
    def n_compiled(self) -> int:
        """How many programs were compiled."""
        return len(self._compiled)

    def clear(self) -> None:
        """Forgets all programs."""
        self._traced.clear()
        self._compiled.clear()


def _place(sharding: jax.sharding.Sharding | None) -> Any:
    """Returns where an array lies: on one device, however the sharding is written."""
    if sharding is None or len(sharding.device_set) > 1:
        return sharding
    return next(iter(sharding.device_set))


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return leaf
    if isinstance(leaf, jax.Array) and leaf.committed:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
    shaped = jax.typeof(leaf)
    return jax.ShapeDtypeStruct(shaped.shape, shaped.dtype)

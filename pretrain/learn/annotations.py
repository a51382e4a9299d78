"""Types of arrays at the boundaries of functions: dtypes, and axes by name, which jaxtyping checks under tests.

Axes of one name are equally long in a function; ``...`` stands for any others, ``*shape`` for some that recur.
"""

from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Float, Int, UInt32

if TYPE_CHECKING:
    from jax import Array
else:
    Array = jax.Array | np.ndarray  # traced, or given by whoever calls a function outside of a program

Scalar = Float[Array, ""]
Seed = UInt32[Array, ""] | Int[Array, ""] | int
Seeds = Seed | UInt32[Array, "sources"]  # the second where each source of variation has its own
Codes = Float[Array, "rows units"]
Outputs = Float[Array, "rows outputs"]

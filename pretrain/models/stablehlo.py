"""A network as one program of StableHLO, for any number of rows and any platform."""

import functools

import jax
import numpy as np

from pretrain.models import forward
from pretrain.models.model import Model

_PLATFORMS = ("cpu", "cuda", "tpu")


def exported(model: Model) -> bytes:
    """Returns the program from inputs [B, D] float32, as the encoder reads them, to outputs [B, outputs].

    ``jax.export.deserialize`` reads it. Its parameters are constants of it.
    """
    run = functools.partial(
        forward.outputs, forward.outside_of_loops(model.stack), model.ending, model.members[0].params
    )
    (batch,) = jax.export.symbolic_shape("batch")
    size = int(np.prod(model.inputs.example_shape))
    inputs = jax.ShapeDtypeStruct((batch, size), np.float32)
    return bytes(jax.export.export(jax.jit(run), platforms=_PLATFORMS)(inputs).serialize())

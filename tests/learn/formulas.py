"""What formulas in NumPy float64 have in common: activations, and gradients by finite differences."""

import itertools

import jax
import numpy as np
from scipy import optimize, special

ACTIVATION_OF = {
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "identity": lambda z: z,
}
SLOPE_OF = {
    "sigmoid": lambda z: special.expit(z) * special.expit(-z),
    "tanh": lambda z: 1 - np.tanh(z) ** 2,
    "elu": lambda z: np.where(z > 0, 1.0, np.exp(np.minimum(z, 0))),
    "identity": np.ones_like,
}


def double(tree):
    """A tree's arrays in float64."""
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def pixels(inputs):
    """What a layer reads, in float64: images in [0, 1], and codes as they are."""
    inputs = np.asarray(inputs)
    return inputs / 255 if inputs.dtype == np.uint8 else inputs.astype(np.float64)


def drawn_layers(rng, sizes):
    """Dense layers between some sizes, float32."""

    def layer(below, above):
        kernel, bias = rng.normal(0, 0.5, (below, above)), rng.normal(0, 0.2, above)
        return {"kernel": kernel.astype(np.float32), "bias": bias.astype(np.float32)}

    return {f"layers_{number}": layer(*pair) for number, pair in enumerate(itertools.pairwise(sizes))}


def drawn_inputs(rng, n, size, dtype):
    """Images as uint8, or codes as float32."""
    return rng.integers(0, 256, (n, size)).astype(np.uint8) if dtype == "uint8" else rng.random((n, size), np.float32)


def vector(tree):
    """A tree's arrays as one vector."""
    return np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(tree)])


def slopes(function, tree):
    """The gradient of a function of parameters by finite differences, in float64, as one vector."""
    ends = np.cumsum([leaf.size for leaf in jax.tree.leaves(tree)])
    shapes, structure = [leaf.shape for leaf in jax.tree.leaves(tree)], jax.tree.structure(tree)

    def of_vector(values):
        parts = [part.reshape(shape) for part, shape in zip(np.split(values, ends), shapes, strict=False)]
        return function(jax.tree.unflatten(structure, parts))

    return optimize.approx_fprime(vector(double(tree)), of_vector, 1e-6)

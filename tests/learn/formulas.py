"""What formulas in NumPy float64 have in common: activations, and gradients by finite differences."""

import itertools

import jax
import numpy as np
from scipy import special

ACTIVATION_OF = {
    "sigmoid": special.expit,
    "tanh": np.tanh,
    "elu": lambda z: np.where(z > 0, z, np.expm1(np.minimum(z, 0))),
    "identity": lambda z: z,
}
STEP = float(np.cbrt(np.finfo(np.float64).eps))  # of differences: it balances their rounding and their truncation
ROUNDINGS = 20  # that a result may be off by, of its size; a few are usual
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


def slopes(function, tree, scale=None):
    """The gradient of a function of parameters by central differences, in float64, as one vector; and its error.

    The error is a step's square times the third derivative, which twice the step shows, and the rounding of the terms
    that the function adds up, of the size ``scale``, by default its value, over the step.
    """
    leaves, structure = jax.tree.flatten(double(tree))
    ends, center = np.cumsum([leaf.size for leaf in leaves]), vector(leaves)

    def of_vector(values):
        parts = [part.reshape(leaf.shape) for part, leaf in zip(np.split(values, ends), leaves, strict=False)]
        return function(jax.tree.unflatten(structure, parts))

    def differences(step):
        sides = [[of_vector(center + sign * place) for sign in (1, -1)] for place in step * np.eye(center.size)]
        return np.subtract(*np.transpose(sides)) / (2 * step)

    found, eps = differences(STEP), np.finfo(np.float64).eps
    rounding = ROUNDINGS * eps * (abs(of_vector(center)) if scale is None else scale) / STEP
    return found, abs(differences(2 * STEP) - found) + rounding


def check_gradient(found, function, tree, scale=None, size=0.0):
    """Checks a gradient against finite differences, up to their error and its own rounding.

    ``size`` is of other numbers that the gradient was rounded with.
    """
    found = vector(found)
    expected, error = slopes(function, tree, scale)
    rounding = ROUNDINGS * np.finfo(found.dtype).eps * max(abs(expected).max(), size)
    assert (abs(found - expected) <= error + rounding).all()

"""Codes watched as pretraining goes on: what they know of classes, and how many directions they use."""

from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Int

from pretrain.learn.annotations import Array, Codes, Scalar
from pretrain.learn.codes import effective_rank, spectrum
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch
from pretrain.learn.probes import nearest
from pretrain.learn.stack import Stack
from pretrain.learn.train import Values

MOST_ROWS = 1000


def watched(words: Sequence[str], stack: Stack, params: Params, held_out: Batch) -> Values:
    """Returns what some words name of the codes of the first 1,000 held-out rows, by the names of curves."""
    rows = jax.tree.map(lambda leaf: leaf[:MOST_ROWS], held_out)
    codes = stack.codes(params, rows.inputs)
    is_finite = jnp.isfinite(codes).all()
    measures = (_WATCHES[word] for word in words)
    return {name: jnp.where(is_finite, measure(codes, rows.labels), jnp.nan) for name, measure in measures}


def neighbour_accuracy(codes: Codes, labels: Int[Array, " rows"]) -> Scalar:
    """Returns the share of rows whose nearest other row (Euclidean) is of their class, by codes [N, units]."""
    own = jnp.arange(len(codes))
    found = nearest(codes, codes, own, 2)  # a row itself comes first, or second to one with the same codes
    return jnp.mean(labels[jnp.where(found[:, 0] == own, found[:, 1], found[:, 0])] == labels)


def _rank(codes: Codes, labels: object) -> Scalar:
    return effective_rank(spectrum(codes))


_WATCHES: Mapping[str, tuple[str, Callable[..., Scalar]]] = {
    "neighbours": ("neighbour_accuracy", neighbour_accuracy),
    "rank": ("effective_rank", _rank),
}

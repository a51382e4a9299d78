"""Random draws: one purpose each, so that changing one leaves the others untouched."""

import enum
import math
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int, Key, Num

from pretrain.learn.annotations import Array, Seed, Seeds

_ROUNDS = 8


class Purpose(enum.IntEnum):
    """Purpose of a draw. Two arms of a seed share the draws of every purpose that both have."""

    ENCODER_INIT = 0
    DECODER_INIT = 1
    HEAD_INIT = 2
    LABEL_SUBSET = 3
    PRETRAIN_BATCHES = 4
    FINETUNE_BATCHES = 5
    CORRUPTION = 6
    SAMPLING = 7
    CONTROL = 8
    VIEWS = 9
    AUGMENTATION = 10
    PRETRAIN_DRAWS = 11  # of layers in training
    FINETUNE_DRAWS = 12
    MASKS = 13


class VariationSource(enum.IntEnum):
    """VariationSource of variation: purposes of which a trial may have the draws of another seed."""

    PRETRAINING = 0  # of the encoder that fine-tuning starts from, or its fresh initialisation
    LABELS = 1
    HEAD = 2
    BATCHES = 3

    @classmethod
    def of(cls, purpose: Purpose) -> "VariationSource":
        """Returns the source that a purpose's draws belong to."""
        return {
            Purpose.LABEL_SUBSET: cls.LABELS,
            Purpose.HEAD_INIT: cls.HEAD,
            Purpose.FINETUNE_BATCHES: cls.BATCHES,
            Purpose.AUGMENTATION: cls.BATCHES,
            Purpose.FINETUNE_DRAWS: cls.BATCHES,
        }.get(purpose, cls.PRETRAINING)


def key_for(seed: Seeds, purpose: Purpose, *index: jax.Array | int) -> Key[Array, ""]:
    """Returns the key of a seed's draw for a purpose; ``index``, 0 by default, distinguishes layers or phases.

    The seed is one for all purposes, or of each source its own.
    """
    # An index that is left out is part of the program, and so of stages' names.
    own = cast(Any, seed)[VariationSource.of(purpose)] if np.ndim(seed) else seed
    return _key(own, purpose, *index)


@jax.jit
def _key(seed: Seed, purpose: jax.Array, index: jax.Array | int = 0) -> Key[Array, ""]:
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), purpose), index)


def update_key(seed: Seeds, purpose: Purpose, place: int, index: Int[Array, ""] | int) -> Key[Array, ""]:
    """Returns the key of an update's draw for a purpose; ``place`` distinguishes stages."""
    return jax.random.fold_in(key_for(seed, purpose, place), index)


def shuffled(key: Key[Array, ""], positions: Int[Array, "*shape"], size: int) -> Int[Array, "*shape"]:
    """Returns where a random permutation of ``range(size)`` sends each position: int32, of the positions' shape.

    The permutation is a keyed bijection computed position by position: a Feistel network on the grid Z_a x Z_b that
    barely covers ``size``, walking on from the few cells past the end (Black and Rogaway, 2002, "Ciphers with arbitrary
    finite domains"; Mitchell et al., 2022, shuffle on GPUs the same way). A batch so costs work in proportion to
    itself, where sorting would cost work in proportion to the dataset at every draw.
    """
    columns = max(1, round(size**0.5))
    rows = -(-size // columns)
    round_keys = jax.random.bits(key, (_ROUNDS,), jnp.uint32)

    def walk(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        cells, outside = carry
        left, right = cells // columns, cells % columns
        for index in range(0, _ROUNDS, 2):
            left = (left + mixed(right ^ round_keys[index]) % rows) % rows
            right = (right + mixed(left ^ round_keys[index + 1]) % columns) % columns
        cells = jnp.where(outside, left * columns + right, cells)
        return cells, cells >= size

    carry = positions.astype(jnp.uint32), jnp.ones(positions.shape, bool)
    return jax.lax.while_loop(lambda carry: jnp.any(carry[1]), walk, carry)[0].astype(jnp.int32)


def batch_rows(
    key: Key[Array, ""], step: Int[Array, ""] | int, size: int, batch_size: int, sampling: str
) -> Int[Array, " batch_size"]:
    """Returns the rows of a step's batch out of ``size``, without replacement: [batch_size] int32.

    ``epoch``: consecutive batches partition a shuffled epoch, and the remainder is dropped; ``fresh``: every step draws
    anew.
    """
    steps_per_epoch = size // batch_size if sampling == "epoch" else 1
    epoch, place = step // steps_per_epoch, step % steps_per_epoch
    return shuffled(jax.random.fold_in(key, epoch), place * batch_size + jnp.arange(batch_size), size)


def uniform(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns numbers from an even distribution on (0, 1): float32, of the shape.

    A hash of each place and the key, which costs a tenth of JAX's own generator on a CPU: noise on every input of every
    batch would otherwise take longer than the update.
    """
    first, second = jax.random.bits(key, (2,), jnp.uint32)
    places = jnp.arange(math.prod(shape), dtype=jnp.uint32).reshape(shape)
    bits = mixed(mixed(places * jnp.uint32(0x9E3779B9) ^ first) ^ second)
    # The upper 23 bits, which float32 holds, and half of the last so that neither end is met.
    return ((bits >> 9).astype(jnp.float32) + 0.5) * jnp.float32(2**-23)


def normal(key: Key[Array, ""], shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns numbers from a standard normal distribution: float32, of the shape; as cheap as ``uniform``."""
    return jax.scipy.special.ndtri(uniform(key, shape))


def label_subset(
    key: Key[Array, ""], labels: Num[Array, "rows ..."], size: int, method: str, n_classes: int
) -> Int[Array, " size"]:
    """Returns the rows of the labelled subset of labels [N]: [size] int32.

    ``first``: the first rows; ``random``: a uniform draw; ``balanced``: a uniform draw with equal counts a class, as
    far as the classes have images.
    """
    if method == "first":
        return cast(jax.Array, np.arange(size, dtype=np.int32))
    rows = jnp.arange(len(labels), dtype=jnp.int32)
    if method == "random":
        return shuffled(key, rows[:size], len(labels))
    order = shuffled(key, rows, len(labels))
    is_class = jax.nn.one_hot(labels[order], n_classes, dtype=jnp.int32)  # [N, classes]
    place_in_class = jnp.sum(jnp.cumsum(is_class, axis=0) * is_class, axis=1)
    return order[jnp.argsort(place_in_class, stable=True)[:size]]


def mixed(values: Any) -> Any:
    """Returns uint32 values, of JAX or NumPy, with their bits mixed: the finaliser of MurmurHash3."""
    values = (values ^ (values >> 16)) * np.uint32(0x85EBCA6B)
    values = (values ^ (values >> 13)) * np.uint32(0xC2B2AE35)
    return values ^ (values >> 16)

"""Codes of a trained encoder and of the same one untrained, by a program of its own, as no stage needs them."""

from typing import NamedTuple

from jaxtyping import Shaped

from pretrain.learn.annotations import Array, Codes, Seeds
from pretrain.learn.codes import in_blocks
from pretrain.learn.layers import Params, flat
from pretrain.learn.products import in_precision
from pretrain.learn.stack import Stack, fresh_layer


class Encoder(NamedTuple):
    """An encoder that was trained, and the seed that its first weights were drawn from."""

    seed: Seeds
    params: Params


def trained_and_untrained(stack: Stack, trial: Encoder, images: Shaped[Array, "rows ..."]) -> tuple[Codes, Codes]:
    """Returns the topmost codes [N, units] of images [N, ...], by an encoder as it is, and as it was drawn."""
    drawn = {f"layers_{layer}": fresh_layer(stack, layer, trial.seed)["encoder"] for layer in range(len(stack.layers))}
    with in_precision(stack.precision):
        trained, untrained = (
            flat(in_blocks(stack.encoding({"encoder": each}), images)) for each in (trial.params, drawn)
        )
    return trained, untrained

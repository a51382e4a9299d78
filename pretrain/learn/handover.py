"""What a classifier starts from: the encoder that pretraining left or a control, statistics of codes, a head."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from pretrain.learn import controls
from pretrain.learn.codes import code_statistics, identity_statistics, whitening
from pretrain.learn.model import Params, standardised
from pretrain.learn.objectives import Batch
from pretrain.learn.probes import ridge
from pretrain.learn.randomness import Purpose, key_for, label_subset
from pretrain.learn.stage import Images, Stage, Start
from pretrain.learn.transfer import copied, fresh_layer, stack_shapes

Choices = Mapping[str, str | int]


def start(
    seed: int, parent: Params | None, labels: jax.Array, choices: Choices, stage: Stage, n_labels: int, n_classes: int
) -> Start:
    """Returns the encoder, a head and the labelled subset that a trial's choices, seed and parent decide.

    Args:
      seed: the trial's seed.
      parent: parameters of the last phase, of which only the encoder is taken; None without pretraining.
      labels: of all training images [N].
      choices: the values of the start fields.
      stage: whose sizes the encoder has.
      n_labels: size of the labelled subset.
      n_classes: how many classes there are.
    """
    units = stage.widths[-1]
    head = fresh_layer(n_classes, units, key_for(seed, Purpose.HEAD_INIT))
    if choices["head_init"] == "zero":
        head = jax.tree.map(jnp.zeros_like, head)
    rows = label_subset(key_for(seed, Purpose.LABEL_SUBSET), labels, n_labels, choices["label_subset"], n_classes)
    statistics = identity_statistics(units, whitening=choices["codes"] == "whitened")
    params = {"encoder": _encoder(seed, parent, choices, stage), "head": head, "codes": statistics}
    return Start(params, rows, choices["head_init"] == "ridge", choices["codes"] == "standardised")


def handed_over(stage: Stage, start: Start, labelled: Batch, images: Images, penalty: jax.Array | float) -> Params:
    """Returns a start's parameters, with statistics of the codes and a fitted head where they are chosen.

    Args:
      stage: whose encoder it is.
      start: from ``start``.
      labelled: the labelled subset.
      images: whose unlabelled images give the statistics.
      penalty: of a fitted head, see ``probes.ridge``.
    """
    depth, params = len(stage.widths), with_statistics(stage, start, images)

    def fitted() -> Params:
        codes = standardised(stage.codes(params, labelled.inputs, depth), params["codes"])
        return ridge(codes, labelled.labels, len(params["head"]["bias"]), penalty)

    return {**params, "head": jax.lax.cond(start.fits_head, fitted, lambda: params["head"])}


def with_statistics(stage: Stage, start: Start, images: Images) -> Params:
    """Returns a start's parameters with the statistics of the codes that its head reads."""
    params, unlabelled = start.params, images.train.inputs
    encode = stage.encoding(params, len(stage.widths))
    if "kernel" in params["codes"]:
        return {**params, "codes": whitening(encode, unlabelled)}
    measured = jax.lax.cond(start.standardises, lambda: code_statistics(encode, unlabelled), lambda: params["codes"])
    return {**params, "codes": measured}


def _encoder(seed: int, parent: Params | None, choices: Choices, stage: Stage) -> Params:
    """Returns the encoder's layers: the parent's, controls made of them, or fresh ones."""
    sizes = (stage.image_size, *stage.widths)
    shapes = stack_shapes(sizes)["encoder"]
    given = copied(shapes, parent["encoder"]) if parent else {}
    kept = len(stage.widths) - choices["fresh_layers"] if parent else 0
    return {
        name: _layer(seed, number, given[name], choices["encoder_init"])
        if number < kept
        else fresh_layer(sizes[number + 1], sizes[number], key_for(seed, Purpose.ENCODER_INIT, number))
        for number, name in enumerate(shapes)
    }


def _layer(seed: int, number: int, given: Params, init: str) -> Params:
    if init not in controls.KINDS:
        return given
    return controls.control(given, key_for(seed, Purpose.CONTROL, number), init)

"""The handover to a classifier, besides its encoder: statistics of the codes, and a fitted head."""

from functools import partial

import jax

from pretrain.learn import codes
from pretrain.learn.layers import Params, flat
from pretrain.learn.method import Extras
from pretrain.learn.metrics import Images, taken
from pretrain.learn.probes import as_read, codes_in_blocks, ridge
from pretrain.learn.stack import Stack
from pretrain.learn.start import Start


def handed_over(stack: Stack, begun: Start, images: Images, ridge_penalty: jax.Array | float, extras: Extras) -> Params:
    """Returns a start's parameters, with statistics of the codes and a fitted head where its job has them.

    Args:
      stack: the layers, with the head.
      begun: where the trial starts.
      images: whose unlabelled images give the statistics, and whose labelled subset the head is fitted to.
      ridge_penalty: of a fitted head, see ``probes.ridge``.
      extras: the parts that some job of the pack has a use for.
    """
    params, unlabelled = begun.params, images.train.inputs
    encode = stack.encoding(params)
    if "kernel" in params["codes"]:
        params = {**params, "codes": codes.whitening(encode, unlabelled)}
    elif extras.standardises:
        measured = partial(codes.code_statistics, encode, unlabelled)
        params = {**params, "codes": jax.lax.cond(begun.standardises, measured, lambda: params["codes"])}
    if not extras.fits_head:
        return params

    def fitted() -> Params:
        labelled = taken(images.train, begun.labelled)
        inputs = flat(codes_in_blocks(stack, params, labelled.inputs))
        known = as_read(params, labelled._replace(inputs=inputs))
        return ridge(known.inputs, known.labels, stack.task, ridge_penalty)

    return {**params, "head": jax.lax.cond(begun.fits_head, fitted, lambda: params["head"])}

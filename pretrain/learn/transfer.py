"""Which parameters go from stage to stage, and which stay frozen.

Both are total: every leaf is accounted for, or it fails.
"""

from collections.abc import Collection

from flax import traverse_util

from pretrain.learn.layers import Params
from pretrain.learn.modes import STATISTICS


class TransferError(Exception):
    """Parameters that do not fit where they should go; the message lists every one."""


def copied(target: Params, source: Params) -> Params:
    """Returns the source's parameters, checked leaf by leaf against the target's shapes and dtypes.

    Args:
      target: nested parameters, or their shapes.
      source: nested parameters.

    Raises:
      TransferError: a leaf is in one of the two only, or its shape or dtype differs.
    """
    goal, given = (traverse_util.flatten_dict(tree, sep="/") for tree in (target, source))
    faults = [f"{path} has no place" for path in given.keys() - goal.keys()]
    faults += [f"{path} is missing" for path in goal.keys() - given.keys()]
    for path in given.keys() & goal.keys():
        have, want = given[path], goal[path]
        if (have.shape, have.dtype) != (want.shape, want.dtype):
            faults.append(f"{path} is {have.dtype}{list(have.shape)}, wanted {want.dtype}{list(want.shape)}")
    if faults:
        raise TransferError("parameters do not fit: " + "; ".join(sorted(faults)))
    return source


def without_statistics(params: Params) -> tuple[Params, Params]:
    """Splits parameters, by side and layer, from the running statistics beside them."""
    flat = traverse_util.flatten_dict(params)
    held = {path for path in flat if STATISTICS in path[:3]}
    halves = ({path: flat[path] for path in flat if (path in held) is is_held} for is_held in (False, True))
    own, statistics = map(traverse_util.unflatten_dict, halves)
    return own, statistics


def partition(params: Params, trainable: Collection[str]) -> tuple[Params, Params]:
    """Splits parameters into those at or under the trainable paths, such as ``encoder/layers_1``, and the others.

    Raises:
      TransferError: a trainable path has no parameters.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    under = {path: next((root for root in trainable if f"{path}/".startswith(f"{root}/")), None) for path in flat}
    unmatched = set(trainable) - set(under.values())
    if unmatched:
        raise TransferError(f"no parameters to train under: {', '.join(sorted(unmatched))}")
    halves = ({path: leaf for path, leaf in flat.items() if bool(under[path]) is side} for side in (True, False))
    trained, frozen = (traverse_util.unflatten_dict(half, sep="/") for half in halves)
    return trained, frozen


def merged(trainable: Params, frozen: Params) -> Params:
    """Returns the parameters that ``partition`` split.

    Raises:
      TransferError: a leaf is in both.
    """
    halves = [traverse_util.flatten_dict(tree, sep="/") for tree in (trainable, frozen)]
    both = halves[0].keys() & halves[1].keys()
    if both:
        raise TransferError(f"both trainable and frozen: {', '.join(sorted(both))}")
    return traverse_util.unflatten_dict(dict(sorted({**halves[0], **halves[1]}.items())), sep="/")

"""Checkpoints of vision transformers with timm's names, as layers of patches, attention blocks and a norm."""

from collections.abc import Mapping, Sequence

import flax.linen as nn
import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.data import weights
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.plan.folded import Folded
from pretrain.plan.layouts import Leaf

_STEM, _POSITIONS = "patch_embed.proj", "pos_embed"
_NORMS: Mapping[str | None, list[type[nn.Module]]] = {"norm": [LayerNorm, Mean], "fc_norm": [Mean, LayerNorm]}


def renamed(
    name: str,
    arrays: Mapping[str, np.ndarray],
    layers: Sequence[nn.Module],
    wanted: Mapping[str, Leaf],
    pairs: Sequence[tuple[str, str]],
) -> Folded | None:
    """Returns a checkpoint's arrays with the places that timm's names stand for; None where it has no such names.

    Raises:
      ConfigError: it has a class token, or other patches, blocks or norms than the encoder; one line gives its words.
    """
    begin = next((key.removesuffix(f"{_STEM}.weight") for key in arrays if key.endswith(f"{_STEM}.weight")), None)
    if begin is None or arrays[f"{begin}{_STEM}.weight"].ndim < 3:  # as of flattened patches
        return None
    if f"{begin}cls_token" in arrays:
        remedy = "has a class token, where tokens are averaged; take a model of global_pool='avg', class_token=False"
        raise ConfigError(weights.FIELD, name, remedy)
    blocks = _numbers(arrays, f"{begin}blocks.")
    norm = next((each for each in _NORMS if f"{begin}{each}.weight" in arrays), None)
    features, _, *window = arrays[f"{begin}{_STEM}.weight"].shape
    kinds = [Patches, *[Attention] * len(blocks), *_NORMS.get(norm, [Mean])]
    first = layers[0]
    is_patch = isinstance(first, Patches) and {first.features} == {features} and {first.window} == set(window)
    if not is_patch or [type(layer) for layer in layers[: len(kinds)]] != kinds:
        words = [f"{features}p{window[0]}", *["t…"] * len(blocks)]
        words += ["mean" if kind is Mean else "norm" for kind in kinds[len(words) :]]
        remedy = f"is a vision transformer of --encoder.layers {' '.join(words)}, heads, as t3, in the place of t…"
        raise ConfigError(weights.FIELD, name, f"{remedy}: no shape shows them, and most of timm's have 64 units each")
    made, positions = dict(arrays), wanted["layers_0/positions"].shape
    own = [("layers_0/positions", f"{begin}{_POSITIONS}"), ("layers_0", f"{begin}{_STEM}")]
    own += [(f"layers_{at}", f"{begin}blocks.{number}") for at, number in enumerate(blocks, 1)]
    own += [(f"layers_{kinds.index(LayerNorm)}", f"{begin}{norm}")] if norm else []
    table = made.get(f"{begin}{_POSITIONS}")
    if table is not None and table.size != np.prod(positions):
        remedy = f"has {table.shape[-2]} positions, where examples have {int(np.prod(positions[:-1]))} patches; "
        raise ConfigError(weights.FIELD, name, f"{remedy}bring images of the size that it was trained on")
    if table is not None:  # in the order of a kernel's axes, as torch has them
        made[f"{begin}{_POSITIONS}"] = np.moveaxis(table.reshape(positions), (-1, -2), (0, 1))
    mapped = tuple(theirs for _, theirs in pairs)
    unused = tuple(key for key in made if key.startswith(f"{begin}head.") and not key.startswith(mapped))
    return Folded({key: array for key, array in made.items() if key not in unused}, unused, tuple(own))


def _numbers(arrays: Mapping[str, np.ndarray], begin: str) -> list[int]:
    """Returns the numbers of blocks whose names begin alike, in order."""
    return sorted({int(key[len(begin) :].partition(".")[0]) for key in arrays if key.startswith(begin)})

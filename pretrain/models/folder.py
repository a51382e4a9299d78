"""A network as a folder: ``model.safetensors``, ``config.json`` and ``README.md``; loading it executes nothing."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import traverse_util

from pretrain.config.digests import sha256, sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.config.paths import opened
from pretrain.data import inputs_file
from pretrain.data.weights import FORMAT
from pretrain.learn.layers import (
    ACTIVATIONS,
    LayerError,
    Layers,
    Params,
)
from pretrain.learn.methods import trees
from pretrain.learn.norms import NORMS
from pretrain.learn.stack import Stack
from pretrain.learn.tasks import Task
from pretrain.learn.transfer import TransferError, copied
from pretrain.models import card, forward, stablehlo
from pretrain.models.model import Member, Model
from pretrain.models.stored import encoder_shapes
from pretrain.plan import builders
from pretrain.plan.described import FIELDS, KINDS, described
from pretrain.plan.stages import example_shape

WEIGHTS, CONFIG, CARD, TORCH, STABLEHLO = "model.safetensors", "config.json", "README.md", "model.py", "model.stablehlo"
_LAYOUT = "flax"  # dense kernels [in, out], kernels of convolutions [*window, in, out], the last axis the channels
_ENDINGS = ("finetuning", "ridge", "logistic", "linear", forward.NEIGHBOURS, forward.TREES)
_LARGEST = 1 << 24  # bytes of a description
_TORCH = Path(__file__).with_name("torch_model.py")


def save(model: Model, out: Path, sentence: str, to: Iterable[str] = ()) -> list[Path]:
    """Writes a network to a folder, all of it or nothing; returns its files.

    Args:
      out: the folder, which may hold a network that was written before, and nothing else.
      to: ``pytorch`` for a self-contained ``model.py``, ``stablehlo`` for a program of any batch size.

    Raises:
      ConfigError: it is an ensemble, has layers of the user's own, or the folder holds something else.
      OSError: a file could not be written.
    """
    if len(model.members) > 1:
        raise ConfigError("model", model.name, "is an ensemble; export a seed")
    description = _described(model, sentence)
    if out.is_symlink() or (out.exists() and not _is_export(out)):
        raise ConfigError("out", str(out), "holds something else; name a new folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    before = draft.with_name(f"{draft.name}.before")
    try:
        draft.chmod(0o755)
        _write_weights(draft / WEIGHTS, model.members[0].params)
        description["sha256"] = {WEIGHTS: sha256_of_file(draft / WEIGHTS)}
        (draft / CONFIG).write_text(json.dumps(description, indent=1), encoding="utf-8")
        if "pytorch" in to:
            shutil.copyfile(_TORCH, draft / TORCH)
        if "stablehlo" in to:
            (draft / STABLEHLO).write_bytes(stablehlo.exported(model))
        (draft / CARD).write_text(card.text(model, sentence, description["layers"], set(to)), encoding="utf-8")
        if out.exists():
            out.rename(before)
        try:
            draft.rename(out)
        except OSError:
            if before.exists():
                before.rename(out)
            raise
    finally:
        for place in (draft, before):
            shutil.rmtree(place, ignore_errors=True)
    return sorted(out.iterdir())


def is_network(path: Path) -> bool:
    """Returns whether a folder holds a network."""
    return (path / WEIGHTS).is_file() and (path / CONFIG).is_file()


def load(path: Path) -> Model:
    """Returns the network of a folder.

    Raises:
      ConfigError: a file is not there, damaged, or of another version; names it.
    """
    try:
        description = _description(path / CONFIG)
        inputs = inputs_file.of_content(description["inputs"])
        layers = tuple(
            KINDS[each["kind"]](**{k: v for k, v in each.items() if k != "kind"}) for each in description["layers"]
        )
        _check(description, layers)
        shape = example_shape(layers, inputs.example_shape)
        stack = builders.network(layers, shape, Task(inputs.task, len(inputs.output_names)))
        shapes = encoder_shapes(stack)
        block, name, ending = int(description["block"]), str(description["name"]), description["ending"]
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, LayerError, RecursionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError("model", str(path / CONFIG), f"describes no network ({reason}); export it anew") from None
    kept = description.get("sha256")
    params = _read_weights(path / WEIGHTS, kept.get(WEIGHTS) if isinstance(kept, dict) else None)
    _check_weights(path / WEIGHTS, params, shapes, stack, ending)
    return Model(stack, ending, (Member(params, inputs),), block, name)


def _described(model: Model, sentence: str) -> dict[str, Any]:
    content = inputs_file.content_of(model.inputs)
    content["data"] |= {"name": Path(str(content["data"]["name"])).name, "dir": ""}  # of no machine
    return {
        "format": FORMAT,
        "name": model.name,
        "sentence": sentence,
        "ending": model.ending,
        "task": model.inputs.task,
        "classes": list(model.classes),
        "example_shape": list(model.inputs.example_shape),
        "layers": [_layer(layer) for layer in model.stack.layers],
        "block": model.block,
        "inputs": content,
        "versions": {name: version(name) for name in ("jax", "flax")},
    }


def _layer(layer: nn.Module) -> dict[str, Any]:
    """Returns a layer in words."""
    made = described(layer)
    if made is None:
        remedy = "is a layer of your own, whose code no folder holds; use run.model() beside its file"
        raise ConfigError("encoder.layers", type(layer).__name__, remedy)
    return made


def _is_export(out: Path) -> bool:
    names = {path.name for path in out.iterdir()} if out.is_dir() else {"a file"}
    if not names:
        return True
    try:
        _description(out / CONFIG)
    except (ConfigError, ValueError, RecursionError):
        return False
    return names <= {WEIGHTS, CONFIG, CARD, TORCH, STABLEHLO}


def _write_weights(path: Path, params: Params) -> None:
    """Writes parameters; every array as a copy in C order, for the writer takes the bytes of a view as they lie."""
    flat = traverse_util.flatten_dict(params, sep=".")
    arrays = {name: np.array(leaf, order="C", copy=True) for name, leaf in flat.items() if name != "neighbours.rows"}
    assert all(array.flags.c_contiguous and array.dtype.isnative for array in arrays.values())
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"format": _LAYOUT}))


def _read_weights(path: Path, checksum: str | None) -> Params:
    try:
        with opened(path) as file:
            content = file.read()
        if checksum is not None and sha256(content) != checksum:
            raise ValueError("it is not as it was written")
        arrays = safetensors.numpy.load(content)
        return traverse_util.unflatten_dict({name: np.array(leaf) for name, leaf in arrays.items()}, sep=".")
    except (OSError, ValueError, LookupError, TypeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ConfigError("model", str(path), f"is no readable .safetensors file ({reason}); export it anew") from None


def _check_weights(path: Path, params: Params, shapes: Params, stack: Stack, ending: str) -> None:
    """Checks every array by name, shape and type."""
    units, width = stack.n_codes, stack.task.n_outputs
    wanted: dict[str, tuple[tuple[int, ...], str]] = {
        f"encoder.{name}": (leaf.shape, "float32") for name, leaf in traverse_util.flatten_dict(shapes, sep=".").items()
    }
    flat = traverse_util.flatten_dict(params, sep=".")
    whitens = "codes.kernel" in flat
    wanted["codes.mean"] = ((units,), "float32")
    wanted["codes.kernel" if whitens else "codes.scale"] = ((units, units) if whitens else (units,), "float32")
    if ending == forward.NEIGHBOURS:
        voters = flat[f"{forward.VOTERS}.codes"].shape[:1] if f"{forward.VOTERS}.codes" in flat else (0,)
        is_class = stack.task.kind == "classification"
        wanted[f"{forward.VOTERS}.codes"] = ((*voters, units), "float32")
        wanted[f"{forward.VOTERS}.labels"] = (
            voters if is_class else (*voters, width),
            "int32" if is_class else "float32",
        )
        wanted["neighbours.count"] = ((), "int32")
    elif ending == forward.TREES:
        wanted |= {f"trees.{name}": shape for name, shape in trees.shapes(stack.task).items()}
    else:
        wanted |= {"head.kernel": ((units, width), "float32"), "head.bias": ((width,), "float32")}
    try:
        copied(
            {name: jax.ShapeDtypeStruct(shape, np.dtype(kind)) for name, (shape, kind) in wanted.items()},
            {name: np.asarray(leaf) for name, leaf in flat.items()},
        )
    except TransferError as error:
        raise ConfigError("model", str(path), f"holds other arrays than config.json describes: {error}") from None
    if ending == forward.NEIGHBOURS:
        count, n_voters = int(params["neighbours"]["count"]), len(params[forward.VOTERS]["codes"])
        if not 1 <= count <= n_voters:
            raise ConfigError("model", str(path), f"holds {count} neighbours of {n_voters} codes; export it anew")
    if ending == forward.TREES and not trees.are_sound(params["trees"], units):
        raise ConfigError("model", str(path), "holds nodes that make no trees; export it anew")


def _description(path: Path) -> dict[str, Any]:
    try:
        with opened(path) as file:
            text = file.read(_LARGEST)
    except OSError as error:
        raise ConfigError("model", str(path), f"cannot be read ({error.strerror}); export it anew") from None
    content = json.loads(text)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"its format is not {FORMAT}")
    return content


def _check(description: Mapping[str, Any], layers: Layers) -> None:
    """Raises ValueError if a description is of no network."""
    for layer in layers:
        fields = {name: getattr(layer, name) for name in FIELDS if hasattr(layer, name)}
        is_known = fields.pop("activation", "identity") in ACTIVATIONS and fields.pop("norm", "none") in NORMS
        if not is_known or not all(type(each) is int and each >= (name != "padding") for name, each in fields.items()):
            raise ValueError(f"{type(layer).__name__} has other fields than layers have")
    if description["ending"] not in _ENDINGS:
        raise ValueError(f"its ending is none of {', '.join(_ENDINGS)}")
    if not 0 < int(description["block"]) <= 1 << 20:
        raise ValueError("its block is no number of rows")

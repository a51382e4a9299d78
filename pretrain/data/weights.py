"""Arrays of a checkpoint, whoever wrote it: .safetensors, .npz, PyTorch's state dicts, orbax; none executes code."""

import io
import json
import pickle
import re
import textwrap
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from pretrain.config import invocation
from pretrain.config.fields import ConfigError
from pretrain.config.paths import opened, path_of
from pretrain.data.files import State, read_npz, state_of

FIELD = "finetune.weights"
FORMAT = "pretrain-model/1"  # as a folder of ours says
Layout = Literal["torch", "flax"]  # dense kernels [out, in], convolutions [out, in, *window]; or the reverse
# What a safetensors file's metadata call the layout that its arrays have.
_FORMATS: Mapping[str, Layout] = {"pt": "torch", "torch": "torch", "pytorch": "torch", "flax": "flax", "jax": "flax"}
_WRAPPERS = ("state_dict", "model_state_dict", "params")
_OF_TRAINING = ("step", "opt_state", "tx", "apply_fn")  # of a flax TrainState, beside its parameters
_SIDES = {"encoder", "decoder", "head", "codes", "voters", "neighbours", "trees"}  # of a network of this package
_MOST_BYTES, _MOST_SECONDS = 1 << 34, 600  # of an array, and to read it
_ESCAPES = re.compile(r"\x1b\[[0-9;]*m")  # of terminals
_CONFIG, _LARGEST = "config.json", 1 << 24  # bytes
_MOST_DEEP = 50  # dictionaries in one another


class Weights(NamedTuple):
    """The arrays of a checkpoint."""

    arrays: dict[str, np.ndarray]  # by name, its parts joined by dots
    layout: Layout | None  # as the file says; None where it does not
    stated: Mapping[str, Any] | None = None  # of a folder of ours, what its config.json says


def states(name: str) -> tuple[State, ...]:
    """Returns the states of a checkpoint's files, none where there is no checkpoint."""
    path = path_of(FIELD, name)
    files = [path / "model.safetensors", path / _CONFIG] if path.is_dir() else [path]
    if path.is_dir() and _is_orbax(path):
        files = sorted(path.rglob("*"))
    return tuple(state_of(file) for file in files if file.is_file())


def read(name: str) -> Weights:
    """Returns the arrays of a checkpoint, by the names that its writer gave them.

    Of a network of this package these are its encoder's, of a TrainState its parameters.

    Raises:
      ConfigError: it is not there, damaged, of another kind, or holds anything but arrays; in one line.
    """
    path = path_of(FIELD, name)
    if not path.exists():
        raise ConfigError(FIELD, name, "is not there; give the path of a checkpoint")
    reader = _reader(path, name)
    try:
        tree, layout = reader(path)
        arrays = _plain(_of_encoder(_parameters(tree)))
        stated = _stated(path / _CONFIG) if (path / _CONFIG).is_file() else None
    except ConfigError:
        raise
    except (Exception, RecursionError) as error:  # of any library, at a file that may hold anything
        reason = textwrap.shorten(_ESCAPES.sub("", str(error)), 120, placeholder=" …") or type(error).__name__
        raise ConfigError(FIELD, name, f"cannot be read ({reason}); save its arrays anew") from None
    if not arrays:
        raise ConfigError(FIELD, name, "holds no arrays; give the path of a checkpoint")
    return Weights(arrays, layout, stated)


def _stated(path: Path) -> Mapping[str, Any] | None:
    """Returns what a folder of ours says; None of another."""
    with opened(path) as file:
        content = json.loads(file.read(_LARGEST))
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        return None
    has_kinds = all(isinstance(each, dict) and "kind" in each for each in content["layers"])
    if not has_kinds or not isinstance(content["inputs"]["scaling"]["method"], str):
        raise ValueError(f"{path.name} describes no network")
    return content


def _reader(path: Path, name: str) -> Callable[[Path], tuple[Any, Layout | None]]:
    if path.is_dir():
        if (path / "experiment.json").exists():
            export = invocation.command("export", name, "--out NETWORK")
            raise ConfigError(
                FIELD, name, f"is a run, of which one network has to be chosen; {export}, and give NETWORK"
            )
        if (path / "model.safetensors").exists():
            return lambda path: _safetensors(path / "model.safetensors")
        if _is_orbax(path):
            return _orbax
        raise ConfigError(FIELD, name, "holds no model.safetensors and no orbax checkpoint; give the path of one")
    readers = {".safetensors": _safetensors, ".npz": lambda path: (read_npz(path), None), ".pt": _torch, ".pth": _torch}
    if path.suffix not in readers:
        remedy = "is of no known kind; give .safetensors, .npz, .pt, .pth, or the directory of an orbax checkpoint"
        raise ConfigError(FIELD, name, remedy)
    return readers[path.suffix]


def _is_orbax(path: Path) -> bool:
    return any((path / inner / "_METADATA").is_file() for inner in ("", "default"))


def _safetensors(path: Path) -> tuple[Any, Layout | None]:
    import safetensors.numpy

    with opened(path) as file:
        content = file.read()
    arrays = safetensors.numpy.load(content)  # which checks the header
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size]).get("__metadata__") or {}
    return arrays, _FORMATS.get(str(metadata.get("format")).lower())


def _torch(path: Path) -> tuple[Any, Layout | None]:
    try:
        import torch
    except ImportError:
        remedy = "needs PyTorch to be read; pip install -e '.[torch]', or save its arrays as .safetensors"
        raise ConfigError(FIELD, str(path), remedy) from None
    with opened(path) as file:
        content = io.BytesIO(file.read())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            tree = torch.load(content, map_location="cpu", weights_only=True)  # which unpickles tensors alone
        except pickle.UnpicklingError as error:
            if not (held := re.search(r"GLOBAL (\S+) was not an allowed", str(error))):
                raise
            remedy = f"cannot be read: it pickles {held[1]}, whose code would run; save a state dict alone, by "
            remedy += f"torch.save(model.state_dict(), '{path.stem}_state.pt')"
            raise ConfigError(FIELD, str(path), remedy) from None

    def numpy(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {str(key): numpy(each) for key, each in value.items()}
        if isinstance(value, torch.Tensor):
            value = value.detach()
            return (value.float() if value.is_floating_point() and value.dtype != torch.float64 else value).numpy()
        return value

    return numpy(tree), "torch"


def _orbax(path: Path) -> tuple[Any, Layout | None]:
    """Reads an orbax checkpoint by tensorstore: at damaged files orbax leaves tracebacks that nobody can catch."""
    import tensorstore
    from flax import traverse_util

    inner = path if (path / "_METADATA").is_file() else path / "default"
    with opened(inner / "_METADATA") as file:
        described = json.loads(file.read())
    tree: dict[str, np.ndarray] = {}
    driver = "zarr3" if described.get("use_zarr3") else "zarr"
    for leaf in described["tree_metadata"].values():
        keys = [str(part["key"]) for part in leaf["key_metadata"]]
        name = ".".join(keys)
        if keys[0] in _OF_TRAINING:
            continue
        kvstore: dict[str, Any] = {"driver": "file", "path": f"{inner}/{name}/"}
        if described.get("use_ocdbt", True):
            kvstore = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{inner}/"}, "path": f"{name}/"}
        array = tensorstore.open({"driver": driver, "kvstore": kvstore}, open=True, read=True).result(_MOST_SECONDS)
        if array.size * array.dtype.numpy_dtype.itemsize > _MOST_BYTES:
            raise ValueError(f"{name} is of {array.size:,} values")
        tree[name] = array.read().result(_MOST_SECONDS)
    return traverse_util.unflatten_dict(tree, sep="."), "flax"


def _parameters(tree: Any) -> Any:
    """Returns the parameters of a TrainState, or of a dictionary around a state dict; others as they are."""
    for _ in range(_MOST_DEEP):
        key = next((key for key in _WRAPPERS if isinstance(tree, Mapping) and isinstance(tree.get(key), Mapping)), None)
        if key is None:
            return tree
        others = {name: value for name, value in tree.items() if name not in (key, *_OF_TRAINING)}
        held = [name for name, value in others.items() if key == "params" or isinstance(value, np.ndarray)]
        if held:  # statistics of batches, and the like, which are part of what the checkpoint computes
            return {**tree[key], **{name: tree[name] for name in held}}
        tree = tree[key]
    raise ValueError("its dictionaries have no end")


def _of_encoder(tree: Any) -> Any:
    """Returns the encoder of a network of this package; other trees as they are, but for a ``params`` around names."""
    flat = dict(_flat(tree))
    tops = {name.partition(".")[0] for name in flat}
    if tops == {"params"}:
        return {name.removeprefix("params."): value for name, value in flat.items()}
    if tops <= _SIDES and any(name.startswith("encoder.layers_") for name in flat):
        kept = {name: value for name, value in flat.items() if name.startswith("encoder.")}
        return {name.removeprefix("encoder."): value for name, value in kept.items()}
    return flat


def _flat(tree: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    if depth > _MOST_DEEP:
        raise ValueError("its dictionaries have no end")
    if not isinstance(tree, Mapping):
        raise ValueError(f"it holds {type(tree).__name__}, where a dictionary of arrays is wanted")
    for key, value in tree.items():
        name = f"{prefix}{str(key).replace('/', '.')}"
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}.", depth + 1)
        else:
            yield name, value


def _plain(arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Returns arrays of numbers; refuses all else."""
    others = [name for name, value in arrays.items() if not isinstance(value, np.ndarray | np.number | int | float)]
    if others:
        raise ValueError(f"{', '.join(others[:5])} {'is no array' if len(others) == 1 else 'are no arrays'}")
    return {name: np.asarray(value) for name, value in arrays.items()}

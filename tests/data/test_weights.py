"""Checkpoints of all writers give the same arrays; damaged and hostile ones are refused in a line, and run nothing."""

import pickle
import time

import numpy as np
import orbax.checkpoint
import pytest
import safetensors.numpy
import safetensors.torch
import torch
from flax import traverse_util
from flax.training.train_state import TrainState
from optax import adam

from pretrain.config.fields import ConfigError
from pretrain.data import weights
from tests.data import mutations

_LONGEST = 10  # seconds
TREE = {
    f"layers_{number}": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3) + number, "bias": np.zeros(3, "f")}
    for number in range(2)
}
FLAT = traverse_util.flatten_dict(TREE, sep=".")
TENSORS = {name: torch.from_numpy(array) for name, array in FLAT.items()}
TRAINING = TrainState.create(apply_fn=None, params=TREE, tx=adam(0.1))


def saved(path, tree):
    orbax.checkpoint.PyTreeCheckpointer().save(path, tree)


def into_folder(path):
    path.mkdir()
    sides = {f"encoder.{name}": array for name, array in FLAT.items()} | {"head.kernel": np.ones((3, 2), "f")}
    safetensors.numpy.save_file(sides, path / "model.safetensors", metadata={"format": "flax"})


WRITERS = {
    "pt.safetensors": lambda path: safetensors.torch.save_file(TENSORS, path, metadata={"format": "pt"}),
    "flax.safetensors": lambda path: safetensors.numpy.save_file(FLAT, path, metadata={"format": "flax"}),
    "bare.safetensors": lambda path: safetensors.numpy.save_file(FLAT, path),
    "dots.npz": lambda path: np.savez(path, **FLAT),
    "slashes.npz": lambda path: np.savez(path, **{name.replace(".", "/"): array for name, array in FLAT.items()}),
    "params.npz": lambda path: np.savez(path, **{f"params/{name}": array for name, array in FLAT.items()}),
    "plain.pt": lambda path: torch.save(TENSORS, path),
    "legacy.pth": lambda path: torch.save(TENSORS, path, _use_new_zipfile_serialization=False),
    "wrapped.pt": lambda path: torch.save({"state_dict": TENSORS, "epoch": 3}, path),
    "half.pt": lambda path: torch.save({name: each.to(torch.bfloat16) for name, each in TENSORS.items()}, path),
    "params": lambda path: saved(path, {"params": TREE}),
    "bare": lambda path: saved(path, TREE),
    "state": lambda path: saved(path, TRAINING),
    "network": into_folder,
}
LAYOUTS = {"pt.safetensors": "torch", "flax.safetensors": "flax", "bare.safetensors": None}


def refused(name, *parts):
    with pytest.raises(ConfigError) as error:
        weights.read(str(name))
    text = str(error.value)
    assert text.splitlines() == [text] and all(part in text for part in parts), text


@pytest.mark.parametrize("name", WRITERS)
def test_all_writers_give_the_same_arrays(name, tmp_path):
    WRITERS[name](tmp_path / name)
    arrays, layout, _ = weights.read(str(tmp_path / name))
    assert arrays.keys() == FLAT.keys() and all(np.array_equal(arrays[key], FLAT[key]) for key in FLAT)
    by_kind = {".npz": None, ".pt": "torch", ".pth": "torch", "": "flax"}
    assert layout == LAYOUTS.get(name, by_kind.get((tmp_path / name).suffix))
    assert weights.states(str(tmp_path / name)) and not weights.states(str(tmp_path / "none"))


def test_statistics_beside_parameters_are_part_of_a_checkpoint(tmp_path):
    saved(tmp_path / "state", {"params": TREE, "batch_stats": {"mean": np.zeros(3)}})
    assert weights.read(str(tmp_path / "state")).arrays.keys() == {*FLAT, "batch_stats.mean"}


def test_what_is_no_checkpoint_is_one_line(tmp_path):
    refused(tmp_path / "none.pt", "is not there")
    refused("/nowhere\0", "is no path")
    (tmp_path / "weights.h5").write_bytes(b"x")
    refused(tmp_path / "weights.h5", "is of no known kind")
    refused(tmp_path, "no orbax checkpoint")
    (tmp_path / "experiment.json").write_text("{}")
    refused(tmp_path, "is a run", "python launch.py export")
    np.savez(tmp_path / "empty.npz")
    refused(tmp_path / "empty.npz", "holds no arrays")
    np.savez(tmp_path / "objects.npz", x=np.array([None, {}]))
    refused(tmp_path / "objects.npz", "cannot be read")
    torch.save([torch.ones(2)], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "holds list")
    torch.save({"a": torch.ones(2), "b": "text"}, tmp_path / "text.pt")
    refused(tmp_path / "text.pt", "b is no array")


class Hostile:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_pickles_execute_nothing(tmp_path):
    mark = tmp_path / "executed"
    with (tmp_path / "plain.pt").open("wb") as file:
        pickle.dump(Hostile(str(mark)), file)
    for zipped in (False, True):
        path = tmp_path / f"{zipped}.pt"
        torch.save({"a": Hostile(str(mark))}, path, _use_new_zipfile_serialization=zipped)
        refused(path, "cannot be read")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    refused(tmp_path / "plain.pt", "cannot be read")
    remedy = "save a state dict alone, by torch.save(model.state_dict(), 'module_state.pt')"
    refused(tmp_path / "module.pt", "cannot be read: it pickles torch.nn.modules.linear.Linear", remedy)
    assert not mark.exists()


def check_mutated(name, folder, number, seed):
    WRITERS[name](folder / name)
    path = folder / name
    files = [file for file in sorted(path.rglob("*")) if file.is_file() and file.stat().st_size] or [path]
    before, faults = sorted(folder.rglob("*")), []
    for place in range(number):
        file = files[place % len(files)]
        sound = file.read_bytes()
        (content,) = mutations.of(sound, 1, seed + place)
        file.write_bytes(content)
        began = time.monotonic()
        try:
            weights.read(str(path))
        except ConfigError as error:
            if str(error).splitlines() != [str(error)]:
                faults.append(f"{place}: {error}")
        except BaseException as error:
            faults.append(f"{place}: {type(error).__name__}: {str(error)[:200]}")
        if time.monotonic() - began > _LONGEST:
            faults.append(f"{place}: {time.monotonic() - began:.0f} s")
        file.write_bytes(sound)
    assert not faults, "\n".join(faults)
    assert sorted(folder.rglob("*")) == before


MUTATED = ("flax.safetensors", "dots.npz", "plain.pt", "legacy.pth", "params")


@pytest.mark.parametrize("name", MUTATED)
def test_few_mutated_checkpoints(name, tmp_path):
    check_mutated(name, tmp_path, 15, 0)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTATED)
def test_many_mutated_checkpoints(name, tmp_path):
    check_mutated(name, tmp_path, 200, 1000)

"""Weights of a checkpoint: total, in the layout that is stated, equal to PyTorch's codes, and stages of their own."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from flax import traverse_util
from rich.console import Console

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig
from pretrain.config.fields import ConfigError
from pretrain.engines.here import run_here
from pretrain.engines.request import Request
from pretrain.learn.layers import Convolution, Dense, MaxPooling, PaddedConvolution, Residual, encode, shapes_of
from pretrain.plan import imported
from pretrain.plan import plan as planning
from pretrain.plan.stages import example_shape
from pretrain.store.store import Store
from tests.small_sweep import FINGERPRINTS, names, path

RNG = np.random.default_rng(0)


def section(name, layout="auto", names=()):
    return FinetuneConfig(encoder_init="weights", weights=str(name), weights_layout=layout, weights_names=tuple(names))


def taken(name, layers, image, layout="auto", names=()):
    return imported.imported(section(name, layout, names), layers, example_shape(layers, image), image)


def refused(*parts, **arguments):
    with pytest.raises(ConfigError) as error:
        taken(**arguments)
    text = str(error.value)
    assert text.splitlines() == [text]
    for part in parts:
        assert part in text, text


def drawn(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def dense(path, n_inputs, widths, rng=RNG, **others):
    arrays = {}
    for number, width in enumerate(widths):
        arrays[f"layers_{number}/kernel"] = rng.normal(size=(n_inputs, width)).astype(np.float32)
        arrays[f"layers_{number}/bias"] = rng.normal(size=width).astype(np.float32)
        n_inputs = width
    np.savez(path, **{**arrays, **others})
    return arrays


def test_a_square_kernel_is_read_in_the_layout_that_is_stated(tmp_path):
    layers = (Dense(300, "elu"),)
    kernel, bias = drawn(300, 300), drawn(300)
    np.savez(tmp_path / "w.npz", **{"layers_0.kernel": kernel, "layers_0.bias": bias})
    wanted = {"name": tmp_path / "w.npz", "layers": layers, "image": (300,)}
    refused(
        "finetune.weights_layout",
        "torch (dense kernels [out, in]) or flax",
        "--finetune.weights-layout torch",
        **wanted,
    )
    as_flax, as_torch = (taken(**wanted, layout=layout).params["encoder"]["layers_0"] for layout in ("flax", "torch"))
    assert np.array_equal(as_flax["kernel"], kernel) and np.array_equal(as_torch["kernel"], kernel.T)
    for format, layout in (("pt", "torch"), ("flax", "flax")):
        file = tmp_path / f"{format}.safetensors"
        tensors = {"layers_0.kernel": torch.from_numpy(kernel), "layers_0.bias": torch.from_numpy(bias)}
        safetensors.torch.save_file(tensors, file, metadata={"format": format})
        found = taken(file, layers, (300,)).params["encoder"]["layers_0"]["kernel"]
        assert np.array_equal(found, kernel if layout == "flax" else kernel.T)
        other = "flax" if layout == "torch" else "torch"
        refused("finetune.weights_layout", f"which is {layout}", name=file, layers=layers, image=(300,), layout=other)


def flattened_last(shape):
    """Inputs with channels last, as torch reads them: first; series without their side of 1."""
    inputs = drawn(5, *shape)
    first = np.moveaxis(inputs, -1, 1)
    return inputs, torch.from_numpy(first[..., 0] if len(shape) == 3 and shape[1] == 1 else first)


CONVOLUTIONS = {"series": (torch.nn.Conv1d, (12, 1, 3)), "images": (torch.nn.Conv2d, (6, 5, 3))}
CONVOLUTIONS["volumes"] = (torch.nn.Conv3d, (4, 5, 6, 2))


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_codes_are_those_of_the_torch_modules_over_one_two_and_three_axes(kind, tmp_path):
    convolution, image = CONVOLUTIONS[kind]
    sides = int(np.prod(image[:-1]))
    module = torch.nn.Sequential(
        convolution(image[-1], 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * sides, 7)
    )
    torch.save(module.state_dict(), tmp_path / "m.pt")
    layers = (Convolution(4, 3, 1, "relu"), Dense(7))
    made = taken(tmp_path / "m.pt", layers, image, names=("layers_0=0", "layers_1=3"))
    inputs, as_torch = flattened_last(image)
    codes = encode(layers, made.params["encoder"], jnp.asarray(inputs))
    np.testing.assert_allclose(codes, module(as_torch).detach().numpy(), atol=1e-5)


def test_a_dense_layer_on_images_reads_channels_first_as_torch_flattens_them(tmp_path):
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6 * 5 * 3, 8), torch.nn.ELU())
    torch.save(module.state_dict(), tmp_path / "m.pt")
    layers = (Dense(8, "elu"),)
    made = taken(tmp_path / "m.pt", layers, (6, 5, 3), names=("layers_0=1",))
    inputs, as_torch = flattened_last((6, 5, 3))
    codes = encode(layers, made.params["encoder"], jnp.asarray(inputs.reshape(5, -1)))
    np.testing.assert_allclose(codes, module(as_torch).detach().numpy(), atol=1e-5)


def test_residual_blocks_have_their_own_names_in_both_layouts(tmp_path):
    layers, image = (Residual(4, 1, "relu"),), (6, 5, 3)
    shapes = traverse_util.flatten_dict(shapes_of(layers, image)[0].params, sep=".")
    arrays = {f"layers_0.{name}": drawn(*leaf.shape) for name, leaf in shapes.items()}
    np.savez(tmp_path / "flax.npz", **arrays)
    tensors = {}
    for name, array in arrays.items():
        kept = np.moveaxis(array, (-1, -2), (0, 1)) if array.ndim > 1 else array
        tensors[name.replace("kernel", "weight").replace("scale", "weight")] = torch.from_numpy(kept.copy())
    torch.save(tensors, tmp_path / "torch.pt")
    ours, theirs = taken(tmp_path / "flax.npz", layers, image, "flax"), taken(tmp_path / "torch.pt", layers, image)
    assert jax.tree.all(jax.tree.map(np.array_equal, ours.params, theirs.params))
    assert ours.digest == theirs.digest  # which no layout and no file enters


def test_every_leaf_that_does_not_fit_is_named_in_one_line(tmp_path):
    arrays = dense(tmp_path / "w.npz", 9, (4, 3))
    kept = {"name": tmp_path / "w.npz", "image": (9,), "layout": "flax"}
    refused(
        "layers_1.kernel has no place; layers_1.bias has no place; layers_0/kernel is [9, 4]",
        "wanted [9, 5]",
        "layers_0/bias is [4]",
        layers=(Dense(5),),
        **kept,
    )
    refused("layers_2/bias is missing; layers_2/kernel is missing", layers=(Dense(4), Dense(3), Dense(2)), **kept)
    refused("layers_0/kernel is [4, 9] in our layout", layers=(Dense(4), Dense(3)), **{**kept, "layout": "torch"})
    layers = (Dense(4), Dense(3))
    for value, words in (
        (np.full((9, 4), np.nan), "layers_0/kernel is not finite"),
        (np.ones((9, 4), int), "layers_0/kernel is int64, wanted float32"),
        (np.full((9, 4), 1e300), "layers_0/kernel is not finite"),
    ):
        np.savez(tmp_path / "wrong.npz", **{**arrays, "layers_0/kernel": value})
        refused(words, layers=layers, **{**kept, "name": tmp_path / "wrong.npz"})


def test_names_are_mapped_left_out_and_proposed(tmp_path):
    arrays = dense(tmp_path / "ours.npz", 9, (4, 3))
    layers = (Dense(4), Dense(3))
    theirs = {name.replace("layers_0", "enc/fc1").replace("layers_1", "enc/fc2"): each for name, each in arrays.items()}
    np.savez(tmp_path / "w.npz", **theirs, **{"dec/fc/kernel": drawn(3, 9)})
    given = {"name": tmp_path / "w.npz", "layers": layers, "image": (9,), "layout": "flax"}
    line = "--finetune.weights-names layers_0=enc.fc1 layers_1=enc.fc2 =dec.fc"
    refused("dec.fc.kernel has no place", f"the only map that fits: {line}", **given)
    mapped = taken(**given, names=line.split()[1:])
    assert mapped.digest == taken(tmp_path / "ours.npz", layers, (9,), "flax").digest
    refused("dec.fc.kernel has no place", **given, names=line.split()[1:3])
    refused("layers_9=none names nothing in it", **given, names=(*line.split()[1:], "layers_9=none"))
    refused("enc.fc2.kernel and enc.fc1.kernel both are", **given, names=("layers_0=enc.fc1", "layers_0=enc.fc2"))
    refused("finetune.weights_names: 'layers_0'", "write ours=theirs", **given, names=("layers_0",))
    changed = {name: each + (name == "layers_1/bias") for name, each in arrays.items()}
    np.savez(tmp_path / "ours.npz", **changed)
    assert taken(tmp_path / "ours.npz", layers, (9,), "flax").digest != mapped.digest


def sequential(path, *modules, order=sorted):
    """Saves a torch module's tensors in an order of keys, as safetensors sorts them."""
    tensors = torch.nn.Sequential(*modules).state_dict()
    torch.save({f"trunk.{name}": tensors[name] for name in order(tensors)}, path)


def test_a_map_is_proposed_by_shapes_and_never_by_the_order_of_a_file(tmp_path):
    linear, name = torch.nn.Linear, tmp_path / "m.pt"
    wanted = {"name": name, "layers": (Dense(9), Dense(9)), "image": (9,)}
    for order in (sorted, lambda names: sorted(names, reverse=True)):
        sequential(name, linear(9, 9), torch.nn.ReLU(), linear(9, 9), order=order)
        open_ones = "layers_0 may be trunk.0 or trunk.2, layers_1 may be trunk.0 or trunk.2"
        refused("shapes do not tell which is which", open_ones, "layers_0=… layers_1=…", "finetune.reference", **wanted)
        # Of three, one is known by its shape; the others are distinguished by what is left.
        sequential(name, linear(9, 9), linear(9, 4), linear(4, 9), linear(9, 5), order=order)
        line = "layers_0=trunk.0 layers_1=trunk.1 =trunk.2 =trunk.3"
        words = {part for part in line.split() if part[0] != "="}
        refused(*words, "the only map", name=name, layers=(Dense(9), Dense(4)), image=(9,))
    convolution = torch.nn.Conv2d
    sequential(
        name, convolution(1, 6, 3), torch.nn.MaxPool2d(2), convolution(6, 8, 3), torch.nn.Flatten(), linear(72, 5)
    )
    layers = (Convolution(6, 3), MaxPooling(2), PaddedConvolution(8, 3, 1, 1), Dense(5))
    suggested = "--encoder.layers of 6c3 (trunk.0), 8c3 (trunk.2), 5 (trunk.4)"
    for wrong in (layers[:1], (Dense(7), Dense(5), Dense(4), Dense(3))):
        made = {"name": name, "layers": wrong, "image": (6, 6, 1)}
        if len(wrong) > 1:
            refused(suggested, "stride, padding and pooling", **made)
        else:
            refused("layers_0=trunk.0", "=trunk.2", "=trunk.4", **made)
    refused("layers_0=trunk.0 layers_2=trunk.2 layers_3=trunk.4", name=name, layers=layers, image=(6, 6, 1))


@pytest.fixture
def weighed(tiny_path, tmp_path):
    """Plans trials from checkpoints, He weights and pretraining, on the tiny dataset."""
    size = data.load(DataConfig(name=tiny_path, validation=60)).train.inputs.shape[1]

    def make(seed=0, name="w.npz", readout="none"):
        dense(tmp_path / name, size, (12, 6), np.random.default_rng(seed))
        finetune = FinetuneConfig(
            labels=80, batch_size=20, epochs=1, weights=str(tmp_path / name), weights_layout="flax"
        )
        experiment = Experiment(
            data=DataConfig(name=tiny_path, validation=60),
            encoder=EncoderConfig(layers=(12, 6)),
            finetune=dataclasses.replace(finetune, readout=readout),
            sweep=({"finetune.encoder_init": ("weights",) if readout == "ridge" else ("weights", "he")},),
            seeds=2,
        )
        return experiment, planning.plan(experiment, data.load_all(experiment), FINGERPRINTS)

    return make


def test_a_checkpoint_is_one_stage_for_all_seeds_named_by_its_content(weighed):
    _, plan = weighed()
    assert names(plan) == ["finetune"] * 4 + ["pretrain/weights"]
    _, elsewhere = weighed(name="other.npz")
    assert plan.jobs.keys() == elsewhere.jobs.keys()  # no path enters
    _, other = weighed(seed=1)
    shared = plan.jobs.keys() & other.jobs.keys()
    assert {plan.jobs[job].stage.static.choices.encoder_init for job in shared} == {"he"} and len(shared) == 2
    stage, last = path(plan)
    assert (stage.parent, last.parent, stage.seed) == (None, stage.id, 0)


def test_a_checkpoint_is_stored_sealed_and_fine_tuned_from(weighed, tmp_path):
    experiment, plan = weighed(readout="ridge")
    datasets = data.load_all(experiment)
    faults = []
    store = Store(tmp_path / "store", faults.append)
    console = Console(quiet=True)
    run_here(Request(experiment, plan, datasets, store, console, lambda: False, lambda work: None))
    assert store.verified(plan.jobs) == plan.jobs.keys() and not faults
    stage, last = path(plan)
    frozen = store.params(last.id)["encoder"]
    assert jax.tree.all(jax.tree.map(np.array_equal, frozen, stage.weights["encoder"]))
    assert jax.tree.all(jax.tree.map(np.array_equal, store.params(stage.id)["encoder"], stage.weights["encoder"]))
    again = weighed(readout="ridge")[1]
    assert Store(tmp_path / "store", faults.append).verified(again.jobs) == again.jobs.keys()


def test_a_checkpoint_that_is_not_named_is_refused_before_anything_is_read():
    with pytest.raises(ConfigError, match=r"finetune\.weights: '' names no checkpoint"):
        Experiment(finetune=FinetuneConfig(encoder_init="weights"))

"""Exported networks: they are the network that was exported, here, in PyTorch and as StableHLO; damage is one line."""

import dataclasses
import importlib.util
import json
import shutil

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch
from flax import traverse_util

import pretrain
from pretrain.config import DataConfig
from pretrain.config.fields import ConfigError
from pretrain.data.dataset import Units
from pretrain.data.inputs_file import Inputs
from pretrain.data.raw import Raw
from pretrain.data.scaling import Scaling
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.learn.layers import Convolution, Dense, MaxPooling, PaddedConvolution, Residual, fresh
from pretrain.learn.methods import trees
from pretrain.learn.metrics import Batch
from pretrain.learn.randomness import Purpose, key_for
from pretrain.learn.residual_network import ResNet18
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.models import folder, forward
from pretrain.models.model import Member, Model
from pretrain.plan import builders
from pretrain.plan.stages import example_shape

N = 40
TREES = (("trees", "scale"), ("trees", "kernel"))
NAMES = {"classification": ("a", "b", "c"), "multilabel": ("p", "q"), "regression": ("u",)}


def inputs_of(raw, shape, task):
    """Inputs that are standardised; of bytes they are not."""
    rng = np.random.default_rng(4)
    size = int(np.prod(shape))
    offset, divisor = (
        (np.zeros(0), np.zeros(0)) if raw.is_read_as_bytes else (rng.normal(size=size), rng.random(size) + 1)
    )
    empty = np.zeros(0, int)
    scaling = Scaling("standardise", (), empty, np.zeros(0), empty, offset, divisor)
    units = Units(np.array([40.0]), np.array([7.5])) if task == "regression" else None
    return Inputs(DataConfig(), shape, task, NAMES[task], scaling, units, (), raw)


def network(layers, shape, raw, task="classification", ending="finetuning", statistics="scale"):
    """A network with random parameters, biases and statistics of codes among them."""
    stack = builders.network(layers, example_shape(layers, shape), Task(task, len(NAMES[task])))
    encoder, inputs = {}, stack.example
    for number, (layer, shapes) in enumerate(zip(layers, stack.shapes, strict=True)):
        encoder[f"layers_{number}"] = fresh(layer, inputs, key_for(number, Purpose.ENCODER_INIT, number))
        inputs = shapes.outputs
    rng = np.random.default_rng(3)

    def drawn(*sizes, about=0.0):
        return (about + 0.3 * rng.normal(size=sizes)).astype(np.float32)

    encoder = jax.tree.map(lambda leaf: np.asarray(leaf) + drawn(*leaf.shape) * (leaf.ndim == 1), encoder)
    units, width = stack.n_codes, len(NAMES[task])
    codes = {"mean": drawn(units), "scale": drawn(units, about=1.0)}
    if statistics == "kernel":
        codes = {"mean": drawn(units), "kernel": drawn(units, units)}
    params = {"encoder": encoder, "codes": codes}
    labels = {
        "classification": rng.integers(0, 3, 60).astype(np.int32),
        "multilabel": rng.integers(0, 2, (60, 2)).astype(np.float32),
        "regression": drawn(60, 1),
    }
    if ending == forward.NEIGHBOURS:
        voters = {"codes": drawn(60, units), "labels": labels[task]}
        params |= {"voters": voters, "neighbours": {"count": np.int32(5)}}
    elif ending == forward.TREES:
        known, held_out = (Batch(drawn(60, units), labels[task]) for _ in range(2))
        params |= trees.fit(Static(stack), StageConfig(None), np.zeros(()), known, held_out)[0]
    else:
        params["head"] = {"kernel": drawn(units, width), "bias": drawn(width)}
    return Model(stack, ending, (Member(params, inputs_of(raw, shape, task)),), 16, "pretrained, seed 0")


def rows_of(raw):
    rng = np.random.default_rng(5)
    if raw.kind == "bytes":
        return rng.integers(0, 256, (N, *raw.shape)).astype(np.uint8)
    return rng.normal(size=(N, *raw.shape))


BYTES = Raw("images", (9, 8), "bytes", True)
COLOUR = Raw("images", (9, 8, 3), "numbers", False)
GREYED = Raw("images", (9, 8, 3), "bytes", True, greyscale=True)
COLUMNS = Raw("columns", (7,), "numbers", False)
SERIES = Raw("series", (2, 13), "numbers", False, time=2)
VOLUMES = Raw("volumes", (5, 6, 4), "bytes", True)
DENSE = (Dense(11, "elu"), Dense(5, "gelu"))
CASES = {
    "dense": (DENSE, (7,), COLUMNS),
    "dense on images": (DENSE, (9, 8, 1), BYTES),
    "strides": ((Convolution(6, 3, 2, "relu"), Convolution(4, 5, 1, "tanh"), Dense(5, "elu")), (9, 8, 3), COLOUR),
    "even windows": ((Convolution(6, 4, 1, "relu"), Convolution(4, 2, 3, "sigmoid")), (9, 8, 3), COLOUR),
    "head after a convolution": ((Convolution(6, 3, 2, "relu"),), (9, 8, 1), GREYED),
    "residual": ((Residual(8, 2, "relu"), Residual(8, 1, "elu"), Dense(5, "identity")), (9, 8, 3), COLOUR),
    "series": ((Convolution(6, 4, 2, "relu"), Residual(8, 2, "relu"), Dense(5, "elu")), (13, 1, 2), SERIES),
    "codes of series": ((Convolution(6, 4, 2, "relu"),), (13, 1, 2), SERIES),
    "volumes": ((Convolution(4, 3, 2, "relu"), Residual(8, 2, "gelu")), (5, 6, 4, 1), VOLUMES),
    "padding": (
        (PaddedConvolution(6, 3, 2, 1, "relu"), PaddedConvolution(4, 2, 1, 2, "elu"), Dense(5, "elu")),
        (9, 8, 3),
        COLOUR,
    ),
    "pooling": ((PaddedConvolution(6, 5, 1, 2, "relu"), MaxPooling(2), Dense(5, "elu")), (9, 8, 3), COLOUR),
    "head after pooling": ((Convolution(6, 3, 1, "tanh"), MaxPooling(3)), (9, 8, 1), GREYED),
    "pooled images": ((MaxPooling(2), Dense(5, "elu")), (9, 8, 3), COLOUR),
    "pooled series": ((PaddedConvolution(6, 4, 2, 1, "relu"), MaxPooling(2), Dense(5, "elu")), (13, 1, 2), SERIES),
    "pooled volumes": ((PaddedConvolution(4, 3, 1, 1, "relu"), MaxPooling(2)), (5, 6, 4, 1), VOLUMES),
    "flat volumes": ((MaxPooling(4), PaddedConvolution(4, 3, 1, 1, "relu"), Dense(3)), (5, 6, 4, 1), VOLUMES),
    "transformer": ((Patches(8, 2), Attention(2), LayerNorm(), Mean(), Dense(5, "elu")), (9, 8, 3), COLOUR),
    "codes of tokens": ((Patches(8, 4), Attention(4)), (9, 8, 3), COLOUR),
    "tokens of series": ((Patches(8, 4), Attention(2), Mean(), LayerNorm()), (13, 1, 2), SERIES),
    "attention on series": ((Convolution(8, 4, 2, "relu"), Attention(2), Dense(3)), (13, 1, 2), SERIES),
    "tokens of volumes": ((Patches(8, 2), Attention(2), Convolution(4, 2), Mean()), (5, 6, 4, 1), VOLUMES),
    "resnet18": ((ResNet18(), Dense(5, "elu")), (9, 8, 3), COLOUR),
    "normed columns": ((Dense(11, "elu", "batch"), Dense(8, "gelu", "group"), Dense(5, "elu", "layer")), (7,), COLUMNS),
    "normed images": (
        (
            PaddedConvolution(6, 3, 2, 1, "relu", norm="batch"),
            Residual(8, 2, "relu", norm="batch"),
            Residual(8, 1, "relu", norm="none"),
            Convolution(4, 3, 1, "elu", norm="layer"),
            Dense(5, "elu", "batch"),
        ),
        (9, 8, 3),
        COLOUR,
    ),
    "normed series": (
        (Convolution(6, 4, 2, "relu", norm="batch"), Residual(8, 2, "relu", norm="layer")),
        (13, 1, 2),
        SERIES,
    ),
    "normed volumes": ((Convolution(4, 3, 2, "relu", norm="batch"),), (5, 6, 4, 1), VOLUMES),
    "none": ((), (7,), COLUMNS),
}


def torch_of(path):
    spec = importlib.util.spec_from_file_location("exported", path / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.load(path)


def outputs_of(model, rows):
    run = lambda block: forward.outputs(model.stack, model.ending, model.members[0].params, block)
    read = model.members[0].inputs.scaling.as_read
    return np.concatenate([*forward.in_blocks(run, read, model.read(rows).rows, model.block)])


def check_torch(model, path):
    folder.save(model, path, "A sentence.", ["pytorch"])
    rows, ours, theirs = rows_of(model.inputs.raw), pretrain.load_model(path), torch_of(path)
    np.testing.assert_array_equal(ours.encode(rows), model.encode(rows))
    np.testing.assert_array_equal(ours.predict(rows), model.predict(rows))
    with torch.no_grad():
        outputs = theirs(theirs.read(rows)).numpy()
    has_norm = any(getattr(layer, "norm", "none") not in ("none", "batch") for layer in model.stack.layers)
    tolerance = (1e-4 if has_norm else 1e-5) * max(1, np.abs(outputs).max())
    np.testing.assert_allclose(outputs, outputs_of(model, rows), rtol=0, atol=tolerance)
    np.testing.assert_allclose(theirs.encode(rows), model.encode(rows), rtol=0, atol=tolerance)
    if model.inputs.task == "regression":
        np.testing.assert_allclose(theirs.predict(rows), model.predict(rows), rtol=1e-4)
    else:
        assert np.mean(theirs.predict(rows) == model.predict(rows)) >= 0.97


@pytest.mark.parametrize(
    "case", [case if case != "resnet18" else pytest.param(case, marks=pytest.mark.slow) for case in CASES]
)
def test_pytorch_computes_the_same(case, tmp_path):
    check_torch(network(*CASES[case]), tmp_path / "out")


def test_pytorch_leaves_padding_out_of_attention_and_means(tmp_path):
    model = network(*CASES["tokens of series"])
    (member,) = model.members
    inputs = member.inputs._replace(scaling=member.inputs.scaling._replace(padded=True))
    model = dataclasses.replace(model, members=(member._replace(inputs=inputs),))
    folder.save(model, tmp_path / "out", "A sentence.", ["pytorch"])
    rows, lengths = rows_of(SERIES), np.random.default_rng(0).integers(2, 14, N)
    for row, length in zip(rows, lengths, strict=True):
        row[:, length:] = np.nan
    theirs, short = torch_of(tmp_path / "out"), lengths < 5  # one token of four
    np.testing.assert_allclose(theirs.encode(rows), model.encode(rows), rtol=0, atol=1e-5)
    changed = rows.copy()
    changed[:, :, 12] = np.nan
    np.testing.assert_array_equal(model.encode(changed)[short], model.encode(rows)[short])


@pytest.mark.parametrize("task", NAMES)
@pytest.mark.parametrize(("ending", "statistics"), [("knn", "scale"), ("knn", "kernel"), ("ridge", "kernel"), *TREES])
def test_pytorch_ends_alike(task, ending, statistics, tmp_path):
    for number, case in enumerate(("dense", "head after a convolution")):
        check_torch(network(*CASES[case], task, ending, statistics), tmp_path / str(number))


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (("0", "1", "2"), "i"),
        (("-1", "3", "20"), "i"),  # in no order of texts
        (("1", "02", "3"), "U"),
        (("a", "1", "2"), "U"),
        (("1.0", "2.0", "3.0"), "U"),
        (("1", "2", str(2**63)), "U"),
    ],
)
def test_classes_whose_names_are_whole_numbers_are_integers(names, kind, tmp_path):
    made = network(*CASES["dense"])
    (member,) = made.members
    model = dataclasses.replace(made, members=(member._replace(inputs=member.inputs._replace(output_names=names)),))
    rows = rows_of(model.inputs.raw)
    places = model.predict_proba(rows).argmax(axis=1)
    folder.save(model, tmp_path / "out", "A sentence.", ["pytorch"])
    for each in (model, pretrain.load_model(tmp_path / "out"), torch_of(tmp_path / "out")):
        predicted = each.predict(rows)
        assert predicted.dtype == np.int64 if kind == "i" else predicted.dtype.kind == "U"
        assert predicted.tolist() == [int(names[place]) if kind == "i" else names[place] for place in places]
    assert model.classes == names  # probabilities are of names


STABLE = ["dense", "normed images", "strides", "residual", "series", "volumes", "pooling", "pooled volumes"]
STABLE += ["transformer", "tokens of series"]


@pytest.mark.parametrize("case", [*STABLE, pytest.param("resnet18", marks=pytest.mark.slow)])
def test_stablehlo_takes_any_number_of_rows(case, tmp_path):
    model = network(*CASES[case])
    folder.save(model, tmp_path / "out", "A sentence.", ["stablehlo"])
    program = jax.export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
    assert set(program.platforms) == {"cpu", "cuda", "tpu"}
    rows = rows_of(model.inputs.raw)
    inputs = model.inputs.scaling.as_read(model.read(rows).rows)
    for n in (1, 7, N):
        outputs = np.asarray(program.call(inputs[:n]))
        np.testing.assert_allclose(outputs, outputs_of(model, rows)[:n], atol=1e-4, rtol=1e-4)


def test_a_folder_is_replaced_whole_and_others_are_left_alone(tmp_path):
    model, out = network(*CASES["dense"]), tmp_path / "out"
    folder.save(model, out, "A sentence.", ["pytorch"])
    assert {path.name for path in folder.save(model, out, "Another.")} == {
        "model.safetensors",
        "config.json",
        "README.md",
    }
    assert "Another." in (out / "README.md").read_text()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="holds something else"):
        folder.save(model, out, "A third.")
    assert (out / "notes.txt").read_text() == "mine" and "Another." in (out / "README.md").read_text()


def test_only_metadata_names_the_layout_and_no_path_is_left(tmp_path):
    folder.save(network(*CASES["dense"]), tmp_path / "out", "A sentence.")
    content = (tmp_path / "out" / "model.safetensors").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert header["__metadata__"] == {"format": "flax"}
    assert "/" not in json.loads((tmp_path / "out" / "config.json").read_text())["inputs"]["data"]["name"]


class Own(nn.Module):
    @nn.compact
    def __call__(self, inputs):
        return nn.Dense(3)(inputs)


def test_layers_of_ones_own_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"encoder\.layers: 'Own' is a layer of your own, whose code no folder holds"):
        folder.save(network((Own(),), (7,), COLUMNS), tmp_path / "out", "A sentence.")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("saved") / "out"
    folder.save(network(*CASES["dense"]), path, "A sentence.")
    return path


def test_arrays_that_do_not_fit_are_all_named(saved, tmp_path):
    import safetensors.numpy

    arrays = safetensors.numpy.load_file(saved / "model.safetensors")
    out = tmp_path / "out"
    shutil.copytree(saved, out)
    description = json.loads((out / "config.json").read_text())
    del description["sha256"]
    (out / "config.json").write_text(json.dumps(description))
    arrays["head.more"] = arrays.pop("head.bias")
    arrays["codes.mean"] = arrays["codes.mean"][:2].copy()
    safetensors.numpy.save_file(arrays, out / "model.safetensors", {"format": "flax"})
    with pytest.raises(ConfigError) as fault:
        pretrain.load_model(out)
    for part in ("head.more has no place", "head.bias is missing", "codes.mean is float32[2], wanted float32[5]"):
        assert part in str(fault.value)


def test_a_flipped_bit_of_a_weight_is_named(saved, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(saved, out)
    content = bytearray((out / "model.safetensors").read_bytes())
    content[-3] ^= 1
    (out / "model.safetensors").write_bytes(content)
    with pytest.raises(ConfigError, match="it is not as it was written"):
        pretrain.load_model(out)


@pytest.mark.parametrize("names", [["README.md"], ["model.safetensors", "config.json", "README.md"]])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, names):
    (tmp_path / "out").mkdir()
    for name in names:
        (tmp_path / "out" / name).write_text("{}")
    with pytest.raises(ConfigError, match="holds something else"):
        folder.save(network(*CASES["dense"]), tmp_path / "out", "A sentence.")
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted(["out", *names])


def test_rows_that_lack_values_are_refused_where_training_rows_lacked_none(saved):
    rows = rows_of(COLUMNS)
    rows[3, 2] = np.nan
    with pytest.raises(ConfigError, match="or infinity lies in rows, where no training row lacked a value"):
        pretrain.load_model(saved).predict(rows)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_mutated_file_is_one_line_or_a_network(saved, tmp_path, name):
    whole, rng = (saved / name).read_bytes(), np.random.default_rng(0)
    out = tmp_path / "out"
    shutil.copytree(saved, out)
    n_refused = 0
    for _ in range(200):
        content = bytearray(whole)
        match rng.integers(4):
            case 0:
                content = content[: rng.integers(len(content))]
            case 1:
                for place in rng.integers(0, min(len(content), 400), 4):
                    content[place] = rng.integers(256)
            case 2:
                place = int(rng.integers(len(content)))
                content[place:place] = bytes(rng.integers(0, 256, 9).astype(np.uint8))
            case 3:
                first, second = sorted(rng.integers(0, len(content), 2))
                del content[first:second]
        (out / name).write_bytes(content)
        try:
            pretrain.load_model(out)
        except ConfigError as fault:
            n_refused += 1
            assert "\n" not in str(fault) and str(out / name) in str(fault)
    assert n_refused > 150


def test_weights_are_those_of_the_network(saved):
    import safetensors.numpy

    flat = traverse_util.flatten_dict(network(*CASES["dense"]).members[0].params, sep=".")
    arrays = safetensors.numpy.load_file(saved / "model.safetensors")
    assert arrays.keys() == flat.keys()
    for name, leaf in flat.items():
        np.testing.assert_array_equal(arrays[name], leaf)


@pytest.mark.parametrize(("name", "value"), [("left", 0), ("right", 61), ("feature", -1), ("feature", 7)])
def test_nodes_that_make_no_trees_are_one_line(name, value, tmp_path):
    model = network((), (7,), COLUMNS, ending="trees")
    folder.save(model, tmp_path / "out", "A sentence.")
    assert pretrain.load_model(tmp_path / "out").ending == "trees"
    model.members[0].params["trees"][name][0, 0, 1] = value
    folder.save(model, tmp_path / "bad", "A sentence.")
    with pytest.raises(ConfigError, match="holds nodes that make no trees; export it anew"):
        pretrain.load_model(tmp_path / "bad")


def test_trees_are_a_program_of_any_number_of_rows(tmp_path):
    model = network((), (7,), COLUMNS, ending="trees")
    folder.save(model, tmp_path / "out", "A sentence.", ["stablehlo"])
    program = jax.export.deserialize(bytearray((tmp_path / "out" / "model.stablehlo").read_bytes()))
    for n in (1, N):
        inputs = model.inputs.scaling.as_read(model.read(rows_of(COLUMNS)[:n]).rows)
        np.testing.assert_allclose(program.call(inputs), outputs_of(model, rows_of(COLUMNS)[:n]), rtol=0, atol=1e-5)

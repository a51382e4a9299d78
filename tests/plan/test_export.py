"""Programs of every method as accelerators would get them, lowered here: of nothing that is slow or missing there."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh

from pretrain import data
from pretrain.data import Dataset
from pretrain.execute.lanes import _mapped
from pretrain.learn import lanes
from pretrain.plan.identity import pieces_of, traced_program
from pretrain.plan.stages import specs
from tests.launching import ROOT
from tests.small_sweep import of_kind

N_TRIALS = 3
PLATFORMS = ("cuda", "tpu")
SIGMOID = {"layers": (6, 4), "activation": "sigmoid"}
HE = {"encoder_init": "he"}
COLUMNS = {"data": {"inputs": "columns"}}
EVERY_PENALTY = {"sparsity": "kl", "contractive": True, "variational": True, "corruption": "gaussian"}

# Settings that between them have every method and every way to begin; and the parts of their stages that ask for a
# decomposition of matrices. All other parts are free of any.
ASKED = {
    "autoencoders": ({"finetune": {"unfreeze_at": 1, "first_logit_change": 0.5, "codes": "standardised"}}, ()),
    "tokens": ({"encoder": {"layers": ("6p3", "t2", "norm", "mean")}, "pretrain": {"training": "end_to_end"}}, ()),
    "all penalties": (
        {"encoder": {**SIGMOID, "layers": (6,)}, "pretrain": of_kind("autoencoder", **EVERY_PENALTY)},
        (),
    ),
    "cross-entropy, tied": (
        {
            "encoder": SIGMOID,
            "pretrain": of_kind("autoencoder", loss="cross_entropy", tied=True, corruption="salt_and_pepper"),
            "finetune": {"label_subset": "balanced", "sampling": "epoch"},
        },
        (),
    ),
    "machines, then all at once": (
        {
            "encoder": SIGMOID,
            "pretrain": {
                "training": "greedy_then_end_to_end",
                **of_kind("rbm", visible="gaussian", persistent=True, gibbs_steps=2),
            },
            "finetune": {"encoder_init": "matched"},
        },
        (),
    ),
    "contrast": ({"pretrain": of_kind("contrastive", views=("crop", "rotation", "erasing"))}, ()),
    "redundancy": ({"pretrain": {**of_kind("redundancy"), "training": "end_to_end"}}, ()),
    "variance": ({"pretrain": of_kind("variance", views=("flip", "brightness", "contrast", "noise"))}, ()),
    "teacher": ({"pretrain": of_kind("teacher")}, ()),
    "draws and running averages": (
        {"encoder": {"layers": (f"{ROOT}/tests/moded_layers.py:layers", 5), "norm": "batch"}},
        (),
    ),
    "masks": ({"encoder": {"layers": ("3c3s2", "max2", 5)}, "pretrain": of_kind("masked")}, ()),
    "masks, all at once": ({"pretrain": {**of_kind("masked", share=0.5), "training": "end_to_end"}}, ()),
    "hidden tokens": ({"encoder": {"layers": ("6p3", "t2", "mean")}, "pretrain": of_kind("masked")}, ()),
    "hidden tokens, all at once": (
        {"encoder": {"layers": ("6p3", "t2", "mean")}, "pretrain": {**of_kind("masked"), "training": "end_to_end"}},
        (),
    ),
    "swapped values": ({**COLUMNS, "pretrain": of_kind("vime")}, ()),
    "swapped values, all at once": ({**COLUMNS, "pretrain": {**of_kind("vime"), "training": "end_to_end"}}, ()),
    "a corruption by swaps": ({**COLUMNS, "pretrain": of_kind("autoencoder", corruption="swap")}, ()),
    "labels": ({"pretrain": of_kind("supervised"), "finetune": {"encoder_init": "permuted", "head_init": "zero"}}, ()),
    "logistic regression": ({"finetune": {**HE, "readout": "logistic"}}, ()),
    "boosted trees": ({"finetune": {**HE, "readout": "trees"}}, ()),
    "neighbours": ({"finetune": {**HE, "readout": "knn"}}, ()),
    "components": ({"finetune": {"encoder_init": "pca"}}, ("pretrain/0 begin", "pretrain/1 begin")),
    "a fitted head": ({"finetune": {**HE, "head_init": "ridge"}}, ("finetune begin",)),
    "whitened codes": ({"finetune": {**HE, "codes": "whitened"}}, ("finetune begin",)),
    "ridge regression": ({"finetune": {**HE, "readout": "ridge"}}, ("finetune begin",)),
    "rotated weights": (
        {"pretrain": of_kind("supervised"), "finetune": {"encoder_init": "rotated"}},
        ("finetune begin",),
    ),
    "diagnostics": ({"finetune": {**HE, "diagnose_at": (1,)}}, ("finetune advance",)),
}
QUICK = ("machines, then all at once", "components", "diagnostics")
DECOMPOSITIONS = {
    *("cusolver_syevd_ffi", "cusolver_gesvdj_ffi", "cusolver_geqrf_ffi", "cusolver_orgqr_ffi"),
    *("Eigh", "Qr", "ProductOfElementaryHouseholderReflectors"),
}
# Settings of encoders with convolutions, and the parts of their stages that run one.
TRAINED_AND_MEASURED = ("advance", "finish")
CONVOLVED = {
    "layer by layer": (
        {"encoder": {"layers": ("3c3s2", 5)}, "finetune": {"frozen_layers": 1}},
        {
            *(f"pretrain/0 {part}" for part in TRAINED_AND_MEASURED),
            *(f"pretrain/1 {part}" for part in ("begin", "finish")),  # whose updates read cached codes
            *("finetune begin", "finetune finish"),
        },
    ),
    "all at once": (
        {"encoder": {"layers": ("3c3s2", 5)}, "pretrain": {"training": "end_to_end"}},
        {*(f"pretrain/all {part}" for part in TRAINED_AND_MEASURED), "finetune advance", "finetune finish"},
    ),
    "residual blocks and labels": (
        {"encoder": {"layers": ("r4s2",)}, "pretrain": of_kind("supervised")},
        {"pretrain/0 advance", "finetune advance", "finetune finish"},
    ),
    "ResNet-18": ({"encoder": {"layers": ("resnet18",)}, "finetune": HE}, {"finetune advance", "finetune finish"}),
}


@pytest.fixture(autouse=True)
def _side_by_side(monkeypatch):
    """Trials run side by side, as on an accelerator."""
    monkeypatch.setattr(lanes, "_one_by_one", lambda function, n_trials, trials: jax.vmap(function)(trials))


def stacked(tree):
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((N_TRIALS, *leaf.shape), leaf.dtype), tree)


def parts(spec, parent, dataset: Dataset):
    """Yields the programs of three trials of a stage by name, each a function and its abstract arguments."""
    mesh = Mesh(np.array(jax.local_devices()[:1]), ("T",), axis_types=(AxisType.Auto,))
    number = jax.ShapeDtypeStruct((), jnp.int32)
    for piece in pieces_of(traced_program(spec, parent, dataset)):
        program = partial(_mapped, piece.function, piece.static, mesh)
        yield piece.function.__name__, program, (number, stacked(piece.trial), piece.shared)


def modules(function, arguments, platforms):
    """A program's StableHLO, as each platform gets it; it is traced once."""
    traced = jax.jit(function).trace(*arguments)
    return {platform: traced.lower(lowering_platforms=(platform,)).as_text() for platform in platforms}


def custom_calls(text):
    return set(re.findall(r"custom_call\s*@([\w.]+)", text)) | set(re.findall(r"call_target_name = \"([^\"]+)\"", text))


def has_float64(text):
    return re.search(r"[x<(]f64\b", text) is not None


def programs(found, dataset):
    """Yields all programs of an experiment's only point, by stage and part."""
    made = specs(found.points[0].settings, {found.data: dataset})
    for spec, parent in zip(made, [None, *(one.stage for one in made)], strict=False):
        for part, function, arguments in parts(spec, parent, dataset):
            yield f"{spec.stage.name} {part}", function, arguments


@pytest.mark.parametrize(
    "case", [case if case in QUICK else pytest.param(case, marks=pytest.mark.slow) for case in ASKED]
)
def test_programs_have_decompositions_where_asked_for_and_nothing_else_that_is_foreign(case, experiment, dataset):
    settings, asked = ASKED[case]
    names = set()
    found = experiment(sweep=(), **settings)
    dataset = data.load(found.data) if "data" in settings else dataset
    for name, function, arguments in programs(found, dataset):
        names.add(name)
        for platform, text in modules(function, arguments, PLATFORMS).items():
            calls = custom_calls(text)
            assert calls <= DECOMPOSITIONS and bool(calls) == (name in asked), (name, platform, calls)
            assert not has_float64(text), (name, platform)
    assert {"finetune begin", "finetune finish", *asked} <= names


@pytest.mark.parametrize(
    "case", [case if case != "ResNet-18" else pytest.param(case, marks=pytest.mark.slow) for case in CONVOLVED]
)
def test_convolutions_are_native_on_an_accelerator_and_products_on_a_cpu(case, experiment, dataset):
    settings, convolved = CONVOLVED[case]
    names = set()
    for name, function, arguments in programs(experiment(sweep=(), **settings), dataset):
        names.add(name)
        for platform, text in modules(function, arguments, (*PLATFORMS, "cpu")).items():
            has_convolution = "stablehlo.convolution" in text
            assert has_convolution == (name in convolved and platform != "cpu"), (name, platform)
            assert not custom_calls(text) and not has_float64(text), (name, platform)
    assert convolved < names


def test_what_must_not_be_there_would_be_seen():
    vector = jax.ShapeDtypeStruct((3,), jnp.float32)
    for platform in PLATFORMS:
        with pytest.raises(ValueError, match="platform"):  # a callback has no program to export
            modules(partial(jax.pure_callback, np.sin, vector), (vector,), [platform])
        square = jax.ShapeDtypeStruct((3, 3), jnp.float32)
        assert custom_calls(modules(jnp.linalg.eigvalsh, (square,), [platform])[platform])
    with jax.enable_x64():
        doubled = lambda values: values.astype(jnp.float64) * 2
        assert has_float64(modules(doubled, (vector,), ["cuda"])["cuda"])

"""Masked autoencoding and VIME against NumPy in float64: value and gradient; and stages of them, as they train."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import AutoencoderConfig, MaskedConfig, PretrainConfig, VimeConfig
from pretrain.config.method import Inputs
from pretrain.learn.attention import Attention, Patches
from pretrain.learn.corruption import corrupted
from pretrain.learn.layers import Convolution, Dense, Residual
from pretrain.learn.methods import masked, vime
from pretrain.learn.metrics import Batch, Splits, divided
from pretrain.learn.randomness import Purpose, update_key
from pretrain.learn.stack import Stack, stack_shapes
from pretrain.learn.stage import Layout
from pretrain.learn.tasks import NO_TASK
from pretrain.plan import builders
from tests.experiments import refused
from tests.learn.conftest import begun, dense, results_of, run
from tests.learn.formulas import ACTIVATION_OF, check_gradient, double
from tests.small_sweep import names, of_kind, path, run_all

KEY = jax.random.key(7)
IMAGES, TABLE, SERIES = Layout((4, 6, 1)), Layout((6,), (0, 1, 1, 2, 3, 4)), Layout((10, 1, 2))


def stage_of(method, layers, layout, greedy=True, padded=False, n=40, **settings):
    """The stage of the topmost of some layers, or of all, on rows of a layout."""
    section = PretrainConfig(**{"method": method, "epochs": 6, "batch_size": 10, "l2": 0.0, **settings})
    example = (int(np.prod(layout.shape)),) if isinstance(layers[0], Dense) else layout.shape
    top = len(layers) - 1
    each = [method if greedy else method.of_deep_layer(number, len(layers)) for number in range(len(layers))]
    beside = tuple(builders.companions(one, layers[: k + 1], example, NO_TASK) for k, one in enumerate(each))
    start = top if greedy else 0
    stack = Stack(layers, example, beside, start, start if section.cache_codes else 0, padded=padded)
    return builders.pretraining(section, method, stack, section.epochs, n, layout=layout)


def drawn(shapes):
    """Parameters of some shapes."""
    rng = np.random.default_rng(6)
    return jax.tree.map(lambda leaf: rng.normal(0, 0.5, leaf.shape).astype(np.float32), shapes)


def rows(layout, n=40):
    """Rows whose values go together, so that some follow from others."""
    rng, size = np.random.default_rng(5), int(np.prod(layout.shape))
    values = rng.normal(size=(n, 3)) @ rng.normal(size=(3, size)) + rng.normal(0, 0.1, (n, size))
    return values.astype(np.float32).reshape(n, *layout.shape)


def splits(layout, n=40):
    values = rows(layout, 2 * n)
    return Splits(*(Batch(jnp.asarray(each)) for each in (values[:n], values[n : n + 20], values[n + 20 :])))


def through(params, side, values, activations):
    """What dense layers make of values, in float64."""
    for name, activation in activations:
        layer = params[side][name]
        sums = values @ layer["kernel"] + layer["bias"]
        values = ACTIVATION_OF[activation](sums)
    return values


@pytest.mark.parametrize("case", ["images", "columns", "padded series", "all at once", "above another"])
def test_value_and_gradient_of_masked_are_the_formulas(case):
    layout = {"columns": TABLE, "padded series": SERIES}.get(case, IMAGES)
    layers = dense((5, 4) if case in ("all at once", "above another") else (5,), "tanh")
    stage, config = stage_of(
        MaskedConfig(share=0.5), layers, layout, greedy=case != "all at once", padded=case == "padded series"
    )
    static, params = stage.static, drawn(stack_shapes(stage.stack))
    given = rows(layout).reshape(40, -1)
    real = np.ones(given.shape, bool)
    if case == "padded series":
        real = np.repeat(np.arange(20)[None] < np.random.default_rng(8).integers(4, 21, (40, 1)), 1, axis=0)
        given = np.where(real, given, np.float32(-0.0))
    scale = masked.variance(static, params, Batch(jnp.asarray(given)))
    top = (
        [("layers_1", "tanh")]
        if case == "above another"
        else [("layers_0", "tanh"), ("layers_1", "tanh")][: len(layers)]
    )

    def read(values):
        return through(double(params), "encoder", values, [("layers_0", "tanh")]) if case == "above another" else values

    exact = read(given.astype(np.float64))
    spread = sum(np.var(exact[real[:, k], k]) * real[:, k].sum() for k in range(exact.shape[1]) if real[:, k].any())
    np.testing.assert_allclose(scale, spread / real[:, : exact.shape[1]].sum(), rtol=1e-4)
    inputs = jnp.asarray(exact, jnp.float32) if stage.stack.encoded else jnp.asarray(given)
    is_hidden = np.asarray(masked.mask(static, config.method, inputs, KEY))
    assert is_hidden.any() and not is_hidden.all()
    counted = is_hidden & real[:, : is_hidden.shape[1]]

    def value(params):
        codes = through(params, "encoder", np.where(is_hidden, 0, exact), top)
        outputs = through(
            params, "predictor", codes, [(name, "identity" if name == "layers_0" else "tanh") for name, _ in top[::-1]]
        )
        return ((outputs - exact) ** 2)[counted].mean() / (spread / real[:, : exact.shape[1]].sum())

    def loss(params):
        return masked.prediction(params, Batch(inputs), static=static, config=config.method, scale=scale, key=KEY)

    (found, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(found, value(double(params)), rtol=1e-4)
    np.testing.assert_allclose(divided(metrics)["loss"], found, rtol=1e-6)
    sides = {side: {name: params[side][name] for name, _ in top} for side in params}
    own = {side: {name: gradient[side][name] for name, _ in top} for side in params}
    check_gradient(own, value, sides)


@pytest.mark.parametrize("case", ["columns", "all at once", "above another"])
def test_value_and_gradient_of_vime_are_the_formulas(case):
    method = VimeConfig(swap=0.4, reconstruction_weight=1.5, mask_weight=0.7)
    layers = dense((5,) if case == "columns" else (5, 4), "tanh")
    stage, config = stage_of(method, layers, TABLE, greedy=case != "all at once")
    static, params = stage.static, drawn(stack_shapes(stage.stack))
    sides = {"encoder", "decoder", "mask"}
    assert params.keys() == sides and (case != "all at once" or params["mask"].keys() == {"layers_0"})
    given = np.round(rows(TABLE)).astype(np.float32)  # so that values of other rows are sometimes the same
    exact = given.astype(np.float64)
    if case == "above another":
        exact = through(double(params), "encoder", exact, [("layers_0", "tanh")])
    inputs = jnp.asarray(exact, jnp.float32)
    swapped = np.asarray(corrupted(inputs, KEY, "swap", 0.4, () if case == "above another" else TABLE.groups))
    is_changed = swapped != np.asarray(inputs)
    assert 0 < is_changed.mean() < 0.5
    lowest = "layers_1" if case == "above another" else "layers_0"

    def value(params):
        if case == "all at once":
            codes = through(params, "encoder", swapped, [("layers_0", "tanh"), ("layers_1", "tanh")])
            codes = through(params, "decoder", codes, [("layers_1", "tanh")])
        else:
            codes = through(params, "encoder", swapped.astype(np.float64), [(lowest, "tanh")])
        output = "tanh" if case == "above another" else "identity"
        outputs = through(params, "decoder", codes, [(lowest, output)])
        logits = through(params, "mask", codes, [(lowest, "identity")])
        entropy = np.mean(np.logaddexp(0, logits) - is_changed * logits)
        return 1.5 * np.mean((outputs - exact) ** 2) + 0.7 * entropy

    def loss(params):
        return vime.estimation(params, Batch(inputs), static=static, config=config.method, key=KEY)

    (found, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(found, value(double(params)), rtol=1e-5)
    metrics = divided(metrics)
    np.testing.assert_allclose(metrics["loss"], 1.5 * metrics["mse"] + 0.7 * metrics["mask_loss"], rtol=1e-6)
    used = {"encoder", "decoder", "mask"}
    own = {side: {n: v for n, v in params[side].items() if case != "above another" or n == "layers_1"} for side in used}
    check_gradient({side: {n: gradient[side][n] for n in own[side]} for side in used}, value, own)


def test_an_autoencoder_mends_the_swaps_of_its_columns():
    method = AutoencoderConfig(corruption="swap", corruption_level=0.5)
    stage, config = stage_of(method, dense((5,), "tanh"), TABLE)
    examples = splits(TABLE)
    ran = run((stage, config), examples, stops=[1])
    clean = np.asarray(examples.train.inputs)[np.asarray(stage.rows.of_update(0, 0))]
    key = update_key(0, Purpose.CORRUPTION, 0, 0)
    noisy = np.asarray(corrupted(jnp.asarray(clean), key, "swap", 0.5, TABLE.groups), np.float64)
    params = double(ran.before.params)
    codes = through(params, "encoder", noisy, [("layers_0", "tanh")])
    outputs = through(params, "decoder", codes, [("layers_0", "identity")])
    np.testing.assert_allclose(ran.curves["mse"][0], np.mean((outputs - clean) ** 2), rtol=1e-4)


ENCODERS = {
    "dense": (dense((8, 4), "elu"), IMAGES),
    "convolutions": ((Convolution(3, 3, 2, "elu"), Convolution(4, 3, 1, "elu")), IMAGES),
    "residual blocks": ((Residual(4, 2, "elu"), Dense(5, "elu")), IMAGES),
    "series": ((Convolution(3, 3, 2, "elu"), Dense(5, "elu")), SERIES),
    "volumes": ((Convolution(3, 3, 2, "elu"), Dense(5, "elu")), Layout((4, 4, 4, 1))),
    "columns": (dense((8, 4), "elu"), TABLE),
    "tokens": ((Patches(4, 2), Attention(2)), IMAGES),
}
KINDS = [(MaskedConfig(share=0.5, patch=2), name) for name in ENCODERS] + [(VimeConfig(), "columns")]
QUICK = {("masked", "dense"), ("masked", "tokens"), ("masked", "convolutions"), ("vime", "columns")}
KINDS = [
    pytest.param(
        method,
        name,
        id=f"{method.kind} {name}",
        marks=() if (method.kind, name) in QUICK else pytest.mark.slow,
    )
    for method, name in KINDS
]


@functools.cache
def trained(method, name, greedy):
    """The stages of an encoder, as they ran."""
    (layers, layout), parent, ran = ENCODERS[name], None, []
    method = dataclasses.replace(method, patch=4) if name == "columns" and method.kind == "masked" else method
    examples = splits(layout)
    if isinstance(layers[0], Dense):
        examples = jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1), examples)
    for depth in range(1, 3) if greedy else (2,):
        stage = stage_of(method, layers[:depth], layout, greedy)
        ran.append((stage[0], run(stage, examples, parent=parent), examples))
        parent = ran[-1][1].state.params
    return ran


@pytest.mark.parametrize(("method", "name"), KINDS)
@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "all at once"])
def test_what_is_trained_moves_what_is_frozen_stays_and_the_loss_falls(method, name, greedy):
    for stage, ran, examples in trained(method, name, greedy):
        jax.tree.map(np.testing.assert_array_equal, ran.before.frozen, ran.state.frozen)
        moved = jax.tree.map(lambda a, b: bool((a != b).any()), ran.before.trainable, ran.state.trainable)
        assert all(jax.tree.leaves(moved)), moved
        assert np.isfinite(ran.curves["loss"]).all()
        held_out = ran.curves["validation_loss"][np.isfinite(ran.curves["validation_loss"])]
        assert len(held_out) == 6 and held_out[-1] < held_out[0]
        found = results_of(stage, ran.state.params, examples)
        assert bool(found) == (method.kind == "vime")  # whose decoder turns rows back


GOLDEN = {"masked": (2.850521, 2.039565), "vime": (9.583261, 5.655747)}


@pytest.mark.parametrize("method", [MaskedConfig(share=0.5), VimeConfig()], ids=["masked", "vime"])
def test_golden_numbers(method):
    """They change with the draws, the loss or the start: update them where that is meant, and the changes say so."""
    rng = np.random.default_rng(11)
    values = rng.normal(size=(40, 2)) @ rng.normal(size=(2, 6))
    examples = Splits(*(Batch(jnp.asarray(values[first::3], jnp.float32)) for first in range(3)))
    stage = stage_of(method, dense((5,), "elu"), TABLE, n=14, batch_size=7)
    curve = run(stage, examples).curves["loss"]
    np.testing.assert_allclose([curve[0], curve[-1]], GOLDEN[method.kind], rtol=1e-3)


def test_masks_are_anew_at_every_update_and_the_same_in_every_measurement():
    layers, examples = dense((4,), "elu"), jax.tree.map(lambda leaf: leaf.reshape(len(leaf), -1), splits(IMAGES))
    stage, config = stage_of(MaskedConfig(), layers, IMAGES)
    state = begun((stage, config), examples).before
    measured = [
        masked.measure(stage.static, config, state, examples.validation, jnp.uint32(seed))["loss"] for seed in (1, 2)
    ]
    np.testing.assert_array_equal(*measured)
    keys = [update_key(0, Purpose.MASKS, 0, index) for index in (0, 0, 1)]
    drawn = [np.asarray(masked.mask(stage.static, config.method, examples.train.inputs, key)) for key in keys]
    assert (drawn[0] == drawn[1]).all() and (drawn[0] != drawn[2]).any()
    np.testing.assert_allclose(state.carry, np.var(np.asarray(examples.train.inputs), axis=0).mean(), rtol=1e-4)


def test_values_that_never_vary_and_rows_that_are_all_padding_leave_finite_losses():
    stage, config = stage_of(MaskedConfig(), dense((4,), "elu"), SERIES, padded=True)
    for value in (2.0, -0.0):
        examples = Splits(*(Batch(jnp.full((40, 20), value)) for _ in range(3)))
        ran = run((stage, config), examples)
        assert ran.before.carry == 1 and np.isfinite(ran.curves["loss"]).all()


INPUTS = {"images": (8, 8, 1), "series": (12, 1, 2), "volumes": (4, 4, 4, 1), "columns": (5,)}


@pytest.mark.parametrize(
    ("config", "form", "fault"),
    [
        (VimeConfig(), "images", "kind: 'vime' swaps columns, which images have none of; set data.inputs to columns"),
        (VimeConfig(), "series", "kind: 'vime' swaps columns, which series have none of"),
        (AutoencoderConfig(corruption="swap"), "volumes", "corruption: 'swap' swaps columns, which volumes have none"),
        (
            MaskedConfig(patch=7),
            "series",
            "patch: 7 is more than half of the 12 values of a side, of which some stay; give 6",
        ),
        (MaskedConfig(patch=3), "columns", "patch: 3 has no effect on columns, which are hidden one by one"),
    ],
)
def test_what_a_form_has_not_is_refused(config, form, fault):
    refused(lambda: config.at_inputs(Inputs(form, INPUTS[form])), f"pretrain.method.{fault}")


def test_every_form_may_be_masked_and_columns_swapped():
    for form, shape in INPUTS.items():
        assert MaskedConfig().at_inputs(Inputs(form, shape)) == MaskedConfig()
    for config in (VimeConfig(), AutoencoderConfig(corruption="swap")):
        assert config.at_inputs(Inputs("columns", (5,))) == config and config.reads_layout


def test_swaps_above_the_lowest_layer_are_of_units():
    for method in (VimeConfig(), AutoencoderConfig(corruption="swap")):
        (stage, _), (upper, _) = (stage_of(method, dense((5, 4), "elu")[:depth], TABLE) for depth in (1, 2))
        assert (stage.static.groups, upper.static.groups) == (TABLE.groups, ())


# Plans.


def test_pooling_has_no_stage_of_its_own_and_stays_in_the_network(planned, dataset):
    plan = planned(encoder={"layers": ("2c3", "max2", 5)}, pretrain={"epochs": 1, **of_kind("masked")})
    assert names(plan) == ["finetune", "pretrain/0", "pretrain/2"]
    ran = run_all(plan, dataset)
    jobs = path(plan)
    assert {*ran[jobs[1].id][0]["encoder"]} == {"layers_0", "layers_2"}
    assert not any(ran[job.id][3] for job in jobs)
    assert jobs[1].stage.stack.shapes[2].inputs == (3, 3, 2)


def test_pooling_is_left_out_above_all_layers_that_are_trained_at_once_and_refused_below_one(planned):
    pretrain = {"training": "end_to_end", **of_kind("masked")}
    plan = planned(encoder={"layers": ("3c3", "4c3", "max2")}, pretrain=pretrain)
    assert len(path(plan)[0].stage.stack.layers) == 2 and len(path(plan)[1].stage.stack.layers) == 3
    interior = {"layers": ("3c3", "max2", "4c3")}
    refused(
        lambda: planned(encoder=interior, pretrain=pretrain),
        "encoder.layers: '3c3 max2 4c3' pools below another layer, where all are trained at once",
    )
    for training in ("greedy", "end_to_end"):
        refused(
            lambda training=training: planned(
                encoder={"layers": ("max2",)}, pretrain=pretrain | {"training": training}
            ),
            "encoder.layers: 'max2' has no parameters",
        )


def test_vime_all_at_once_comes_after_vime_alone(planned):
    training = {"training": "greedy_then_end_to_end", **of_kind("vime")}
    per_layer = {"pretrain.method.kind": ("autoencoder", "vime")}
    refused(lambda: planned(pretrain=training, per_layer=per_layer), "kind: 'vime' needs a lowest layer pretrained so")


def test_a_size_of_patches_beside_the_encoders_own_is_refused(planned):
    pretrain = {"training": "end_to_end", **of_kind("masked", patch=2)}
    planned(encoder={"layers": ("6p2", "t2")}, pretrain=pretrain)
    fault = "pretrain.method.patch: 2 has no effect on an encoder that cuts patches of 3, which are hidden whole"
    refused(lambda: planned(encoder={"layers": ("6p3", "t2")}, pretrain=pretrain), fault)

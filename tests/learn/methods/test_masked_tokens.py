"""Masked autoencoding of tokens: hidden ones are left out; value and gradient against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config import MaskedConfig
from pretrain.learn import padding, tokens
from pretrain.learn.attention import Attention, LayerNorm, Mean, Patches
from pretrain.learn.layers import Convolution, Dense
from pretrain.learn.masks import n_hidden
from pretrain.learn.methods import masked
from pretrain.learn.metrics import Batch, divided
from pretrain.learn.stack import stack_shapes
from pretrain.learn.stage import Layout
from tests.learn.conftest import results_of, run
from tests.learn.formulas import double
from tests.learn.methods.test_masked import KEY, drawn, rows, splits, stage_of
from tests.learn.test_attention import block, dense, norm

IMAGES, SERIES = Layout((5, 6, 2)), Layout((9, 1, 2))
VIT = (Patches(4, 2), Attention(2), LayerNorm(), Attention(1))
METHOD = MaskedConfig(share=0.6)


def cut(values, window):
    """Patches of examples, one by one: [B, tokens, values], zeros past the edge; and the places of their corners."""
    sizes = [window if side > 1 else 1 for side in values.shape[1:-1]]
    grid = [-(-side // size) for side, size in zip(values.shape[1:-1], sizes, strict=True)]
    wide = np.zeros((len(values), *(n * size for n, size in zip(grid, sizes, strict=True)), values.shape[-1]))
    wide[tuple(map(slice, values.shape))] = values
    corners = [
        tuple(slice(at * size, (at + 1) * size) for at, size in zip(place, sizes, strict=True))
        for place in np.ndindex(*grid)
    ]
    return (
        np.stack([wide[(slice(None), *corner)].reshape(len(values), -1) for corner in corners], axis=1),
        corners,
        wide.shape,
    )


def through(params, layers, first, values):
    """What layers make of the tokens of one example, if it has any."""
    for number, layer in enumerate(layers if len(values) else (), first):
        own = params[f"layers_{number}"]
        values = block(values, own, layer.heads) if isinstance(layer, Attention) else norm(values, own)
    return values


def prediction(params, layers, start, inputs, real, places, window):
    """What is predicted at every place from the visible tokens of each example."""
    cuts, corners, shape = cut(inputs, window)
    made = np.zeros(shape)
    own = params["predictor"][f"layers_{start}"]
    for row, kept in enumerate(places):
        kept, present = np.asarray([k for k in kept if real[row, k]], int), real[row]
        visible = cuts[row, kept]
        if isinstance(layers[0], Patches):
            first = params["encoder"][f"layers_{start}"]
            visible = dense(visible, {**first, "kernel": first["kernel"].reshape(visible.shape[-1], -1)})
            visible = visible + first["positions"].reshape(-1, visible.shape[-1])[kept]
            visible = through(params["encoder"], layers[1:], start + 1, visible)
        else:
            visible = through(params["encoder"], layers, start, visible)
        whole = np.zeros((cuts.shape[1], visible.shape[-1]))
        whole[kept] = visible
        whole = dense(whole, own["embed"])
        whole = (whole + own["positions"].reshape(whole.shape))[present]
        if present.any():
            whole = dense(norm(block(whole, own["block"], 1), own["norm"]), own["decoder"]["linear"])
        for corner, values in zip(
            [c for c, is_real in zip(corners, present, strict=True) if is_real], whole, strict=True
        ):
            made[(row, *corner)] = values.reshape(made[(row, *corner)].shape)
    return made[tuple(map(slice, inputs.shape))]


@pytest.mark.parametrize("case", ["images", "padded series", "patches alone", "above others"])
def test_value_and_gradient_are_the_formulas(case):
    layout = SERIES if case == "padded series" else IMAGES
    layers = {"patches alone": VIT[:1], "above others": VIT[:2]}.get(case, VIT)
    is_greedy, padded = len(layers) < 4, case == "padded series"
    stage, config = stage_of(METHOD, layers, layout, is_greedy, padded, cache_codes=True)
    static, start = stage.static, stage.stack.start
    params = drawn(stack_shapes(stage.stack))
    given, n = rows(layout, 6), 6
    if padded:
        lengths = np.array([9, 7, 4, 2, 1, 0])
        given = np.where(np.arange(9)[None, :, None, None] < lengths[:, None, None, None], given, np.float32(-0.0))
    inputs = np.random.default_rng(3).normal(size=(n, 3, 3, 4)).astype(np.float32) if start else given
    window, lowest = (2 if not start else 1), layers[start]
    shape = inputs.shape[1:]
    scale = 0.7
    found = tokens.visible(KEY, lowest, n, shape, METHOD.share)
    places, hidden = np.asarray(found.places), np.asarray(found.hidden)
    n_tokens = cut(inputs, window)[0].shape[1]
    assert places.shape == (n, n_tokens - n_hidden(METHOD.share, n_tokens))
    real_values = np.asarray(padding.is_real(jnp.asarray(inputs))) if padded else np.ones(inputs.shape, bool)
    real = cut(real_values, window)[0].any(axis=-1)
    for row in range(n):  # values are hidden where no visible token is
        ours = cut(~hidden[row : row + 1], window)[0][0].any(axis=-1)
        np.testing.assert_array_equal(np.flatnonzero(ours), np.sort(places[row]))
    counted = hidden & real_values

    def value(params):
        made = prediction(params, layers[start:], start, inputs.astype(np.float64), real, places, window)
        return ((made - inputs) ** 2)[counted].mean() / scale

    def loss(params):
        return masked.prediction(
            params, Batch(jnp.asarray(inputs)), static=static, config=config.method, scale=jnp.float32(scale), key=KEY
        )

    (got, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    exact = double(params)
    np.testing.assert_allclose(got, value(exact), rtol=2e-5)
    np.testing.assert_allclose(divided(metrics)["loss"], got, rtol=1e-6)
    rng, step = np.random.default_rng(2), 1e-5
    leaves, structure = jax.tree.flatten(exact)
    slopes, names = jax.tree.leaves(gradient), jax.tree_util.tree_leaves_with_path(gradient)
    unused = []
    for number, leaf in enumerate(leaves):
        direction = rng.normal(size=leaf.shape)
        ends = (
            value(
                jax.tree.unflatten(structure, [*leaves[:number], leaf + sign * step * direction, *leaves[number + 1 :]])
            )
            for sign in (1, -1)
        )
        wanted = -np.subtract(*reversed(list(ends))) / (2 * step)
        np.testing.assert_allclose((slopes[number] * direction).sum(), wanted, rtol=3e-4, atol=3e-5)
        path = names[number][0]
        unused += [path] if not np.any(slopes[number]) else []
    names = {(path[0].key, path[1].key) for path in unused}
    assert (
        names
        == {
            "images": {("predictor", f"layers_{k}") for k in (1, 2, 3)},
            "padded series": {("predictor", f"layers_{k}") for k in (1, 2, 3)},
            "patches alone": set(),
            "above others": {("encoder", "layers_0"), ("predictor", "layers_0")},
        }[case]
    )


def test_hidden_values_change_no_code_and_padding_stays_padding():
    """Nor a prediction: all that a row's predictions depend on is visible."""
    for layout, padded in ((IMAGES, False), (SERIES, True)):
        stage, _ = stage_of(METHOD, VIT, layout, greedy=False, padded=padded)
        stack, params = stage.stack, drawn(stack_shapes(stage.stack))
        found = tokens.visible(KEY, VIT[0], 6, layout.shape, METHOD.share)
        given = rows(layout, 6)
        if padded:
            given[:, 5:] = -0.0
        other = np.where(found.hidden & padding.is_real(jnp.asarray(given)), 9, given)
        codes = [tokens.encoded(stack, params["encoder"], jnp.asarray(each), found, 4) for each in (given, other)]
        np.testing.assert_array_equal(*codes)
        if padded:
            assert not padding.is_real(codes[0][:, 3:]).any() and padding.is_real(codes[0][:, :3]).all()


@pytest.mark.parametrize(
    ("layers", "shape", "count"),
    [
        (VIT, (5, 6, 2), 4),
        ((*VIT, Mean()), (5, 6, 2), 4),
        ((*VIT[:2], Dense(3)), (5, 6, 2), 2),
        ((Patches(4, 2), Patches(4, 2)), (8, 8, 1), 1),
        (VIT[1:], (3, 3, 4), 3),
        ((LayerNorm(),), (4,), 0),  # of vectors
        ((Patches(4, 32), Attention(2)), (28, 28, 1), 0),  # one token
        ((Convolution(4, 3), Attention(2)), (5, 6, 2), 0),
        ((Mean(),), (5, 6, 2), 0),
    ],
)
def test_layers_of_tokens_come_first(layers, shape, count):
    assert tokens.n_layers(layers, shape) == count


def test_layers_above_tokens_read_zeros_in_the_place_of_hidden_ones():
    layers = (Patches(4, 2), Attention(2), Dense(5, "tanh"))
    stage, config = stage_of(METHOD, layers, IMAGES, greedy=False)
    params, inputs = drawn(stack_shapes(stage.stack)), jnp.asarray(rows(IMAGES, 6))
    assert [path for path in stage.static.trained if path.startswith("predictor/layers_1")] == []
    found = tokens.visible(KEY, layers[0], 6, IMAGES.shape, METHOD.share)
    codes = tokens.encoded(stage.stack, params["encoder"], inputs, found, 2)
    assert not np.any(np.asarray(codes).reshape(6, 9, 4)[~np.asarray(tokens.one_hot(found.places, 9).any(axis=1))])
    upper = params["encoder"]["layers_2"]
    codes = np.tanh(dense(double(codes).reshape(6, -1), double(upper)))
    codes = dense(codes, double(params["predictor"]["layers_2"])).reshape(6, 3, 3, 4)
    module = stage.stack.companion("predictor", 0).module
    made = module.apply({"params": params["predictor"]["layers_0"]}, jnp.asarray(codes, jnp.float32))
    wanted = np.square(double(made) - inputs)[np.asarray(found.hidden)].mean()
    loss, _ = masked.prediction(
        params, Batch(inputs), static=stage.static, config=config.method, scale=jnp.float32(1), key=KEY
    )
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)


def test_an_encoder_of_tokens_predicts_patches_better_than_means():
    """Of images of three patterns, each patch follows from any other."""
    rng = np.random.default_rng(4)
    patterns = rng.normal(size=(3, *IMAGES.shape))
    images = patterns[rng.integers(0, 3, 120)] + 0.1 * rng.normal(size=(120, *IMAGES.shape))
    examples = jax.tree.map(lambda _: jnp.asarray(images, jnp.float32), splits(IMAGES))
    stage = stage_of(METHOD, VIT[:2], IMAGES, greedy=False, n=120, epochs=40)
    ran = run(stage, examples)
    losses = ran.curves["validation_loss"]
    assert losses[-1] < 0.5 < losses[np.isfinite(losses)][0]
    assert not results_of(stage[0], ran.state.params, examples)

"""Methods of two views against NumPy in float64: value and gradient; and stages of them, as they train."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from pretrain.config.method import Inputs
from pretrain.config.methods import ContrastiveConfig, RedundancyConfig, VarianceConfig
from pretrain.learn.methods.contrastive import nt_xent
from pretrain.learn.methods.redundancy import barlow_twins
from pretrain.learn.methods.variance import vicreg
from tests.experiments import refused
from tests.learn.formulas import check_gradient, double
from tests.small_sweep import names, of_kind, path, run_all

RNG = np.random.default_rng(3)
FIRST, SECOND = (RNG.normal(size=(7, 4)).astype(np.float32) for _ in range(2))


def contrast(first, second, temperature, with_own):
    """NT-Xent as its paper writes it: view by view, over the candidates that are not the view itself."""
    both = np.concatenate([first, second])
    both = both / np.linalg.norm(both, axis=1, keepdims=True)
    n, losses, right = len(first), [], []
    for i in range(2 * n):
        pair = (i + n) % (2 * n)
        others = [j for j in range(2 * n) if j != i and (with_own or (j < n) != (i < n))]
        logits = both[others] @ both[i] / temperature
        losses.append(special.logsumexp(logits) - both[pair] @ both[i] / temperature)
        right.append(others[int(np.argmax(logits))] == pair)
    return np.mean(losses), np.mean(right), np.log(len(others))


def twins(first, second, weight):
    standardised = [(each - each.mean(0)) / np.sqrt(each.var(0) + 1e-5) for each in (first, second)]
    correlations = standardised[0].T @ standardised[1] / len(first)
    off = correlations - np.diag(np.diag(correlations))
    return (((1 - np.diag(correlations)) ** 2).sum() + weight * (off**2).sum()) / first.shape[1]


def three_terms(first, second, weights):
    lacking, covariance = 0.0, 0.0
    for each in (first, second):
        matrix = np.cov(each.T)
        lacking += np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean() / 2
        covariance += ((matrix - np.diag(np.diag(matrix))) ** 2).sum() / each.shape[1]
    terms = ((first - second) ** 2).mean(), lacking, covariance
    return np.dot(weights, terms), terms


LOSSES = [
    (nt_xent, ContrastiveConfig(temperature=0.2), lambda a, b: contrast(a, b, 0.2, True)[0]),
    (nt_xent, ContrastiveConfig(negatives="other_view"), lambda a, b: contrast(a, b, 0.5, False)[0]),
    (barlow_twins, RedundancyConfig(off_diagonal=0.3), lambda a, b: twins(a, b, 0.3)),
    (vicreg, VarianceConfig(), lambda a, b: three_terms(a, b, (25, 25, 1))[0]),
    (vicreg, VarianceConfig(covariance_weight=5.0), lambda a, b: three_terms(a, b, (25, 25, 5))[0]),
]


@pytest.mark.parametrize(("loss", "config", "exact"), LOSSES)
def test_value_and_gradient_are_the_formulas(loss, config, exact):
    def value(both):
        return loss(both["first"], both["second"], config)[0]

    both = {"first": FIRST * 0.5, "second": SECOND * 0.5 + FIRST * 0.3}
    found, gradient = jax.value_and_grad(value)(both)
    in_double = double(both)
    np.testing.assert_allclose(found, exact(in_double["first"], in_double["second"]), rtol=1e-5)
    check_gradient(gradient, lambda given: exact(given["first"], given["second"]), both)


def test_metrics_of_contrast_are_its_accuracy_and_the_loss_of_embeddings_that_tell_nothing():
    for negatives, with_own in (("all", True), ("other_view", False)):
        config = ContrastiveConfig(negatives=negatives)
        values = nt_xent(jnp.asarray(FIRST), jnp.asarray(SECOND + FIRST), config)[1]
        loss, accuracy, chance = contrast(*double((FIRST, SECOND + FIRST)), 0.5, with_own)
        np.testing.assert_allclose(
            [values["loss"], values["accuracy"], values["chance_loss"]], [loss, accuracy, chance], rtol=1e-5
        )
        alike = nt_xent(jnp.ones((7, 4)), jnp.ones((7, 4)), config)[1]
        np.testing.assert_allclose(alike["loss"], chance, rtol=1e-5)
        assert np.isfinite(
            jax.grad(lambda given, config=config: nt_xent(given, given, config)[0])(jnp.zeros((7, 4)))
        ).all()


def test_the_terms_of_variance_are_its_metrics():
    values = vicreg(jnp.asarray(FIRST), jnp.asarray(SECOND), VarianceConfig())[1]
    terms = three_terms(*double((FIRST, SECOND)), (25, 25, 1))[1]
    np.testing.assert_allclose([values[name] for name in ("invariance", "variance", "covariance")], terms, rtol=1e-5)


def test_embeddings_that_are_all_alike_cost_what_collapse_costs():
    same = jnp.ones((7, 4))
    assert vicreg(same, same, VarianceConfig())[0] == pytest.approx(25 * (1 - 0.01), rel=1e-5)
    assert barlow_twins(same, same, RedundancyConfig())[0] == pytest.approx(1)


IMAGES, TABLE = Inputs("images", (8, 8, 1)), Inputs("columns", (5,))
SERIES = Inputs("series", (12, 1, 2))


def test_views_follow_the_form_of_inputs():
    asked = {form: ContrastiveConfig().at_inputs(form).views for form in (IMAGES, TABLE, SERIES)}
    assert [*asked.values()] == [("crop", "rotation"), ("swap",), ("shift", "slope", "offset", "scale")]
    named = ContrastiveConfig(views=("noise", "crop"), noise=0.5)
    assert named.at_inputs(IMAGES) == named


@pytest.mark.parametrize(
    ("config", "inputs", "fault"),
    [
        (
            ContrastiveConfig(views=("crop", "swap")),
            IMAGES,
            "views: 'swap' makes no sense of images; choose of crop",
        ),
        (VarianceConfig(views=("flip",)), SERIES, "views: 'flip' makes no sense of series; choose of crop, shift"),
        (RedundancyConfig(views=("hue",)), IMAGES, "views: 'hue' needs images of three channels, not 1"),
        (
            RedundancyConfig(views=("solarise",)),
            IMAGES._replace(interval=(-1.5, 2.0)),
            "views: 'solarise' needs values in [0, 1], and the data have -1.5 to 2; set data.scaling to unit, or leave",
        ),
        (RedundancyConfig(views=("greyscale",)), IMAGES, "views: 'greyscale' needs images of three channels, not 1"),
        (
            ContrastiveConfig(swap=0.1),
            IMAGES,
            "swap: 0.1 has no effect where views are crop and rotation",
        ),
        (ContrastiveConfig(swap=0.1), SERIES, "swap: 0.1 has no effect where views are shift and slope and offset"),
        (ContrastiveConfig(crop=0.1), TABLE, "crop: 0.1 has no effect where views are swap; leave it out, for columns"),
        (ContrastiveConfig(views=("crop", "crop")), IMAGES, "views: 'crop crop' names a view twice; leave one out"),
        (ContrastiveConfig(), SERIES._replace(padded=True), "kind: 'contrastive' takes views, which series of unlike"),
    ],
)
def test_views_that_make_no_sense_are_refused(config, inputs, fault):
    refused(lambda: config.at_inputs(inputs), f"pretrain.method.{fault}")


@pytest.mark.parametrize("kind", ["contrastive", "redundancy", "variance", "teacher"])
def test_layers_are_trained_one_by_one_and_those_below_stay_to_the_bit(kind, planned, dataset):
    projector = {"projector": (9, 5)} if kind == "contrastive" else {}
    plan = planned(encoder={"layers": (12, 6)}, pretrain={"epochs": 4, **of_kind(kind, **projector)})
    ran = run_all(plan, dataset)
    lower, upper = (ran[job.id] for job in path(plan)[:2])
    jax.tree.map(np.testing.assert_array_equal, lower[0]["encoder"]["layers_0"], upper[0]["encoder"]["layers_0"])
    for params, curves, results, diverged in (lower, upper):
        assert not diverged and not results
        assert np.mean(curves["loss"][-3:]) < np.mean(curves["loss"][:3])
        held_out = curves["validation_loss"][np.isfinite(curves["validation_loss"])]
        assert len(held_out) == 4 and held_out[-1] < held_out[0] * 1.02
        assert params.get("beside" if kind == "teacher" else "projector")
    if kind == "contrastive":
        np.testing.assert_allclose(lower[1]["chance_loss"], lower[1]["validation_chance_loss"][-1], rtol=1e-6)
        assert lower[1]["accuracy"][-1] > 0.1


def test_all_layers_at_once_have_one_projector_and_no_decoder(planned, dataset):
    pretrain = {"epochs": 2, "training": "end_to_end", **of_kind("redundancy", projector=(7, 4))}
    plan = planned(encoder={"layers": (12, 6)}, pretrain=pretrain)
    assert "pretrain/all" in names(plan)
    params, curves, results, _ = run_all(plan, dataset)[path(plan)[0].id]
    assert {*params} == {"encoder", "projector"} and {*params["projector"]} == {"layers_1"} and not results
    assert curves["alike"][-1] > curves["alike"][0]

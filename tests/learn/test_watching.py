"""Codes watched in pretraining: against NumPy and scikit-learn in float64, and training to the bit as without."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.neighbors import KNeighborsClassifier

from pretrain.config import SupervisedConfig
from pretrain.learn import watching
from pretrain.learn.metrics import Batch
from tests.learn.conftest import run

BOTH = ("neighbours", "rank")
NAMES = ("validation_effective_rank", "validation_neighbour_accuracy")


def known(codes, labels):
    """The effective rank, and the accuracy of each row's nearest other one."""
    values = np.linalg.svd(codes - codes.mean(0), compute_uv=False)
    shares = values[values > 0] / values.sum()
    predicted = cross_val_predict(KNeighborsClassifier(1, algorithm="brute"), codes, labels, cv=LeaveOneOut())
    return np.prod(shares**-shares), np.mean(predicted == labels)


@pytest.mark.parametrize(("rows", "units", "offset"), [(50, 4, 0.0), (40, 90, 30.0), (2, 3, 0.0)])
def test_neighbours_and_ranks_are_those_of_float64(rows, units, offset):
    rng = np.random.default_rng(rows)
    labels = rng.integers(0, 3, rows)
    codes = (offset + labels[:, None] + rng.normal(size=(rows, units))).astype(np.float32)
    rank, accuracy = known(codes.astype(float), labels)
    assert float(jax.jit(watching.neighbour_accuracy)(codes, jnp.asarray(labels))) == pytest.approx(accuracy, abs=1e-6)
    assert float(watching._rank(jnp.asarray(codes), None)) == pytest.approx(rank, rel=1e-4)


def test_a_row_is_no_neighbour_of_itself_even_beside_its_copy():
    codes, labels = np.repeat(np.eye(3, dtype=np.float32), 2, axis=0), jnp.array([0, 1, 0, 0, 2, 2])
    assert float(watching.neighbour_accuracy(codes, labels)) == pytest.approx(4 / 6)
    assert float(watching.neighbour_accuracy(np.ones((6, 2), np.float32), labels)) < 1  # collapsed


@pytest.mark.parametrize(
    ("widths", "settings"),
    [
        ((9,), {"validate_every": 3}),
        ((9, 5), {}),
        ((9, 5), {"lowest": 0, "stop": "validation", "patience": 2, "validate_every": 2}),
        ((9,), {"method": SupervisedConfig(), "epochs": 3}),
    ],
    ids=["lowest", "upper", "at once", "supervised"],
)
def test_training_is_the_same_to_the_bit_and_curves_are_those_of_its_codes(widths, settings, phase, pretrained, images):
    parent = pretrained(widths[:-1]) if len(widths) > 1 and "lowest" not in settings else None
    made = {watch: phase(widths, watch=watch, **settings) for watch in ((), ("rank",), BOTH)}
    needs = made[()][0].rows.subset is not None  # labels
    reads = {watch: stage.reads for watch, (stage, _) in made.items()}
    assert [("labels" in each) for each in reads.values()] == [needs, needs, True]

    def ran(watch):
        seen = images if "labels" in reads[watch] else _without_labels(images)
        return run(made[watch], seen, parent=parent, stops=[2, made[watch][0].n_updates])

    plain, *others = (ran(watch) for watch in made)
    for other in others:
        jax.tree.map(np.testing.assert_array_equal, other.state, plain.state)
        for name, curve in plain.curves.items():
            np.testing.assert_array_equal(other.curves[name], curve)
    stage = made[BOTH][0]
    assert others[0].curves.keys() - plain.curves.keys() == {NAMES[0]}
    assert others[1].curves.keys() - plain.curves.keys() == {*NAMES}
    measured = np.isfinite(plain.curves[f"validation_{stage.method.held_out}"])
    for name in NAMES:
        np.testing.assert_array_equal(np.isfinite(others[1].curves[name]), measured)
        np.testing.assert_array_equal(stage.mask(name), stage.validation.mask(stage.n_updates))
    if measured[-1]:
        rows = np.asarray(images.validation.inputs, float) / 255
        for layer in range(len(widths)):
            own = others[1].state.params["encoder"][f"layers_{layer}"]
            sums = rows @ np.asarray(own["kernel"], float) + np.asarray(own["bias"], float)
            rows = np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0)))
        last = [others[1].curves[name][-1] for name in NAMES]
        assert last == pytest.approx(known(rows, np.asarray(images.validation.labels)), rel=1e-3)


def _without_labels(images):
    return images._replace(**{name: Batch(getattr(images, name).inputs) for name in ("train", "validation", "test")})

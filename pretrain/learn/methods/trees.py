"""Read-out by gradient-boosted trees of codes, which scikit-learn grows on the host (Ke et al., 2017, "LightGBM").

Trees are arrays of nodes, so that predictions are traced like those of any network. Of several labels or numbers each
has trees of its own.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pretrain.learn import probes, results, start
from pretrain.learn.annotations import Codes, Outputs
from pretrain.learn.codes import in_blocks
from pretrain.learn.layers import Params
from pretrain.learn.method import Method, Results
from pretrain.learn.metrics import Batch, Splits, divided
from pretrain.learn.stack import Stack
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import TrainState, Values, state_of

LEAVES = (20, 5, 1)  # least rows of a leaf, to choose from; scikit-learn's 20 splits nothing below 40 rows
ITERATIONS = 100  # at most
_BINS = 63  # of an input: trees of many inputs take a quarter of the time that they take with scikit-learn's 255
_PATIENCE = 10  # iterations without a lower validation loss, after which none is added
_NODES = 61  # of a tree of 31 leaves, scikit-learn's most
_CHOSEN = ("chosen_min_samples_leaf", "chosen_iterations")


class _Grown(NamedTuple):
    """Trees for some of the outputs."""

    baseline: np.ndarray  # [outputs], before the first tree
    nodes: list[list[np.ndarray]]  # of each iteration up to the best, and of each output, as scikit-learn has them
    outputs: list[int]  # that have trees
    loss: float  # on validation examples, at the best iteration; 0 without trees


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the network without its trees, whose nodes are all leaves of value 0."""
    params = start.network(static, seed, parent, examples)
    trees = jax.tree.map(jnp.asarray, _leaves(static.stack.task.n_outputs))
    return state_of(static, config, {**params, "trees": trees}, {name: jnp.float32(jnp.nan) for name in _CHOSEN})


def fit(
    static: Static, config: StageConfig, seed: np.ndarray, labelled: Batch, validation: Batch
) -> tuple[Params, dict[str, float]]:
    """Grows trees on labelled codes; returns ``trees``, and what validation examples chose.

    Of the least rows of a leaf, and of the number of iterations, the loss on validation examples is to be the lowest;
    of equals, the largest leaves. One thread adds up, so that sums are rounded alike everywhere.
    """
    from threadpoolctl import threadpool_limits

    task, n = static.stack.task, len(labelled.inputs)
    random_state = int(np.ravel(seed)[-1])
    best: list[_Grown] = []
    leaf = 0
    with threadpool_limits(1, user_api="openmp"):
        for least in (each for each in LEAVES if 2 * each <= max(n, 2)):
            options = {
                "min_samples_leaf": least,
                "max_iter": ITERATIONS,
                "max_bins": _BINS,
                "random_state": random_state,
            }
            grown = list(_grown(task, labelled, validation, options))
            if not best or sum(each.loss for each in grown) < sum(each.loss for each in best):
                best, leaf = grown, least
    iterations = max(len(each.nodes) for each in best)
    return {"trees": _arrays(task, best)}, dict(zip(_CHOSEN, (float(leaf), float(iterations)), strict=True))


def finish(static: Static, params: Params, examples: Splits) -> Results:
    """Returns ``loss``, and ``accuracy`` (fraction) but of numbers."""
    stack = static.stack
    values: Values = {}
    made: dict[str, jax.Array] = {}
    for name in ("validation", "test"):
        split = getattr(examples, name)
        made[name] = in_blocks(lambda inputs: outputs(stack, params, inputs), split.inputs)
        metrics = stack.task.objective(made[name], split)[1]
        values |= {f"{name}_{metric}": value for metric, value in divided(metrics).items()}
    return results.predicted(stack.task, values, made, examples, are_logits=True)


def outputs(stack: Stack, params: Params, images: jax.Array) -> Outputs:
    """Returns the trees' outputs for images [N, ...]: logits of classes or labels, or numbers [N, outputs]."""
    codes = probes.as_read(params, Batch(stack.encoding(params)(images))).inputs
    return grown_outputs(params["trees"], codes)


def grown_outputs(trees: Params, codes: Codes) -> Outputs:
    """Returns the sums of trees, one a iteration and output, for codes [N, units]: [N, outputs]."""
    n_outputs, rows = len(trees["baseline"]), jnp.arange(codes.shape[0])[None, :]

    def added(total: jax.Array, tree: Params) -> tuple[jax.Array, None]:
        def at(name: str, place: jax.Array) -> jax.Array:  # [outputs, N]
            return jnp.take_along_axis(tree[name], place, axis=1)

        def below(place: jax.Array) -> jax.Array:
            goes_left = codes[jnp.broadcast_to(rows, place.shape), at("feature", place)] <= at("threshold", place)
            return jnp.where(goes_left, at("left", place), at("right", place))

        def descend(carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            place, _ = carry
            lower = below(place)
            return lower, jnp.any(lower != place)

        root = jnp.zeros((n_outputs, codes.shape[0]), jnp.int32)
        leaf, _ = jax.lax.while_loop(lambda carry: carry[1], descend, (root, jnp.bool_(True)))
        return total + at("value", leaf).T, None

    nodes = {name: leaf for name, leaf in trees.items() if name != "baseline"}
    first = jnp.broadcast_to(trees["baseline"], (codes.shape[0], n_outputs))
    return jax.lax.scan(added, first, nodes)[0]


def shapes(task: Task) -> dict[str, tuple[tuple[int, ...], str]]:
    """Returns the shape and type of each array of trees."""
    return {name: (leaf.shape, leaf.dtype.name) for name, leaf in _leaves(task.n_outputs).items()}


def are_sound(trees: Params, units: int) -> bool:
    """Returns whether nodes lead to themselves or to later ones, so that each way has an end, and read some code."""
    own = np.arange(_NODES)
    leads_on = all(((trees[side] >= own) & (trees[side] < _NODES)).all() for side in ("left", "right"))
    return leads_on and bool(((trees["feature"] >= 0) & (trees["feature"] < units)).all())


def _leaves(n_outputs: int) -> dict[str, np.ndarray]:
    """Returns trees of leaves of value 0, which lead to themselves: [iterations, outputs, nodes]."""
    shape = (ITERATIONS, n_outputs, _NODES)
    own = np.broadcast_to(np.arange(_NODES, dtype=np.int32), shape)
    numbers = {name: np.zeros(shape, np.float32) for name in ("threshold", "value")}
    places = {"feature": np.zeros(shape, np.int32), "left": own.copy(), "right": own.copy()}
    return {**numbers, **places, "baseline": np.zeros(n_outputs, np.float32)}


def _arrays(task: Task, grown: list[_Grown]) -> dict[str, np.ndarray]:
    """Returns trees as arrays; every comparison of float32 codes comes out as in float64."""
    trees = _leaves(task.n_outputs)
    for each in grown:
        trees["baseline"] += each.baseline.astype(np.float32)
        for iteration, of_outputs in enumerate(each.nodes):
            for output, nodes in zip(each.outputs, of_outputs, strict=True):
                place = iteration, output, slice(len(nodes))
                inner, own = nodes["is_leaf"] == 0, np.arange(len(nodes))
                trees["value"][place] = np.where(inner, 0, nodes["value"])
                trees["feature"][place] = np.where(inner, nodes["feature_idx"], 0)
                trees["threshold"][place] = np.where(inner, _rounded_down(nodes["num_threshold"]), 0)
                for side in ("left", "right"):
                    trees[side][place] = np.where(inner, nodes[side], own)
    return trees


def _rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """Returns the largest float32 that are no larger than thresholds [...], and finite."""
    most = np.finfo(np.float32).max
    thresholds = np.clip(thresholds, -most, most)
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, -most), rounded)


def _grown(task: Task, labelled: Batch, validation: Batch, options: dict[str, Any]) -> Iterator[_Grown]:
    """Yields trees for the outputs: of classes at once, of labels and numbers one by one, over rows where known."""
    if task.kind == "classification":
        yield _of_classes(task.n_outputs, labelled, validation, options)
        return
    for output in range(task.n_outputs):
        baseline = np.zeros(task.n_outputs)
        rows, held_out = (_column(split, output) for split in (labelled, validation))
        if task.kind == "regression":
            estimator = _estimator("Regressor", rows, held_out, options)
            baseline[output] = estimator._baseline_prediction[0, 0]
            yield _best(estimator, baseline, [output])
            continue
        made = _of_classes(2, rows, held_out, options) if len(rows.labels) else _Grown(np.zeros(2), [], [], 0.0)
        baseline[output] = made.baseline[1] - made.baseline[0]
        yield made._replace(baseline=baseline, outputs=[output for _ in made.outputs])


def _column(split: Batch, output: int) -> Batch:
    """Returns the rows of a split where a label or number is known, and these."""
    targets = np.asarray(split.labels)[:, output]
    is_known = ~np.isnan(targets)
    return Batch(np.asarray(split.inputs)[is_known], targets[is_known])


def _of_classes(n_classes: int, labelled: Batch, validation: Batch, options: dict[str, Any]) -> _Grown:
    """Returns trees for logits of classes; a class without a labelled row counts as half a row of them."""
    labels = np.asarray(labelled.labels).astype(np.int64)
    present, counts = np.unique(labels, return_counts=True)
    shares = np.full(n_classes, 0.5 / len(labels))
    shares[present] = counts / len(labels)
    baseline = np.log(shares)
    if len(present) == 1:
        return _Grown(baseline, [], [], 0.0)
    rows = np.isin(validation.labels, present)  # of others the loss would be infinite, whatever the trees
    held_out = Batch(np.asarray(validation.inputs)[rows], np.asarray(validation.labels)[rows].astype(np.int64))
    estimator = _estimator("Classifier", labelled._replace(labels=labels), held_out, options)
    is_binary = len(present) == 2
    # Logits are the same up to what all have in common.
    first = 0.0 if is_binary else estimator._baseline_prediction[0, 0]
    baseline += first - baseline[present[0]]
    baseline[present] = [0.0, estimator._baseline_prediction[0, 0]] if is_binary else estimator._baseline_prediction[0]
    return _best(estimator, baseline, present[-1:].tolist() if is_binary else present.tolist())


def _estimator(kind: str, labelled: Batch, validation: Batch, options: dict[str, Any]) -> Any:
    """Returns scikit-learn's estimator, fitted; it stops by validation rows where there are any."""
    from sklearn import ensemble  # takes a second

    stops = len(validation.labels) > 0
    stopping = {"early_stopping": True, "n_iter_no_change": _PATIENCE, "scoring": "loss"}
    made = getattr(ensemble, f"HistGradientBoosting{kind}")(
        **options, **(stopping if stops else {"early_stopping": False})
    )
    held_out = {"X_val": np.asarray(validation.inputs), "y_val": validation.labels} if stops else {}
    return made.fit(np.asarray(labelled.inputs), labelled.labels, **held_out)


def _best(estimator: Any, baseline: np.ndarray, outputs: list[int]) -> _Grown:
    """Returns an estimator's trees up to the iteration with the lowest loss, the first of equals; one at least."""
    losses = -estimator.validation_score_[1:]
    stop = int(np.argmin(losses)) + 1 if len(losses) else estimator.n_iter_
    kept = [[tree.nodes for tree in trees] for trees in estimator._predictors[:stop]]
    return _Grown(baseline, kept, outputs, float(losses[stop - 1]) if len(losses) else 0.0)


def seconds(static: Static, n_validation: int) -> float:
    """Returns how long ``fit`` takes, which stops the earlier, the fewer rows there are.

    Constants are of one core of an AMD EPYC, of MNIST's pixels and of codes of 10 and 150 units.
    """
    n, units, task = static.rows.n, static.stack.n_codes, static.stack.task
    n_outputs = 1 if task.kind == "classification" and task.n_outputs == 2 else task.n_outputs
    n_fits = len(LEAVES) * (1 if task.kind == "classification" else task.n_outputs)
    n_trees = len(LEAVES) * n_outputs * ITERATIONS * min(1.0, float(np.log10(n)) / 5)
    growing = 22e-6 * units * min(1.0, n / 600)  # of fewer rows there are fewer nodes
    tree = 1e-3 + growing + n * (12e-9 + 3.3e-9 * units) + 0.2e-6 * n_validation
    return n_fits * 0.2e-6 * (n + n_validation) * units + n_trees * tree


METHOD = Method(init, finish, fit=fit, packages=("scikit-learn",), seconds=seconds)

"""Read-outs of an encoder's codes: fitted in closed form, to convergence, or by neighbours."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float, Int, Num, Shaped

from pretrain.learn.annotations import Array, Codes, Outputs, Scalar
from pretrain.learn.codes import in_blocks, standardised
from pretrain.learn.layers import Params, flat, scaled
from pretrain.learn.metrics import Batch
from pretrain.learn.stack import Stack
from pretrain.learn.tasks import Task, Weighed

PENALTIES = tuple(10.0**power for power in range(-6, 3))  # of ridge, to choose from
NEIGHBOURS = (1, 3, 5, 9, 15, 25)  # to choose from
_GRADIENT_NORM = 1e-7  # at which logistic regression has converged, of codes that are whitened
_NEARLY, _IN_VAIN = 1e-5, 15  # a norm below which iterations without a smaller one are rounding, and how many
_MOST_ITERATIONS = 500
_MOST_DIRECTIONS = 4096  # which whitening finds in seconds
_FLATTEST = 1e-6  # of the largest variance: directions below it are whitened as if they had this one
_PRECISION = "highest"  # of matrix products: accelerators otherwise round what is multiplied, and fits suffer
_DISTANCES = 250  # examples whose neighbours are sought at once


def as_read(params: Params, batch: Batch) -> Batch:
    """Returns a batch of codes [B, ...], or of images, as a head reads them: flattened, by the statistics of codes."""
    return batch._replace(inputs=standardised(flat(scaled(batch.inputs)), params["codes"]))


def codes_in_blocks(stack: Stack, params: Params, images: Shaped[Array, "rows ..."]) -> Float[Array, "rows ..."]:
    """Returns the topmost codes of images [N, ...], block by block: [N, ...]."""
    return in_blocks(stack.encoding(params), images)


def most_neighbours(n_labelled: int) -> int:
    """Returns the largest number of neighbours to choose from."""
    return max(count for count in NEIGHBOURS if count <= n_labelled)


def ridge(codes: Codes, labels: Num[Array, "rows ..."], task: Task, penalty: Float[Array, "..."] | float) -> Params:
    """Fits a linear head by ridge regression of targets on codes (Hoerl and Kennard, 1970).

    Args:
      codes: [N, units].
      labels: targets [N, ...].
      task: what they mean, and so what the head approaches: see ``Task.regressed``.
      penalty: of the squared kernel, as a fraction of the codes' mean variance, so that it means the same at any scale
        of the codes; the bias is not penalised. Several [P] are fitted at the cost of one.

    Returns:
      ``kernel`` [units, outputs] and ``bias`` [outputs]; with several penalties, [P, …].
    """
    with jax.default_matmul_precision(_PRECISION):
        targets = task.regressed(labels)
        return _ridge_of_known(codes, targets, labels, penalty) if task.has_unknown else _ridge(codes, targets, penalty)


def _ridge(
    codes: Codes,
    targets: Outputs,
    penalty: Float[Array, "..."] | float,
    weights: Float[Array, "rows 1"] | None = None,  # with mean 1; of rows that weigh alike none
) -> Params:
    weighed = (codes, targets) if weights is None else (codes * weights, targets * weights)
    mean_code, mean_target = (jnp.mean(each, axis=0, keepdims=True) for each in weighed)
    centred = codes - jnp.broadcast_to(mean_code, codes.shape)
    counted = centred if weights is None else centred * weights
    covariance = counted.T @ centred / len(codes)
    variance = jnp.trace(covariance) / len(covariance)
    products = counted.T @ (targets - jnp.broadcast_to(mean_target, targets.shape)) / len(codes)
    # By eigenvalues, which rounding leaves at or above zero: with fewer examples than units a solver may find none.
    spreads, directions = jnp.linalg.eigh(covariance)
    rotated = directions.T @ products

    def solved(penalty: jax.Array | float) -> Params:
        shrunk = jnp.maximum(spreads, 0) + penalty * jnp.where(variance > 0, variance, 1)
        kernel = directions @ (rotated / jnp.broadcast_to(shrunk[:, None], products.shape))
        return {"kernel": kernel, "bias": (mean_target - mean_code @ kernel)[0]}

    return jax.lax.map(solved, penalty) if jnp.ndim(penalty) else solved(penalty)


def _ridge_of_known(codes: Codes, targets: Outputs, labels: Outputs, penalty: Float[Array, "..."] | float) -> Params:
    """Returns heads as ``_ridge`` does, each label's fitted to the rows where it is known."""

    def of_label(column: tuple[jax.Array, jax.Array]) -> Params:
        target, known = column  # [N]
        weights = known * len(codes) / jnp.maximum(jnp.sum(known), 1)
        head = _ridge(codes, target[:, None], penalty, weights[:, None])
        return {"kernel": head["kernel"][..., 0], "bias": head["bias"][..., 0]}

    heads = jax.lax.map(of_label, (targets.T, (~jnp.isnan(labels)).T.astype(codes.dtype)))
    return {name: jnp.moveaxis(leaf, 0, -1) for name, leaf in heads.items()}


def converged(
    codes: Codes, labels: Num[Array, "rows ..."] | Weighed, task: Task, penalty: Scalar | float
) -> tuple[Params, Scalar]:
    """Fits a linear head by its task's loss, to convergence, by L-BFGS from zero on centred, whitened codes.

    That is logistic regression of classes, multinomial, or of labels, one by one; and least squares of numbers.

    Args:
      codes: [N, units].
      labels: targets [N, ...], which may be ``Weighed``.
      task: what they mean.
      penalty: times half the squared kernel, as in training, joins the mean loss.

    Returns:
      ``kernel`` [units, outputs] and ``bias`` [outputs], and the norm of the gradient of whitened codes there: at most
      1e-7, unless rounding or 500 iterations did not let it get so far.
    """
    mean = jnp.mean(codes, axis=0, keepdims=True)
    centred = codes - jnp.broadcast_to(mean, codes.shape)  # what all codes share would make the problem ill-conditioned
    with jax.default_matmul_precision(_PRECISION):
        whitening = _whitening(centred, penalty)
        whitened = centred @ whitening

    def loss(head: Params) -> jax.Array:
        sums = whitened @ head["kernel"]
        logits = sums + jnp.broadcast_to(head["bias"], sums.shape)
        squares = jnp.sum(jnp.square(whitening @ head["kernel"]))
        return task.objective(logits, Batch(codes, labels))[0] + penalty * squares / 2

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def iterate(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        head, state, _, least, n_since, index = carry
        value, gradient = value_and_grad(head, state=state)
        updates, state = solver.update(gradient, state, head, value=value, grad=gradient, value_fn=loss)
        # The gradient where the update led: one below the bound before it may be above it after.
        reached = optax.tree.norm(optax.tree.get(state, "grad"))
        n_since = jnp.where(reached < least, 0, n_since + 1)
        return optax.apply_updates(head, updates), state, reached, jnp.minimum(least, reached), n_since, index + 1

    def unfinished(carry: tuple[Any, ...]) -> jax.Array:
        _, _, norm, least, n_since, index = carry
        is_rounding = (least < _NEARLY) & (n_since >= _IN_VAIN)
        return (norm > _GRADIENT_NORM) & ~is_rounding & (index < _MOST_ITERATIONS)

    head = {"kernel": jnp.zeros((whitened.shape[1], task.n_outputs)), "bias": jnp.zeros(task.n_outputs)}
    with jax.default_matmul_precision(_PRECISION):
        head, *_ = jax.lax.while_loop(unfinished, iterate, (head, solver.init(head), jnp.inf, jnp.inf, 0, 0))
        norm = optax.tree.norm(jax.grad(loss)(head))
        kernel = whitening @ head["kernel"]
        return {"kernel": kernel, "bias": head["bias"] - (mean @ kernel)[0]}, norm


def _whitening(centred: Codes, penalty: Scalar | float) -> Float[Array, "units directions"]:
    """Returns directions of codes, divided by the root of variance and penalty: the loss is curved alike along them.

    Otherwise it is so flat along most that a small gradient leaves probabilities some per cent from the optimum.
    """
    n, units = centred.shape
    if min(n, units) > _MOST_DIRECTIONS:
        return jnp.eye(units)
    spreads, directions = jnp.linalg.eigh((centred.T @ centred if units <= n else centred @ centred.T) / n)
    largest = jnp.maximum(spreads[-1], jnp.finfo(spreads.dtype).tiny / _FLATTEST)
    variances = jnp.maximum(spreads, _FLATTEST * largest)
    scaled = directions / jnp.broadcast_to(jnp.sqrt(variances + penalty), directions.shape)
    if units <= n:
        return scaled
    return centred.T @ (scaled / jnp.broadcast_to(jnp.sqrt(n * variances), scaled.shape))


def uncounted_seconds(n: int, units: int, n_outputs: int = 0, n_fits: float = 1.0) -> float:
    """Returns the time of read-outs that no count of operations shows: of eigenvalues, and of iterations.

    Constants are of one core of an AMD EPYC, of 2,000 and 20,000 labelled rows of MNIST.

    Args:
      n: labelled rows.
      units: of the codes.
      n_outputs: of a head that ``converged`` fits; 0 of a closed form.
      n_fits: from zero to convergence.
    """
    size = min(n, units) if n_outputs else units
    eigenvalues = 3e-9 * size**3 if size <= _MOST_DIRECTIONS or not n_outputs else 0.0
    return eigenvalues + n_fits * 7e-8 * (n + units) * units * n_outputs


def nearest(
    codes: Codes, known: Float[Array, "voters units"], labels: Num[Array, "voters *target"], most: int
) -> Num[Array, "rows most *target"]:
    """Returns the targets of the nearest known codes (Euclidean), the nearest first.

    Args:
      codes: [N, units].
      known: codes whose labels are known [M, units].
      labels: targets [M, ...].
      most: how many neighbours are sought; at most M.

    Returns:
      Targets [N, most, ...].
    """
    # Codes are counted from the middle of the known ones: squares of what lies far from zero would leave no distance.
    middle = jnp.mean(known, axis=0)
    known = known - jnp.broadcast_to(middle, known.shape)
    lengths = jnp.sum(jnp.square(known), axis=-1)

    def of_one(code: jax.Array) -> jax.Array:
        return labels[jax.lax.top_k(2 * (known @ (code - middle)) - lengths, most)[1]]

    with jax.default_matmul_precision(_PRECISION):
        return jax.lax.map(of_one, codes, batch_size=min(len(codes), _DISTANCES))


def voted(neighbours: Num[Array, "rows most ..."], task: Task, count: Int[Array, ""] | int) -> Outputs:
    """Returns the predictions of the first ``count`` neighbours: [N, outputs].

    Args:
      neighbours: their targets [N, most, ...].
      task: what these mean.
      count: how many have a vote.

    Returns:
      Of classes, the share of votes for each, where of equals that of the nearest neighbour is a little larger; of
      labels, the mean of ±1; of numbers, their mean.
    """
    most = neighbours.shape[1]
    counts = jnp.arange(most) < count
    if task.kind != "classification":
        return jnp.sum(task.regressed(neighbours) * counts[None, :, None], axis=1) / count
    cast = jax.nn.one_hot(neighbours, task.n_classes, dtype=jnp.int32) * counts[None, :, None]
    first = jnp.where(jnp.any(cast, axis=1), jnp.argmax(cast, axis=1), most)  # place of each class's nearest
    return jnp.sum(cast, axis=1) / count - first / (most + 1) / count

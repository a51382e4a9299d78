"""Teacher: predictions of one view match what a slower copy of the network makes of the other (Grill et al., 2020).

With a teacher that is the student itself this is SimSiam (Chen and He, 2021).
"""

from collections.abc import Sequence
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float, Key, Shaped

from pretrain.config.methods import TeacherConfig
from pretrain.learn import results, start, two_views
from pretrain.learn.annotations import Array, Codes, Scalar
from pretrain.learn.layers import Dense, Params, apply, encode, flat
from pretrain.learn.method import Method
from pretrain.learn.metrics import Batch, Metrics, Splits
from pretrain.learn.stack import Companion, Companions
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values

_LEAST = 1e-12  # squared norm of an output that is taken for zero
_AFFINE = {"scale": nn.initializers.ones, "bias": nn.initializers.zeros}
Outputs = Float[Array, "2 rows _"]


class Normalised(nn.Module):
    """Batch normalisation (Ioffe and Szegedy, 2015) by the batch's own statistics, in measurements as in training."""

    @nn.compact
    def __call__(self, values: Codes) -> Codes:
        shape = (1, values.shape[-1])
        scale, bias = (self.param(name, start, shape) for name, start in _AFFINE.items())
        return two_views.standardised(values) * jnp.broadcast_to(scale, values.shape) + jnp.broadcast_to(
            bias, values.shape
        )


class Perceptron(nn.Module):
    """Dense layers, with batch normalisation and ReLU between them: [B, ...], flattened, to [B, units]."""

    units: tuple[int, ...]

    @nn.compact
    def __call__(self, codes: Float[Array, "rows ..."]) -> Float[Array, "rows units"]:
        outputs = flat(codes)
        for number, units in enumerate(self.units[:-1]):
            dense = nn.Dense(units, use_bias=False, kernel_init=nn.initializers.he_normal(), name=f"layers_{number}")
            outputs = nn.relu(Normalised(name=f"norms_{number}")(dense(outputs)))
        return Dense(self.units[-1], name=f"layers_{len(self.units) - 1}")(outputs)


class ProjectorAndPredictor(nn.Module):
    """The projector, and on it the predictor, of as many outputs: codes [B, ...] to predictions [B, units]."""

    projector: tuple[int, ...]
    predictor: tuple[int, ...]  # hidden layers; without any it hands on what it reads

    @nn.compact
    def __call__(self, codes: Float[Array, "rows ..."]) -> Float[Array, "rows units"]:
        outputs = Perceptron(self.projector, name="projector")(codes) if self.projector else flat(codes)
        units = (*self.predictor, outputs.shape[-1])
        return Perceptron(units, name="predictor")(outputs) if self.predictor else outputs


def companions(config: TeacherConfig, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns the projector and the predictor of the topmost layer's codes, where there is either."""
    if not config.projector and not config.predictor:
        return ()
    return (("beside", Companion(ProjectorAndPredictor(config.projector, config.predictor), joins_deep=False)),)


def byol(predicted: Outputs, targets: Outputs, projected: Outputs, config: TeacherConfig) -> tuple[Scalar, Values]:
    """Returns the squared distance between each view's normalised prediction and the other view's normalised target.

    Args:
      predicted: of the student [2, B, units], view by view.
      targets: the teacher's projections.
      projected: the student's projections.
      config: of the method.

    Returns:
      The distance, 2 less twice the cosine, mean over both views and the batch: 0 to 4, and half of the paper's sum.
      ``loss``; and ``output_deviation``, the standard deviation of normalised projections over the batch, mean over
      units and views (Chen and He, 2021): 0 where all inputs have one projection, 1 / sqrt(units) where they spread
      evenly over all directions.
    """
    loss = 2 - 2 * jnp.mean(jnp.sum(_normalised(predicted) * _normalised(targets)[::-1], axis=-1))
    spread = jnp.mean(jnp.std(_normalised(projected), axis=1))
    return loss, {"loss": loss, "output_deviation": spread}


def _normalised(outputs: Outputs) -> Outputs:
    lengths = jnp.sqrt(jnp.maximum(jnp.sum(jnp.square(outputs), axis=-1, keepdims=True), _LEAST))
    return outputs / jnp.broadcast_to(lengths, outputs.shape)


def _compared(
    params: Params,
    inputs: Shaped[Array, "rows ..."],
    static: Static,
    config: TeacherConfig,
    keys: Key[Array, "2"],
    *,
    teacher: Params,
) -> tuple[Outputs, Outputs, Outputs]:
    """Returns predictions, targets and projections of both views of examples [B, ...]."""
    both, top = two_views.views(inputs, static, config, keys), f"layers_{static.stack.top}"

    def by_view(module: nn.Module, params: Params, values: Outputs) -> Outputs:
        return jax.vmap(partial(apply, module, params))(values)  # for each view has statistics of its own

    def project(params: Params) -> Outputs:
        codes = flat(encode(static.stack.layers, params.get("encoder", {}), both)).reshape(2, len(inputs), -1)
        return (
            by_view(Perceptron(config.projector), params["beside"][top]["projector"], codes)
            if config.projector
            else codes
        )

    projected = predicted = project(params)
    if config.predictor:
        units = (*config.predictor, projected.shape[-1])
        predicted = by_view(Perceptron(units), params["beside"][top]["predictor"], projected)
    return predicted, project(teacher) if config.stops_gradient else projected, projected


def init(static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits) -> TrainState:
    """Returns the state, with a teacher that starts as the student."""
    state = start.pretraining(static, config, seed, parent, examples)
    return state._replace(carry=_taught(state.trainable)) if config.method.stops_gradient else state


def _taught(trainable: Params) -> Params:
    """Returns the parameters of a student in training that its teacher has, too: all but the predictor's."""
    beside = {
        layer: {"projector": parts["projector"]}
        for layer, parts in trainable.get("beside", {}).items()
        if "projector" in parts
    }
    return {"encoder": trainable.get("encoder", {}), "beside": beside}


def update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Makes one update of the student, by views that differ from update to update, and lets the teacher follow it."""
    state, values = two_views.update(byol, static, config, state, batch, seed, step, _with_teacher(state))
    if not config.method.stops_gradient:
        return state, values
    kept = _kept(config.method.momentum, step.fraction)
    follow = partial(jax.tree.map, lambda old, new: new + kept * (old - new))
    return state._replace(carry=follow(state.carry, _taught(state.trainable))), values


def _with_teacher(state: TrainState) -> two_views.Compared:
    return partial(_compared, teacher=state.at(state.carry or {}))  # by the student's running averages


def _kept(momentum: Scalar | float, fraction: Scalar | float) -> Scalar:
    """Returns the share of a teacher that an update leaves, which rises to 1 by half a cosine; none of momentum 0."""
    risen = 1 - (1 - momentum) * (jnp.cos(jnp.pi * fraction) + 1) / 2
    return jnp.where(momentum > 0, risen, 0.0)


def measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Returns the metrics of held-out examples, compared as in training."""
    return two_views.measure(byol, static, config, state, batch, _with_teacher(state))


METHOD = Method(init, results.of_pretraining, update, measure, companions)

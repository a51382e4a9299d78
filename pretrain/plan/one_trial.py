"""One trial of a stage on examples that lie in memory: its beginning, and an update.

Only here is it known where examples lie. Both functions are compiled for packs, and traced to name a stage's program.
"""

from functools import partial

import jax
import jax.numpy as jnp

from pretrain.data import Dataset, Split
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras
from pretrain.learn.metrics import Batch, Images, taken
from pretrain.learn.stage import Own, Stage, StageConfig
from pretrain.learn.start import Choices, Start
from pretrain.learn.train import TrainState, Values


@partial(jax.jit, static_argnums=(0, 1), inline=True)
def begin_one(
    stage: Stage, extras: Extras, config: StageConfig, begun: Start, seed: jax.Array, images: Images
) -> tuple[TrainState, Own, Values]:
    """Returns a trial's state before the first update, its own examples, and its curves, still blank."""
    state, own = stage.begin(config, begun, seed, images, extras)
    step = partial(step_one, stage, config, seed, own, images, state)
    names = jax.eval_shape(step, jnp.int32(0))[1]
    return state, own, {name: jnp.full(stage.total_steps, jnp.nan, jnp.float32) for name in names}


@partial(jax.jit, static_argnums=0, inline=True)
def step_one(
    stage: Stage,
    config: StageConfig,
    seed: jax.Array,
    own: Own,
    images: Images,
    state: TrainState,
    index: jax.Array,
) -> tuple[TrainState, Values]:
    """Makes a trial's update of a number, on the examples that its rows name."""
    batch = taken(own.train or images.train, stage.rows(seed, index))
    held_out = own.validation or images.validation
    return stage.step(config, seed, own.prepared, state, batch, held_out, index)


def extras_of(choices: Choices, config: StageConfig) -> Extras:
    """Returns the optional parts of a program that a job has a use for."""
    return Extras(
        fits_head=choices.head_init == "ridge",
        standardises=choices.codes == "standardised",
        matches_first=getattr(config.method, "first_logit_change", 0) > 0,
    )


def parent_shapes(parent: Stage | None) -> Params | None:
    """Returns the shapes of the parameters that a stage starts from."""
    return parent.shapes if parent else None


def images_of(stage: Stage, dataset: Dataset) -> Images:
    """Returns the images in the shape in which the lowest layer reads them."""

    def shaped(split: Split) -> Batch:
        return Batch(split.inputs.reshape(len(split.inputs), *stage.stack.example), split.labels)

    return Images(*map(shaped, (dataset.train, dataset.validation, dataset.test)))

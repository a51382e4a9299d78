"""A stage, one unit of training: what its kinds, a phase, a fine-tuning and a read-out, have in common.

A stage is a frozen dataclass of what is static; it is hashable, so it names its compiled programs. Its numbers arrive
as ``numbers``, by dotted name, as ``config.split_traced`` gives them. Every method is pure and written for one trial.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pretrain.config.fields import join_traced
from pretrain.config.settings import FinetuneConfig, PretrainConfig
from pretrain.learn import train
from pretrain.learn.model import Encoder, Params, scaled
from pretrain.learn.objectives import Batch, Metrics

Numbers = Mapping[str, jax.Array | float]
_ENCODING_BLOCK = 5000


class Images(NamedTuple):
    """What all trials read: flattened uint8 images [N, pixels] and int32 labels [N] of each split."""

    train: Batch
    validation: Batch
    test: Batch


class Start(NamedTuple):
    """Where a trial's stage starts; all that its ``Start`` fields, its seed and its parent decide."""

    params: Params
    labelled: jax.Array | None = None  # [labels] int32, rows of the labelled subset
    fits_head: jax.Array | None = None  # bool: whether the head is fitted to them
    standardises: jax.Array | None = None  # bool: whether the head reads standardised codes


class Examples(NamedTuple):
    """What one trial's steps read: images, or codes of frozen layers."""

    train: Batch
    validation: Batch


@dataclasses.dataclass(frozen=True)
class Stage:
    """The static part of a stage."""

    config: PretrainConfig | FinetuneConfig  # with its traced and start fields blank
    image_size: int  # pixels
    widths: tuple[int, ...]  # of the encoder, up to the topmost layer in training
    activations: tuple[str, ...]  # of its layers

    @property
    def encoder(self) -> Encoder:
        return Encoder(self.widths, self.activations)

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        return self.n_examples // self.config.batch_size

    @property
    def steps_between_validations(self) -> int:
        return self.steps_per_epoch

    @property
    def encoded(self) -> int:
        """Encoder layers that the cached examples have been through; 0 if steps read images."""
        return self.frozen_layers if self.config.cache_codes else 0

    def blank_curves(self) -> Metrics:
        """Returns curves [total_steps] of NaN, which a run of steps fills in."""
        return {name: jnp.full(self.total_steps, jnp.nan, jnp.float32) for name in self.curve_names}

    def measured(self) -> dict[str, np.ndarray]:
        """Returns, by metric, whether each update is followed by a measurement: [total_steps] bool.

        Training metrics are measured at every update; validation metrics after the updates of ``validate_at`` and at
        the ends of epochs, or of training where its updates are counted without epochs.
        """
        updates = np.arange(1, self.total_steps + 1)
        validated = (updates % self.steps_between_validations == 0) | np.isin(updates, self.validate_at)
        always = np.ones_like(validated)
        return {name: validated if name.startswith("validation_") else always for name in self.curve_names}

    def optimizer(self, numbers: Numbers) -> optax.GradientTransformation:
        """Returns the stage's optimizer with the given numbers, which may be tracers."""
        config = join_traced(self.config, numbers)
        return train.make_optimizer(config.optimizer, config.l2, self.total_steps)

    def encoding(self, params: Params, n_layers: int) -> Callable[[jax.Array], jax.Array]:
        """Returns the function from uint8 images [..., pixels] to codes of the lowest layers [..., units]."""
        encoder = {"params": params["encoder"]}
        return lambda images: self.encoder.apply(encoder, scaled(images), 0, n_layers)

    def codes(self, params: Params, images: jax.Array, n_layers: int) -> jax.Array:
        """Returns the codes of the lowest layers: uint8 images [N, pixels] to float32 [N, units].

        The images go through in blocks, whose float copies stay small.
        """
        return jax.lax.map(
            self.encoding(params, n_layers),
            images,
            batch_size=min(len(images), _ENCODING_BLOCK),
        )


def measured_if(condition: jax.Array, measure) -> Metrics:
    """Returns ``measure()`` under a condition, and NaN otherwise, at no cost."""
    shapes = jax.eval_shape(measure)
    return jax.lax.cond(condition, measure, lambda: jax.tree.map(lambda _: jnp.full((), jnp.nan), shapes))

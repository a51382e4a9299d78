"""A stage, one unit of training: layers, a method and examples.

A stage is a frozen dataclass of what is static; it is hashable, so it names its compiled programs. Its numbers arrive
in ``config``, a pytree whose skeleton the stage holds. Every function is pure and written for one trial.
"""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pretrain.config import TrainingConfig
from pretrain.config.fields import with_values
from pretrain.learn import codes, diagnostics, stopping
from pretrain.learn.handover import handed_over
from pretrain.learn.layers import Params
from pretrain.learn.method import Extras, Method, Step
from pretrain.learn.methods import METHODS
from pretrain.learn.metrics import Batch, Images, evaluate, measured_if, taken
from pretrain.learn.optimizers import make_optimizer
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stack import Stack, stack_shapes
from pretrain.learn.start import Start
from pretrain.learn.train import TrainState, Values, init_state


class StageConfig(NamedTuple):
    """Configs that decide the arithmetic of a stage besides its stack: a pytree."""

    method: Any  # of pretrain.config.methods
    training: TrainingConfig | None = None  # None of a method in closed form


class Own(NamedTuple):
    """Inputs of one trial's updates that other trials do not share."""

    train: Batch | None  # codes of frozen layers, or the labelled subset; None where updates read all images
    validation: Batch | None  # codes of frozen layers; None where updates read the images
    prepared: Any  # by the method


@dataclasses.dataclass(frozen=True)
class Stage:
    """The static part of a stage."""

    name: str  # as in pretrain/0 or finetune
    stack: Stack
    config: StageConfig  # its skeleton: without numbers
    n_examples: int = 0  # unlabelled images, or labelled ones where the method reads labels
    steps_before: int = 0  # updates that Adam counts as made
    whitens: bool = False  # the codes that a head reads, which decides the shapes of its parameters

    @property
    def method(self) -> Method:
        """The method's functions."""
        return METHODS[type(self.config.method)]

    @property
    def is_last(self) -> bool:
        """Whether the stage ends a trial, with a classifier."""
        return self.stack.head is not None

    @property
    def is_greedy(self) -> bool:
        """Whether the topmost layer alone is pretrained."""
        return not self.is_last and self.stack.start == self.stack.top

    @property
    def steps_per_epoch(self) -> int:
        return self.n_examples // self.config.training.batch_size

    @property
    def total_steps(self) -> int:
        training = self.config.training
        return (training.updates or training.epochs * self.steps_per_epoch) if training else 1

    @property
    def without_length(self) -> "Stage":
        """The stage but for the number of its epochs or updates."""
        training = with_values(self.config.training, {"epochs": 0, "updates": 0})
        return dataclasses.replace(self, config=self.config._replace(training=training))

    @property
    def stops_early(self) -> bool:
        """Whether training may end before its last update."""
        return self.config.training is not None and self.config.training.stop == "validation"

    def has_stopped(self, state: TrainState) -> jax.Array:
        """Returns whether a trial that may end early has ended."""
        return stopping.has_stopped(state.stopping, self.config.training.patience)

    @property
    def shapes(self) -> Params:
        """The shapes of the parameters that a stage of pretraining leaves."""
        return stack_shapes(self.stack)

    @property
    def trained_layers(self) -> tuple[str, ...]:
        """Paths of the encoder layers in training, and of the head, from the images up."""
        shapes = self.stack.shapes
        with_params = (layer for layer in range(self.stack.start, len(shapes)) if shapes[layer].params)
        layers = (f"encoder/layers_{layer}" for layer in with_params)
        return (*layers, "head") if self.is_last else tuple(layers)

    def measured(self, names: Iterable[str]) -> dict[str, np.ndarray]:
        """Returns, by metric, whether each update is followed by a measurement: [total_steps] bool.

        Training metrics are measured at every update; validation metrics after the updates of ``validate_at``, at the
        end, and every ``validate_every`` updates, or at the ends of epochs, unless updates are counted without epochs.
        """
        updates, method = np.arange(1, self.total_steps + 1), self.config.method
        masks = {name: np.ones_like(updates, bool) for name in names}
        diagnosed = diagnostics.names(self.trained_layers) if self.is_last else ()
        for name in names:
            if name.startswith("validation_") and self.config.training:
                masks[name] = self._validated()
            if name in diagnosed:
                masks[name] = np.isin(updates, method.diagnose_at)
        return masks

    @property
    def n_validations(self) -> int:
        """How many updates are followed by a measurement of held-out examples."""
        return int(self._validated().sum()) if self.config.training else 0

    def _validated(self) -> np.ndarray:
        training, updates = self.config.training, np.arange(1, self.total_steps + 1)
        between = training.validate_every or training.updates or min(self.total_steps, self.steps_per_epoch)
        at_ends = (updates % between == 0) | (updates == self.total_steps)
        return at_ends | np.isin(updates, getattr(self.config.method, "validate_at", ()))

    def as_started(self) -> tuple[Stack, type]:
        """Returns all that decides its start besides choices; stages that differ elsewhere share that program."""
        stack = dataclasses.replace(self.stack, start=0, encoded=0) if self.is_last else self.stack
        return stack, type(self.config.method)

    def begin(
        self, config: StageConfig, begun: Start, seed: jax.Array, images: Images, extras: Extras
    ) -> tuple[TrainState, Own]:
        """Returns the state before the first update, and what this trial's updates are given."""
        stack, params = self.stack, begun.params
        if self.is_last:
            params = handed_over(stack, begun, images, getattr(config.method, "ridge_penalty", 0.0), extras)
        own = Own(self._own_examples(params, images.train, begun.labelled), None, None)
        if stack.encoded:
            own = own._replace(validation=self._encoded(params, images.validation))
        if self.config.training is None:
            return TrainState(params, {}, ()), own
        optimizer = partial(self.optimizer, config)
        state = init_state(params, self.trainable(), optimizer(), self.steps_before)
        examples, held_out = own.train or images.train, self._without_labels(own.validation or images.validation)
        batch = taken(self._without_labels(examples), self._first_rows(seed))
        state, prepared = self.method.prepare(stack, config.method, optimizer, state, batch, held_out, extras)
        if self.stops_early:
            state = state._replace(stopping=stopping.at_start(state.trainable))
        return state, own._replace(prepared=prepared)

    def rows(self, seed: jax.Array, index: jax.Array) -> jax.Array | None:
        """Returns the examples of an update's batch, a function of seed and update alone: [batch_size] int32.

        None of a method in closed form, whose batch is all of them.
        """
        training = self.config.training
        if training is None:
            return None
        return batch_rows(self._key(seed, 0), index, self.n_examples, training.batch_size, training.sampling)

    def step(
        self,
        config: StageConfig,
        seed: jax.Array,
        prepared: Any,
        state: TrainState,
        batch: Batch,
        held_out: Batch,
        index: jax.Array,
    ) -> tuple[TrainState, Values]:
        """Makes the update of a number from its batch, and measures held-out examples where that is due.

        A trial that has stopped is left as it is, and its values are NaN.
        """
        batch, held_out = self._without_labels(batch), self._without_labels(held_out)
        if self.config.training is None:
            params, values = self.method.fit(self.stack, config.method, state.trainable, batch, held_out)
            return state._replace(trainable=params), values
        if not self.stops_early:
            return self._advance(config, seed, prepared, state, batch, held_out, index)

        def advance(state: TrainState) -> tuple[TrainState, Values]:
            before, is_measured = state.stopping, jnp.asarray(self._validated())[index]
            state, values = self._advance(config, seed, prepared, state, batch, held_out, index)
            noted = stopping.noted(before, state.trainable, values["validation_loss"], is_measured)
            return state._replace(stopping=noted), values

        return stopping.unless(self.has_stopped(state), advance, state)

    def _advance(
        self, config: StageConfig, seed: jax.Array, prepared: Any, state: TrainState, batch, held_out, index
    ) -> tuple[TrainState, Values]:
        given = (batch, held_out, index)
        state, values = self.update(config, seed, prepared, state, *given, lambda index: index / self.total_steps)
        measure = partial(self.method.measure, self.stack, config.method, state.params)
        held = measured_if(jnp.asarray(self._validated())[index], lambda: evaluate(measure, held_out))
        return state, values | {f"validation_{name}": value for name, value in held.items()}

    def update(
        self,
        config: StageConfig,
        seed: jax.Array,
        prepared: Any,
        state: TrainState,
        batch: Batch,
        held_out: Batch,
        index: jax.Array,
        progress: Callable[[jax.Array], jax.Array],
    ) -> tuple[TrainState, Values]:
        """Makes the update of a number, given what fraction of the updates is made before it, and measures nothing."""
        keys = [jax.random.fold_in(self._key(seed, draw), index) for draw in (1, 2)]
        step = Step(index, progress(index), *keys, held_out, prepared)
        optimizer = partial(self.optimizer, config)
        return self.method.update(self.stack, config.method, optimizer, state, batch, step)

    @property
    def result_names(self) -> dict[str, str]:
        """The beginning of the names of its results, by split.

        A method in closed form leaves no curves, and so is measured on validation images, too.
        """
        if not self.is_last:
            return {name: f"pretrain_{name}_" for name in ("validation", "test")} if self.stack.reconstructs else {}
        return {name: f"{name}_" for name in (("test",) if self.config.training else ("validation", "test"))}

    @property
    def measured_splits(self) -> tuple[str, ...]:
        """The held-out splits on which it is measured, or predicts, when it ends."""
        return ("validation", "test") if self.is_last else tuple(self.result_names)

    def as_left(self) -> tuple[Stack, type]:
        """Returns all that decides ``results``; stages that differ elsewhere share that program."""
        return dataclasses.replace(self.stack, start=0, encoded=0), type(self.config.method)

    def optimizer(self, config: StageConfig, factor: jax.Array | float = 1.0) -> optax.GradientTransformation:
        """Returns the stage's optimizer, with a factor on its rate."""
        return make_optimizer(config.training.optimizer, config.training.l2, self.total_steps, factor)

    def _first_rows(self, seed: jax.Array) -> jax.Array:
        """Returns the rows that a method prepares its first update with: the batch of it, or the first ones."""
        return self.rows(seed, jnp.int32(0)) if self.is_last else jnp.arange(self.config.training.batch_size)

    def _own_examples(self, params: Params, train: Batch, labelled: jax.Array | None) -> Batch | None:
        """Returns the labelled subset, or codes of frozen layers; None where updates read all images."""
        train = self._without_labels(train)
        if labelled is not None:
            train = taken(train, labelled)
        elif not self.stack.encoded:
            return None
        return self._encoded(params, train) if self.stack.encoded else train

    def _encoded(self, params: Params, split: Batch) -> Batch:
        """Returns a split whose images are the codes of the frozen layers."""
        split = self._without_labels(split)
        return split._replace(inputs=codes.in_blocks(self.stack.encoding(params, self.stack.encoded), split.inputs))

    def _without_labels(self, batch: Batch) -> Batch:
        """Returns a batch as the stage's method may see it."""
        return batch if self.config.method.reads_labels else batch._replace(labels=None)

    def _key(self, seed: jax.Array, draw: int) -> jax.Array:
        """Returns the key of batches (0), of noise (1) or of samples (2)."""
        if self.is_last:
            purposes = (Purpose.FINETUNE_BATCHES, Purpose.CORRUPTION, Purpose.SAMPLING)
            return key_for(seed, purposes[draw], len(self.stack.layers) + 1 if draw else 0)
        # All layers at once come after the topmost, and draw anew.
        place = self.stack.top if self.is_greedy else len(self.stack.layers)
        return key_for(seed, (Purpose.PRETRAIN_BATCHES, Purpose.CORRUPTION, Purpose.SAMPLING)[draw], place)

    def trainable(self) -> frozenset[str]:
        """Returns the paths of the parameters in training."""
        if self.is_last:
            return frozenset(self.trained_layers)
        stack, shapes, trained = self.stack, self.shapes, set()
        for number in range(stack.start, len(stack.layers)):
            name = f"layers_{number}"
            trained |= {f"encoder/{name}/{leaf}" for leaf in shapes["encoder"][name]}
            for side, companion in stack.companions[number]:
                if number == stack.top or companion.joins_deep:
                    leaves = shapes[side][name].keys() - ({"variance"} if companion.kernel == "scaled" else set())
                    trained |= {f"{side}/{name}/{leaf}" for leaf in leaves}
        return frozenset(trained)

"""Supervised fine-tuning: a linear head, and the encoder layers that are not frozen."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pretrain.learn import diagnostics, handover, objectives, train
from pretrain.learn.handover import Choices
from pretrain.learn.model import Layer, Params, scaled
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stage import Images, Numbers, Stage, Start, measured_if
from pretrain.learn.train import Objective, TrainState

_PROBES = 1000  # held-out images on which codes are diagnosed


class Own(NamedTuple):
    """What one trial's steps read."""

    train: Batch  # the labelled subset: images, or codes of frozen layers
    validation: Batch | None  # codes of frozen layers; None where steps read the images that all trials share
    first_scale: jax.Array  # factor on the first update
    initial_codes: jax.Array | None  # [probes, units], if anything is diagnosed


@dataclasses.dataclass(frozen=True)
class Finetune(Stage):
    """Training of a classifier on the labelled subset."""

    n_classes: int
    whitens: bool = False  # whether the head reads whitened codes; what it reads decides the parameters' shapes

    name = "finetune"

    @property
    def curve_names(self) -> tuple[str, ...]:
        always = ("loss", "pre_update_accuracy", "post_update_accuracy", "validation_accuracy", "validation_loss")
        return (*always, *(diagnostics.names(self.trained_layers) if self.config.diagnose_at else ()))

    def measured(self) -> dict[str, np.ndarray]:
        found = super().measured()
        if self.config.diagnose_at:
            diagnosed = np.isin(np.arange(1, self.total_steps + 1), self.config.diagnose_at)
            found |= dict.fromkeys(diagnostics.names(self.trained_layers), diagnosed)
        return found

    @property
    def n_examples(self) -> int:
        return self.config.labels

    @property
    def total_steps(self) -> int:
        return self.config.updates or super().total_steps

    @property
    def steps_between_validations(self) -> int:
        return self.config.updates or super().steps_between_validations

    @property
    def frozen_layers(self) -> int:
        return self.config.frozen_layers

    @property
    def validate_at(self) -> tuple[int, ...]:
        return self.config.validate_at

    @property
    def head(self) -> Layer:
        return Layer(self.n_classes)

    @property
    def trained_layers(self) -> tuple[str, ...]:
        """Paths of the parameters that are trained, from the images up."""
        return (*(f"encoder/layers_{layer}" for layer in range(self.frozen_layers, len(self.widths))), "head")

    def start(self, seed: int, parent: Params | None, labels: jax.Array, choices: Choices) -> Start:
        """Returns the encoder, a head and the labelled subset, as ``handover.start`` does."""
        return handover.start(seed, parent, labels, choices, self, self.config.labels, self.n_classes)

    def begin(self, start: Start, numbers: Numbers, seed: jax.Array, images: Images) -> tuple[TrainState, Own]:
        """Returns the state before the first update, and what this trial's steps read."""
        labelled = jax.tree.map(lambda leaf: leaf[start.labelled], images.train)
        params = handover.handed_over(self, start, labelled, images, numbers["ridge_penalty"])
        state = train.init_state(params, frozenset(self.trained_layers), self.optimizer(numbers))
        own = Own(labelled, None, jnp.ones(()), None)
        if self.encoded:
            splits = (labelled, images.validation)
            coded = [Batch(self.codes(params, split.inputs, self.encoded), split.labels) for split in splits]
            own = own._replace(train=coded[0], validation=coded[1])
        if self.config.diagnose_at:
            own = own._replace(initial_codes=self._probe_codes(own.validation or images.validation, params))
        target, batch = numbers["first_logit_change"], self._batch(seed, jnp.int32(0), own)
        step = (state, batch, self.logits, self.objective, self._optimizer_at(numbers, jnp.int32(0)))
        scale = jax.lax.cond(target > 0, lambda: train.scale_to(target, *step), lambda: jnp.ones(()))
        return state, own._replace(first_scale=scale)

    def step(self, numbers: Numbers, seed: jax.Array, images: Images, own: Own) -> Callable:
        """Returns the update that ``train.run_steps`` repeats; it measures the batch before and after."""
        objective, rate = self.objective, numbers["optimizer.learning_rate"]
        held_out = own.validation or images.validation
        measured = {name: jnp.asarray(when) for name, when in self.measured().items()}

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            batch = self._batch(seed, index, own)
            scaled_rate = rate * jnp.where(index == 0, own.first_scale, 1)
            optimizer = self._optimizer_at({**numbers, "optimizer.learning_rate": scaled_rate}, index)
            diagnosed = {}
            if self.config.diagnose_at:
                encode = partial(self._probe_codes, held_out)
                step = (state, batch, self.logits, objective, optimizer, encode, own.initial_codes)
                diagnosed = measured_if(measured["logit_change"][index], lambda: diagnostics.diagnose(*step))
            state, before = train.train_step(state, batch, objective, optimizer)
            after = train.eval_step(state.params, batch, objective)
            is_validated = measured["validation_loss"][index]
            validation = measured_if(is_validated, lambda: train.evaluate(state.params, held_out, objective))
            return state, diagnosed | {
                "loss": before["loss"],
                "pre_update_accuracy": before["accuracy"],
                "post_update_accuracy": after["accuracy"],
                "validation_accuracy": validation["accuracy"],
                "validation_loss": validation["loss"],
            }

        return step

    def _optimizer_at(self, numbers: Numbers, index: jax.Array) -> optax.GradientTransformation:
        """Returns the optimizer of an update: encoder layers join in when they are due, each at its own rate."""
        depth = len(self.widths)
        joined, factors = (jnp.broadcast_to(numbers[name], depth) for name in ("unfreeze_at", "rate_factor"))
        scales = jnp.where(index >= joined, factors, 0)
        return train.scaled_by_layer(
            self.optimizer(numbers), {f"layers_{layer}": scales[layer] for layer in range(depth)}
        )

    def _batch(self, seed: jax.Array, index: jax.Array, own: Own) -> Batch:
        """Returns the batch of an update."""
        key = key_for(seed, Purpose.FINETUNE_BATCHES)
        rows = batch_rows(key, index, self.n_examples, self.config.batch_size, self.config.sampling)
        return jax.tree.map(lambda leaf: leaf[rows], own.train)

    def _probe_codes(self, held_out: Batch, params: Params) -> jax.Array:
        """Returns the codes by which the encoder is diagnosed, of the first held-out images: [N, units]."""
        inputs = scaled(held_out.inputs[:_PROBES])
        return self.encoder.apply({"params": params["encoder"]}, inputs, self.encoded)

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns accuracy (fraction) and cross-entropy (nats) on the test images."""
        objective = partial(objectives.classification, encoder=self.encoder, head=self.head, encoded=0)
        measured = train.evaluate(params, images.test, objective)
        return {"test_accuracy": measured["accuracy"], "test_loss": measured["loss"]}

    @property
    def objective(self) -> Objective:
        """The classifier's objective, of parameters and a batch."""
        return partial(objectives.classification, encoder=self.encoder, head=self.head, encoded=self.encoded)

    @property
    def logits(self) -> Callable[[Params, jax.Array], jax.Array]:
        """The classifier's logits, of parameters and inputs."""
        return partial(objectives.classifier_logits, encoder=self.encoder, head=self.head, encoded=self.encoded)

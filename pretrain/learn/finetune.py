"""Supervised fine-tuning: a linear head, and the encoder layers that are not frozen."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn import objectives, train
from pretrain.learn.model import Layer, Params
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import Purpose, batch_rows, key_for, label_subset
from pretrain.learn.stage import Examples, Images, Numbers, Stage, Start, measured_if
from pretrain.learn.train import Objective, TrainState
from pretrain.learn.transfer import copied, fresh_layer, stack_shapes


@dataclasses.dataclass(frozen=True)
class Finetune(Stage):
    """Training of a classifier on the labelled subset."""

    n_classes: int

    name = "finetune"
    curve_names = ("loss", "pre_update_accuracy", "post_update_accuracy", "validation_accuracy", "validation_loss")

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
    def parent_shapes(self) -> Params:
        """The parameters that the last phase hands over, if there is one."""
        return stack_shapes((self.image_size, *self.widths))

    def start(self, seed: int, parent: Params | None, labels: jax.Array, label_method: str) -> Start:
        """Returns the parent's encoder, or a fresh one without a parent, a fresh head, and the labelled subset.

        Args:
          seed: the trial's seed.
          parent: parameters of the last phase; its decoder stays behind.
          labels: of all training images [N].
          label_method: how the labelled subset is chosen.
        """
        sizes = (self.image_size, *self.widths)
        if parent:
            encoder = copied(self.parent_shapes["encoder"], parent["encoder"])
        else:
            layers = enumerate(zip(sizes[1:], sizes, strict=False))
            keys = [key_for(seed, Purpose.ENCODER_INIT, index) for index in range(len(self.widths))]
            encoder = {f"layers_{index}": fresh_layer(*layer, keys[index]) for index, layer in layers}
        head = fresh_layer(self.n_classes, self.widths[-1], key_for(seed, Purpose.HEAD_INIT))
        key = key_for(seed, Purpose.LABEL_SUBSET)
        rows = label_subset(key, labels, self.config.labels, label_method, self.n_classes)
        return Start({"encoder": encoder, "head": head}, rows)

    def begin(self, start: Start, numbers: Numbers, images: Images) -> tuple[TrainState, Examples]:
        """Returns the state before the first update, and this trial's own examples."""
        layers = range(self.frozen_layers, len(self.widths))
        trainable = frozenset({"head", *(f"encoder/layers_{layer}" for layer in layers)})
        state = train.init_state(start.params, trainable, self.optimizer(numbers))
        labelled = jax.tree.map(lambda leaf: leaf[start.labelled], images.train)
        if not self.encoded:
            return state, Examples(labelled, None)
        splits = (labelled, images.validation)
        return state, Examples(*(Batch(self.codes(start.params, split.inputs), split.labels) for split in splits))

    def step(self, numbers: Numbers, seed: jax.Array, images: Images, own: Examples) -> Callable:
        """Returns the update that ``train.run_steps`` repeats; it measures the batch before and after."""
        key = key_for(seed, Purpose.FINETUNE_BATCHES)
        optimizer, objective = self.optimizer(numbers), self.objective
        validated = jnp.asarray(self.measured()["validation_loss"])
        held_out = own.validation or images.validation

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            rows = batch_rows(key, index, self.n_examples, self.config.batch_size, self.config.sampling)
            batch = jax.tree.map(lambda leaf: leaf[rows], own.train)
            state, before = train.train_step(state, batch, objective, optimizer)
            after = train.eval_step(state.params, batch, objective)
            validation = measured_if(validated[index], lambda: train.evaluate(state.params, held_out, objective))
            return state, {
                "loss": before["loss"],
                "pre_update_accuracy": before["accuracy"],
                "post_update_accuracy": after["accuracy"],
                "validation_accuracy": validation["accuracy"],
                "validation_loss": validation["loss"],
            }

        return step

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns accuracy (fraction) and cross-entropy (nats) on the test images."""
        objective = partial(objectives.classification, encoder=self.encoder, head=self.head, encoded=0)
        measured = train.evaluate(params, images.test, objective)
        return {"test_accuracy": measured["accuracy"], "test_loss": measured["loss"]}

    @property
    def objective(self) -> Objective:
        """The classifier's objective, of parameters and a batch."""
        return partial(objectives.classification, encoder=self.encoder, head=self.head, encoded=self.encoded)

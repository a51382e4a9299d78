"""A greedy pretraining phase: one encoder layer and its decoder, the layers below frozen (Bengio et al., 2007)."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn import objectives, train
from pretrain.learn.model import Params
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stage import Examples, Images, Numbers, Stage, Start, measured_if
from pretrain.learn.train import Objective, TrainState
from pretrain.learn.transfer import copied, fresh_layer, stack_shapes


@dataclasses.dataclass(frozen=True)
class Phase(Stage):
    """Training of the topmost layer of ``widths`` to reconstruct what it reads."""

    n_examples: int  # unlabelled images

    curve_names = ("mse", "validation_mse")
    validate_at = ()

    @property
    def name(self) -> str:
        return f"pretrain/{self.frozen_layers}"

    @property
    def frozen_layers(self) -> int:
        return len(self.widths) - 1

    @property
    def parent_shapes(self) -> Params:
        """The parameters that the phase below hands over."""
        return stack_shapes((self.image_size, *self.widths[:-1]))

    def start(self, seed: int, parent: Params | None, labels: jax.Array, choices: Mapping[str, str]) -> Start:
        """Returns the parent's parameters with a fresh encoder and decoder layer added.

        Labels play no part, and there is nothing to choose.
        """
        *_, below, above = (self.image_size, *self.widths)
        layer = f"layers_{self.frozen_layers}"
        fresh = {
            "encoder": {layer: fresh_layer(above, below, key_for(seed, Purpose.ENCODER_INIT, self.frozen_layers))},
            "decoder": {layer: fresh_layer(below, above, key_for(seed, Purpose.DECODER_INIT, self.frozen_layers))},
        }
        inherited = copied(self.parent_shapes, parent or {})
        return Start({side: {**inherited.get(side, {}), **fresh[side]} for side in fresh})

    def begin(
        self, start: Start, numbers: Numbers, seed: jax.Array, images: Images
    ) -> tuple[TrainState, Examples | None]:
        """Returns the state before the first update, and this trial's own examples if codes are cached."""
        trainable = frozenset(f"{side}/layers_{self.frozen_layers}" for side in ("encoder", "decoder"))
        made_before = self.frozen_layers * self.total_steps if self.config.carry_step_count else 0
        state = train.init_state(start.params, trainable, self.optimizer(numbers), made_before)
        if not self.encoded:
            return state, None
        splits = (images.train, images.validation)
        return state, Examples(*(Batch(self.codes(start.params, split.inputs, self.encoded)) for split in splits))

    def step(self, numbers: Numbers, seed: jax.Array, images: Images, own: Examples | None) -> Callable:
        """Returns the update that ``train.run_steps`` repeats."""
        examples = own or images
        key = key_for(seed, Purpose.PRETRAIN_BATCHES, self.frozen_layers)
        optimizer, objective = self.optimizer(numbers), self.objective
        validated = jnp.asarray(self.measured()["validation_mse"])
        held_out = Batch(examples.validation.inputs)

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            rows = batch_rows(key, index, self.n_examples, self.config.batch_size, self.config.sampling)
            state, metrics = train.train_step(state, Batch(examples.train.inputs[rows]), objective, optimizer)
            validation = measured_if(validated[index], lambda: train.evaluate(state.params, held_out, objective))
            return state, {"mse": metrics["mse"], "validation_mse": validation["mse"]}

        return step

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns the end-to-end reconstruction error of the stack so far, mean over images and pixels, by split."""
        objective = partial(objectives.end_to_end_reconstruction, encoder=self.encoder, decoder=self.decoder)
        splits = {"pretrain_validation_mse": images.validation, "pretrain_test_mse": images.test}
        return {name: train.evaluate(params, Batch(split.inputs), objective)["mse"] for name, split in splits.items()}

    @property
    def objective(self) -> Objective:
        """The phase's objective, of parameters and a batch."""
        stack = {"encoder": self.encoder, "decoder": self.decoder}
        return partial(objectives.reconstruction, **stack, layer=self.frozen_layers, encoded=self.encoded)

"""A greedy pretraining phase: one encoder layer and its decoder, the layers below frozen (Bengio et al., 2007)."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp

from pretrain.config import ObjectiveConfig
from pretrain.fields import join_traced, split_traced
from pretrain.learn import objectives, train
from pretrain.learn.corruption import corrupted
from pretrain.learn.model import Decoder, Params
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stage import Examples, Images, Numbers, Stage, Start, measured_if
from pretrain.learn.train import Objective, TrainState
from pretrain.learn.transfer import copied, fresh_layer, stack_shapes


@dataclasses.dataclass(frozen=True)
class Phase(Stage):
    """Training of the topmost layer of ``widths`` to reconstruct what it reads."""

    n_examples: int  # unlabelled images
    output: str = "identity"  # activation of reconstructed images
    tied: bool = False

    validate_at = ()

    @property
    def curve_names(self) -> tuple[str, ...]:
        # Where the loss is the error, it is not told twice.
        is_error = self.config.objective == split_traced(ObjectiveConfig(tied=self.tied))[0]
        return ("mse", "validation_mse") if is_error else ("mse", "validation_mse", "loss")

    @property
    def decoder(self) -> Decoder:
        return Decoder((self.image_size, *self.widths[:-1]), self.activation, self.output)

    @property
    def name(self) -> str:
        return f"pretrain/{self.frozen_layers}"

    @property
    def frozen_layers(self) -> int:
        return len(self.widths) - 1

    @property
    def parent_shapes(self) -> Params:
        """The parameters that the phase below hands over."""
        return stack_shapes((self.image_size, *self.widths[:-1]), self.tied)

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
        if self.tied:
            del fresh["decoder"][layer]["kernel"]
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
        optimizer, clean = self.optimizer(numbers), self.objective(numbers)
        noise = key_for(seed, Purpose.CORRUPTION, self.frozen_layers)
        validated = jnp.asarray(self.measured()["validation_mse"])
        held_out = Batch(examples.validation.inputs)

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            rows = batch_rows(key, index, self.n_examples, self.config.batch_size, self.config.sampling)
            objective = self.objective(numbers, jax.random.fold_in(noise, index), index / self.total_steps)
            state, metrics = train.train_step(state, Batch(examples.train.inputs[rows]), objective, optimizer)
            validation = measured_if(validated[index], lambda: train.evaluate(state.params, held_out, clean))
            return state, {**metrics, "validation_mse": validation["mse"]}

        return step

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns the end-to-end reconstruction error of the stack so far, mean over images and pixels, by split."""
        objective = partial(objectives.end_to_end_reconstruction, encoder=self.encoder, decoder=self.decoder)
        splits = {"pretrain_validation_mse": images.validation, "pretrain_test_mse": images.test}
        return {name: train.evaluate(params, Batch(split.inputs), objective)["mse"] for name, split in splits.items()}

    def objective(self, numbers: Numbers, key: jax.Array | None = None, progress: jax.Array | float = 0.0) -> Objective:
        """Returns the phase's objective, of parameters and a batch.

        Args:
          numbers: the stage's numbers, which may be tracers.
          key: of the corruption; without one, inputs stay clean.
          progress: fraction of the phase's updates made before.
        """
        config = join_traced(self.config, numbers).objective
        level = config.corruption_level * (1 - progress if config.corruption_schedule == "linear" else 1)
        kind = "none" if key is None else config.corruption
        return partial(
            objectives.reconstruction,
            encoder=self.encoder,
            decoder=self.decoder,
            layer=self.frozen_layers,
            encoded=self.encoded,
            objective=config,
            corrupt=partial(corrupted, key=key, kind=kind, level=level),
        )

"""A phase of pretraining: one encoder layer and its counterpart, or all at once, the layers below frozen."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial

import jax
import jax.numpy as jnp
import optax

from pretrain.config.fields import join_traced, split_traced
from pretrain.config.settings import ObjectiveConfig
from pretrain.learn import objectives, rbm, train
from pretrain.learn.codes import principal_components
from pretrain.learn.corruption import corrupted
from pretrain.learn.model import Counterpart, Decoder, Layer, Params, scaled
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.randomness import Purpose, batch_rows, key_for, label_subset, normal
from pretrain.learn.stage import Examples, Images, Numbers, Stage, Start, measured_if
from pretrain.learn.train import Objective, TrainState
from pretrain.learn.transfer import copied, fresh_stack_layer, layer_shapes, stack_shapes

_RECONSTRUCTION = ("mse", "validation_mse")
_CLASSIFICATION = ("loss", "accuracy", "validation_loss", "validation_accuracy")


@dataclasses.dataclass(frozen=True)
class Phase(Stage):
    """Training of the layers of ``widths`` from ``frozen_layers`` up: greedily of the topmost alone."""

    n_examples: int  # unlabelled images, or labelled ones where the layer is trained on labels
    counterparts: tuple[Counterpart, ...]  # of all layers
    frozen_layers: int
    n_classes: int = 0  # that counterparts tell
    made_before: int = 0  # updates that Adam counts as made

    validate_at = ()

    @property
    def kind(self) -> str:
        """The kind of the objective."""
        return self.config.objective.kind

    @property
    def is_greedy(self) -> bool:
        return self.frozen_layers == self.top

    @property
    def top(self) -> int:
        """The topmost layer."""
        return len(self.widths) - 1

    @property
    def reconstructs(self) -> bool:
        """Whether the stack turns its codes back into images."""
        return all(counterpart.decoder != "none" for counterpart in self.counterparts)

    @property
    def total_steps(self) -> int:
        return 1 if self.kind == "pca" else super().total_steps

    @property
    def steps_between_validations(self) -> int:
        return min(self.total_steps, super().steps_between_validations)

    @property
    def curve_names(self) -> tuple[str, ...]:
        if self.kind == "supervised":
            return _CLASSIFICATION
        # Where the loss is the error, it is not told twice.
        plain = ObjectiveConfig(tied=self.config.objective.tied)
        is_error = self.kind == "pca" or self.config.objective == split_traced(plain)[0]
        return _RECONSTRUCTION if is_error else (*_RECONSTRUCTION, "loss")

    @property
    def decoder(self) -> Decoder:
        sizes = (self.image_size, *self.widths[:-1])
        return Decoder(sizes, tuple(counterpart.output for counterpart in self.counterparts))

    @property
    def name(self) -> str:
        return f"pretrain/{self.frozen_layers}" if self.is_greedy else "pretrain/all"

    @property
    def shapes(self) -> Params:
        return stack_shapes((self.image_size, *self.widths), self.counterparts, self.n_classes)

    def start(self, seed: int, parent: Params | None, labels: jax.Array, choices: Mapping[str, str]) -> Start:
        """Returns the parent's parameters, and fresh ones of the layers that it has not.

        Args:
          seed: the trial's seed.
          parent: parameters of the phase before, which are of the lowest layers, or of all.
          labels: of all training images [N].
          choices: how the labelled subset is drawn, where the layer is trained on labels.
        """
        inherited: Params = {side: dict(layers) for side, layers in (parent or {}).items()}
        sizes = (self.image_size, *self.widths)
        lowest = self.frozen_layers if self.is_greedy or parent is None else len(self.widths)
        for layer in range(lowest, len(self.widths)):
            keys = {"encoder": key_for(seed, Purpose.ENCODER_INIT, layer)}
            keys |= dict.fromkeys(("decoder", "classifier"), key_for(seed, Purpose.DECODER_INIT, layer))
            shapes = layer_shapes(sizes[layer], sizes[layer + 1], self.counterparts[layer], self.n_classes)
            for side, fresh in fresh_stack_layer(shapes, keys).items():
                inherited.setdefault(side, {})[f"layers_{layer}"] = fresh
        params = copied(self.shapes, inherited)
        if self.kind != "supervised":
            return Start(params)
        key = key_for(seed, Purpose.LABEL_SUBSET)
        return Start(params, label_subset(key, labels, self.n_examples, choices["label_subset"], self.n_classes))

    def begin(
        self, start: Start, numbers: Numbers, seed: jax.Array, images: Images
    ) -> tuple[TrainState, Examples | None]:
        """Returns the state before the first update, and this trial's own examples if it does not read the images."""
        params, own = self._with_variance(start.params, numbers), None
        state = train.init_state(params, self._trainable(), self.optimizer(numbers), self.made_before)
        if self.encoded or self.kind == "supervised":
            train_split = images.train
            if self.kind == "supervised":
                train_split = jax.tree.map(lambda leaf: leaf[start.labelled], train_split)
            own = Examples(*(self._cached(params, split) for split in (train_split, images.validation)))
        if self.kind == "rbm" and self.config.objective.persistent:
            first = (own or images).train.inputs[: self.config.batch_size]
            state = state._replace(chains=self._read(params, first))
        return state, own

    def step(self, numbers: Numbers, seed: jax.Array, images: Images, own: Examples | None) -> Callable:
        """Returns the update that ``train.run_steps`` repeats."""
        examples = own or images
        held_out = examples.validation if self.kind == "supervised" else Batch(examples.validation.inputs)
        if self.kind == "pca":
            return partial(self._fit_components, examples.train.inputs, held_out)
        # All layers at once come after the topmost, and draw anew.
        place = self.top if self.is_greedy else len(self.widths)
        purposes = (Purpose.PRETRAIN_BATCHES, Purpose.CORRUPTION, Purpose.SAMPLING)
        key, noise, drawn = (key_for(seed, purpose, place) for purpose in purposes)
        optimizer, clean = self.optimizer(numbers), self.objective(numbers)
        validated = jnp.asarray(self.measured()[self._validation_names[0]])

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            rows = batch_rows(key, index, self.n_examples, self.config.batch_size, self.config.sampling)
            labels = examples.train.labels[rows] if self.kind == "supervised" else None
            batch = Batch(examples.train.inputs[rows], labels)
            keys = (jax.random.fold_in(noise, index), jax.random.fold_in(drawn, index))
            if self.kind == "rbm":
                state, metrics = self._contrast(state, batch, keys[1], optimizer)
            else:
                objective = self.objective(numbers, keys, index / self.total_steps)
                state, metrics = train.train_step(state, batch, objective, optimizer)
            held = measured_if(validated[index], lambda: train.evaluate(state.params, held_out, clean))
            validation = {name: held[name.removeprefix("validation_")] for name in self._validation_names}
            return state, {**metrics, **validation}

        return step

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns the end-to-end reconstruction error of the stack so far, mean over images and pixels, by split.

        There is none where a layer's counterpart is a classifier.
        """
        if not self.reconstructs:
            return {}
        whole = {"encoder": self.encoder, "decoder": self.decoder, "layer": 0, "encoded": 0}
        objective = partial(objectives.reconstruction, **whole, objective=ObjectiveConfig())
        splits = {"pretrain_validation_mse": images.validation, "pretrain_test_mse": images.test}
        return {name: train.evaluate(params, Batch(split.inputs), objective)["mse"] for name, split in splits.items()}

    def objective(
        self,
        numbers: Numbers,
        keys: tuple[jax.Array, jax.Array] | None = None,
        progress: jax.Array | float = 0.0,
    ) -> Objective:
        """Returns the phase's objective, of parameters and a batch; of an rbm, how well it reconstructs.

        Args:
          numbers: the stage's numbers, which may be tracers.
          keys: of the corruption, and of the noise of variational codes; without them, nothing is random.
          progress: fraction of the phase's updates made before.
        """
        shared = {"encoder": self.encoder, "encoded": self.encoded, "layer": self.frozen_layers}
        if self.kind == "supervised":
            return partial(objectives.supervised_layer, **shared, classifier=Layer(self.n_classes))
        if self.kind != "reconstruction":
            return partial(objectives.reconstruction, **shared, decoder=self.decoder, objective=ObjectiveConfig())
        config, noise = join_traced(self.config, numbers).objective, {}
        if keys:
            level = config.corruption_level * (1 - progress if config.corruption_schedule == "linear" else 1)
            noise["corrupt"] = partial(corrupted, key=keys[0], kind=config.corruption, level=level)
            noise["draw"] = partial(normal, keys[1])
        return partial(objectives.reconstruction, **shared, decoder=self.decoder, objective=config, **noise)

    def _contrast(
        self, state: TrainState, batch: Batch, key: jax.Array, optimizer: optax.GradientTransformation
    ) -> tuple[TrainState, Metrics]:
        """Makes an update of contrastive divergence, by samples that start at the batch or go on where they were."""
        config, params = self.config.objective, state.params
        before = self.objective({})(params, batch)[1]
        chains = state.chains if config.persistent else self._read(params, batch.inputs)
        samples = rbm.gibbs(rbm.machine(params, self.top), chains, key, config.gibbs_steps)
        shared = {"encoder": self.encoder, "encoded": self.encoded, "layer": self.top}
        objective = partial(rbm.contrastive_divergence, **shared, samples=samples)
        state, metrics = train.train_step(state, batch, objective, optimizer)
        state = state._replace(chains=samples if config.persistent else None)
        return state, {"mse": jnp.mean(before["mse"]), **metrics}

    def _fit_components(
        self, inputs: jax.Array, held_out: Batch, state: TrainState, index: jax.Array
    ) -> tuple[TrainState, Metrics]:
        """Takes principal components of what the layer reads, in one step."""
        found = principal_components(partial(self._read, state.params), inputs, self.widths[-1])
        name = f"layers_{self.top}"
        layers = {"encoder": {"kernel": found["kernel"], "bias": found["bias"]}, "decoder": {"bias": found["mean"]}}
        state = state._replace(trainable={side: {name: layer} for side, layer in layers.items()})
        errors = {
            "mse": train.evaluate(state.params, Batch(inputs), self.objective({})),
            "validation_mse": train.evaluate(state.params, held_out, self.objective({})),
        }
        return state, {name: measured["mse"] for name, measured in errors.items()}

    @property
    def _validation_names(self) -> tuple[str, ...]:
        return tuple(name for name in self.curve_names if name.startswith("validation_"))

    def _trainable(self) -> frozenset[str]:
        """Returns the paths of the parameters that are trained."""
        trained = set()
        for side, layers in self.shapes.items():
            lowest = self.top if side == "log_variance" else self.frozen_layers
            for number in range(lowest, len(self.widths)):
                name = f"layers_{number}"
                trained |= {f"{side}/{name}/{leaf}" for leaf in layers.get(name, ()) if leaf != "variance"}
        return frozenset(trained)

    def _with_variance(self, params: Params, numbers: Numbers) -> Params:
        """Returns parameters with the variance of the topmost layer's Gaussian visible units, if it has any."""
        if not (self.is_greedy and self.counterparts[-1].decoder == "scaled"):
            return params
        name, decoder = f"layers_{self.top}", params["decoder"]
        variance = jnp.square(numbers["objective.visible_deviation"])
        return {**params, "decoder": {**decoder, name: {**decoder[name], "variance": variance}}}

    def _read(self, params: Params, inputs: jax.Array) -> jax.Array:
        """Returns what the lowest layer in training reads, of images or cached codes: [..., units]."""
        encoder = {"params": params["encoder"]}
        return self.encoder.apply(encoder, scaled(inputs), self.encoded, self.frozen_layers)

    def _cached(self, params: Params, split: Batch) -> Batch:
        """Returns a split whose images are the codes of the layers below, if those are cached."""
        return split._replace(inputs=self.codes(params, split.inputs, self.encoded)) if self.encoded else split

"""A read-out of the encoder as it starts: a classifier of its codes that is fitted rather than trained."""

import dataclasses
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp

from pretrain.learn import handover, objectives, probes, train
from pretrain.learn.handover import Choices
from pretrain.learn.model import Layer, Params, standardised
from pretrain.learn.objectives import Batch, Metrics
from pretrain.learn.stage import Examples, Images, Numbers, Stage, Start
from pretrain.learn.train import TrainState


@dataclasses.dataclass(frozen=True)
class Readout(Stage):
    """Ridge regression, logistic regression or nearest neighbours on the codes of the labelled subset.

    The last stage of a trial, in the place of a fine-tuning and under its name. It has one step, which fits.
    """

    n_classes: int
    kind: str  # ridge, logistic or knn
    n_labels: int  # in the labelled subset
    whitens: bool = False

    name = "finetune"
    total_steps = 1
    steps_between_validations = 1
    validate_at = ()

    @property
    def frozen_layers(self) -> int:
        return len(self.widths)

    @property
    def encoded(self) -> int:
        return len(self.widths)

    @property
    def n_examples(self) -> int:
        return self.n_labels

    @property
    def curve_names(self) -> tuple[str, ...]:
        return {"ridge": ("chosen_penalty",), "logistic": ("gradient_norm",), "knn": ("chosen_neighbours",)}[self.kind]

    def start(self, seed: int, parent: Params | None, labels: jax.Array, choices: Choices) -> Start:
        """Returns the encoder and the labelled subset, as ``handover.start`` does; the head is still to be fitted."""
        return handover.start(seed, parent, labels, choices, self, self.n_labels, self.n_classes)

    def begin(self, start: Start, numbers: Numbers, seed: jax.Array, images: Images) -> tuple[TrainState, Examples]:
        """Returns the state before the fit, and the codes of the labelled subset and of validation images."""
        params = handover.with_statistics(self, start, images)
        labelled = jax.tree.map(lambda leaf: leaf[start.labelled], images.train)
        own = Examples(*(self._coded(params, split) for split in (labelled, images.validation)))
        if self.kind == "knn":
            # The labelled codes are the model; their rows say which they are, in a thousandth of the space.
            fitted = {"neighbours": {"rows": start.labelled, "count": jnp.int32(0)}}
            params = {name: params[name] for name in ("encoder", "codes")} | fitted
        return TrainState(params, {}, ()), own

    def step(self, numbers: Numbers, seed: jax.Array, images: Images, own: Examples) -> Callable:
        """Returns the fit, in the form of an update."""
        fit = {"ridge": self._ridge, "logistic": self._logistic, "knn": self._neighbours}[self.kind]

        def step(state: TrainState, index: jax.Array) -> tuple[TrainState, Metrics]:
            fitted, metrics = fit(state.params, numbers, own)
            return state._replace(trainable={**state.params, **fitted}), metrics

        return step

    def results(self, params: Params, images: Images) -> Metrics:
        """Returns accuracy (fraction), and under logistic regression cross-entropy (nats), by split."""
        splits = {"validation": images.validation, "test": images.test}
        if self.kind == "knn":
            known = jax.tree.map(lambda leaf: leaf[params["neighbours"]["rows"]], images.train)
            found = self._coded(params, known)
            return {f"{name}_accuracy": self._share_right(params, found, split) for name, split in splits.items()}
        objective = partial(objectives.classification, encoder=self.encoder, head=self._head, encoded=0)
        kept = ("accuracy", "loss") if self.kind == "logistic" else ("accuracy",)
        measured = {name: train.evaluate(params, split, objective) for name, split in splits.items()}
        return {f"{name}_{metric}": measured[name][metric] for name in splits for metric in kept}

    def _ridge(self, params: Params, numbers: Numbers, own: Examples) -> tuple[Params, Metrics]:
        penalties = jnp.array(probes.PENALTIES)
        heads = probes.ridge(*own.train, self.n_classes, penalties)

        def accuracy(head: Params) -> jax.Array:
            return train.evaluate(head, own.validation, self._on_codes)["accuracy"]

        accuracies = jax.lax.map(accuracy, heads)
        # Of penalties that do equally well, the largest.
        best = len(penalties) - 1 - jnp.argmax(accuracies[::-1])
        return {"head": jax.tree.map(lambda leaf: leaf[best], heads)}, {"chosen_penalty": penalties[best]}

    def _logistic(self, params: Params, numbers: Numbers, own: Examples) -> tuple[Params, Metrics]:
        head, norm = probes.logistic(*own.train, self.n_classes, numbers["l2"])
        return {"head": head}, {"gradient_norm": norm}

    def _neighbours(self, params: Params, numbers: Numbers, own: Examples) -> tuple[Params, Metrics]:
        counts = jnp.array([count for count in probes.NEIGHBOURS if count <= self._most])
        found = probes.nearest(own.validation.inputs, *own.train, self._most)
        accuracies = jax.lax.map(lambda count: self._accuracy(found, own.validation.labels, count), counts)
        best = counts[jnp.argmax(accuracies)]
        chosen = {"neighbours": {**params["neighbours"], "count": best}}
        return chosen, {"chosen_neighbours": best.astype(jnp.float32)}

    @property
    def _head(self) -> Layer:
        return Layer(self.n_classes)

    @property
    def _most(self) -> int:
        """The largest number of neighbours to choose from."""
        return max(count for count in probes.NEIGHBOURS if count <= self.n_labels)

    def _share_right(self, params: Params, known: Batch, split: Batch) -> jax.Array:
        """Returns the fraction of a split's images that the vote of known neighbours gets right."""
        asked = self._coded(params, split)
        found = probes.nearest(asked.inputs, known.inputs, known.labels, self._most)
        return self._accuracy(found, asked.labels, params["neighbours"]["count"])

    def _accuracy(self, neighbours: jax.Array, labels: jax.Array, count: jax.Array) -> jax.Array:
        return jnp.mean(probes.votes(neighbours, self.n_classes, count) == labels)

    def _coded(self, params: Params, split: Batch) -> Batch:
        """Returns a split whose images are what the head reads of them."""
        codes = self.codes(params, split.inputs, len(self.widths))
        return split._replace(inputs=standardised(codes, params["codes"]))

    def _on_codes(self, head: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        return objectives.softmax_cross_entropy(self._head.apply({"params": head}, batch.inputs), batch.labels)

"""What does not fit together is refused in one line, and what fits is not."""

import dataclasses
import json

import pytest

from pretrain.config import EncoderConfig, Experiment, FinetuneConfig, ObjectiveConfig, PretrainConfig, from_json
from pretrain.config.fields import replace
from tests.experiments import refused


def test_more_frozen_layers_than_layers_are_refused():
    parts = "finetune.frozen_layers: 3 ", "at most 2", "encoder.widths (300, 150)"
    refused(lambda: Experiment(finetune=FinetuneConfig(frozen_layers=3)), *parts)
    refused(lambda: from_json('{"finetune": {"frozen_layers": 3}}'), *parts)
    assert Experiment(finetune=FinetuneConfig(frozen_layers=2))


def test_more_fresh_layers_than_layers_are_refused():
    refused(lambda: Experiment(finetune=FinetuneConfig(fresh_layers=3)), "finetune.fresh_layers: 3 ", "at most 2")
    assert Experiment(finetune=FinetuneConfig(fresh_layers=2))


def test_batches_larger_than_the_labelled_subset_are_refused():
    too_few = replace(replace(Experiment(), "finetune.labels", 40), "finetune.batch_size", 41)
    refused(lambda: dataclasses.replace(too_few), "finetune.batch_size: 41 ", "finetune.labels 40")
    assert dataclasses.replace(replace(too_few, "finetune.batch_size", 40))


def test_every_point_of_a_sweep_is_checked():
    refused(lambda: Experiment(sweep=({"finetune.frozen_layers": (0, 3)},)), "finetune.frozen_layers: 3 ")
    refused(lambda: Experiment(sweep=({"finetune.labels": (2000, 20)},)), "finetune.batch_size: 50 ")
    refused(
        lambda: Experiment(
            sweep=(
                {"finetune.labels": (100,)},
                {"encoder.widths": ((9,), ())},
            )
        ),
        "encoder.widths",
    )
    # A field that does not fit on its own may fit in every point.
    assert Experiment(sweep=({"encoder.widths": ((9, 9, 9),), "finetune.frozen_layers": (3,)},))


def objective(activation="elu", widths=(9, 4), per_layer=None, training="greedy", **settings):
    """An experiment with an objective."""
    pretrain = PretrainConfig(objective=ObjectiveConfig(**settings), training=training)
    encoder = EncoderConfig(widths=widths, activation=activation)
    return Experiment(encoder=encoder, pretrain=pretrain, per_layer=per_layer or {})


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"loss": "cross_entropy"}, "pretrain.objective.loss: 'cross_entropy'"),
        ({"sparsity": "kl"}, "pretrain.objective.sparsity: 'kl'"),
        ({"sparsity": "kl", "training": "end_to_end"}, "pretrain.objective.sparsity: 'kl'"),
        ({"kind": "rbm"}, "pretrain.objective.kind: 'rbm'"),
        ({"kind": "rbm", "visible": "gaussian"}, "pretrain.objective.kind: 'rbm'"),
    ],
)
def test_objectives_that_need_codes_between_0_and_1_are_refused_without_them(settings, field):
    activations = {"encoder.activation": ("elu", "elu")}
    refused(lambda: objective(**settings), field, "sigmoid", "'elu'")
    objective("sigmoid", **settings)
    # What an encoder's layers have in common does not count where each has its own.
    refused(lambda: objective("sigmoid", per_layer=activations, **settings), field, "sigmoid", "'elu'")
    objective("elu", per_layer={"encoder.activation": ("sigmoid", "sigmoid")}, **settings)


def test_layers_are_checked_with_the_activation_of_what_they_read_and_of_their_own():
    def layered(*activations, **settings):
        objective("tanh", (9, 8, 7), {"encoder.activation": activations}, **settings)

    # Images lie between 0 and 1 whatever codes do, and nothing reconstructs the topmost codes.
    objective(widths=(9,), loss="cross_entropy")
    layered("sigmoid", "sigmoid", "elu", loss="cross_entropy")
    refused(lambda: layered("sigmoid", "elu", "sigmoid", loss="cross_entropy"), "objective.loss", "'elu'")
    # A machine's codes are probabilities, its visible units probabilities unless they are Gaussian.
    layered("sigmoid", "sigmoid", "sigmoid", kind="rbm")
    refused(lambda: layered("sigmoid", "sigmoid", "elu", kind="rbm"), "objective.kind: 'rbm'", "'elu'")
    kinds = {"pretrain.objective.kind": ("reconstruction", "rbm")}
    mixed = {**kinds, "encoder.activation": ("elu", "sigmoid")}
    refused(lambda: objective(per_layer=mixed), "pretrain.objective.visible: 'bernoulli'", "'elu'")
    objective(per_layer=mixed, visible="gaussian")
    # Every layer's codes are to be sparse.
    layered("sigmoid", "sigmoid", "sigmoid", sparsity="kl")
    refused(lambda: layered("elu", "sigmoid", "sigmoid", sparsity="kl"), "objective.sparsity: 'kl'", "'elu'", "l1")
    objective(per_layer={"pretrain.objective.sparsity": ("none", "kl"), "encoder.activation": ("elu", "sigmoid")})
    # Trained all at once, the topmost alone.
    layered("elu", "tanh", "sigmoid", sparsity="kl", training="end_to_end")
    layered("elu", "elu", "sigmoid", loss="cross_entropy", training="end_to_end")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"kind": "pca"}, ["pretrain.objective.kind: 'pca'", "one layer at a time"]),
        ({"kind": "rbm", "activation": "sigmoid"}, ["pretrain.objective.kind: 'rbm'", "one layer at a time"]),
        ({"kind": "supervised"}, ["pretrain.objective.kind: 'supervised'", "one layer at a time"]),
        ({"contractive": True}, ["pretrain.objective.contractive: True", "no closed form"]),
        *(
            ({"per_layer": {name: values}}, [f"per_layer: {name!r}", "all are trained at once"])
            for name, values in {"pretrain.epochs": (1, 2), "pretrain.optimizer.learning_rate": (0.1, 0.2)}.items()
        ),
    ],
)
def test_what_cannot_be_trained_all_at_once_is_refused(settings, parts):
    refused(lambda: objective(training="end_to_end", **settings), *parts, "set pretrain.training to greedy")
    objective(training="greedy", **settings)


def test_one_layer_may_be_contractive_and_layers_may_differ_in_fine_tuning_where_all_are_trained_at_once():
    objective(widths=(9,), contractive=True, training="end_to_end")
    objective(per_layer={"finetune.rate_factor": (0.5, 1.0)}, training="end_to_end")
    objective(per_layer={"encoder.activation": ("elu", "tanh")}, training="end_to_end")


def test_layers_that_can_be_decoded_may_be_trained_all_at_once_after_one_by_one():
    then = "greedy_then_end_to_end"
    objective("sigmoid", kind="rbm", training=then)
    objective(kind="pca", training=then)
    objective(
        per_layer={"pretrain.epochs": (1, 2), "pretrain.objective.kind": ("pca", "reconstruction")}, training=then
    )
    remedy = "set pretrain.training to greedy"
    refused(lambda: objective(kind="supervised", training=then), "kind: 'supervised'", "decodes", remedy)
    mixed = {"pretrain.objective.kind": ("reconstruction", "supervised")}
    refused(lambda: objective(per_layer=mixed, training=then), "kind: 'supervised'", "decodes", remedy)
    refused(lambda: objective(contractive=True, training=then), "pretrain.objective.contractive: True", remedy)
    # What is asked of all layers at once is asked of components, too.
    refused(lambda: objective(kind="pca", sparsity="kl", training=then), "pretrain.objective.sparsity: 'kl'")
    refused(lambda: objective(widths=(9,), training=then), f"pretrain.training: {then!r}", "one layer twice")


def test_phases_must_leave_what_training_all_at_once_starts_from():
    then = "greedy_then_end_to_end"
    variational = {"variational": True, "training": then}
    objective(**variational)
    objective(per_layer={"pretrain.objective.variational": (False, True)}, **variational)
    parts = "pretrain.objective.variational: True", "topmost layer"
    refused(lambda: objective(per_layer={"pretrain.objective.variational": (True, False)}, **variational), *parts)
    refused(lambda: objective(kind="pca", **variational), *parts)
    refused(lambda: objective("sigmoid", kind="rbm", **variational), *parts)
    # Components decode to any number, as do machines of Gaussian units; cross-entropy is of numbers between 0 and 1.
    entropy = {"activation": "sigmoid", "loss": "cross_entropy", "training": then}
    objective(**entropy)
    objective(kind="rbm", **entropy)
    parts = "pretrain.objective.loss: 'cross_entropy'", "set it to mse"
    refused(lambda: objective(kind="pca", **entropy), *parts)
    refused(lambda: objective(kind="rbm", visible="gaussian", **entropy), *parts)
    losses = {"pretrain.objective.loss": ("mse", "cross_entropy")}
    refused(lambda: objective(per_layer=losses, **entropy), *parts)
    objective(per_layer=losses, output="sigmoid", **entropy)


@pytest.mark.parametrize(
    ("per_layer", "parts"),
    [
        ({"pretrain.epochs": (1,)}, ["per_layer pretrain.epochs: (1,)", "1 values", "encoder of 2 layers"]),
        ({"pretrain.epochs": (1, 2, 3)}, ["per_layer pretrain.epochs: (1, 2, 3)", "3 values", "2 layers"]),
        ({"pretrain.epochs": ()}, ["per_layer pretrain.epochs: ()", "0 values"]),
        ({"pretrain.epoch": (1, 2)}, ["per_layer: 'pretrain.epoch'", "did you mean 'pretrain.epochs'?"]),
        ({"activation": ("elu", "elu")}, ["per_layer: 'activation'", "did you mean 'encoder.activation'?"]),
        ({"pretrain": (1, 2)}, ["per_layer: 'pretrain'", "is not a layer's"]),
        ({"a\nb": (1, 2)}, ["per_layer: 'a\\nb'", "is not a layer's"]),
        *(
            ({name: (1, 2)}, [f"per_layer: {name!r}", "is not a layer's"])
            for name in ("encoder.widths", "finetune.epochs", "pretrain.training", "pretrain.end_to_end_epochs")
        ),
        *(
            ({name: (1, 2)}, [f"per_layer: {name!r}", "is not a layer's"])
            for name in ("pretrain.carry_step_count", "pretrain.wrong_data", "finetune.frozen_layers", "seeds", "sweep")
        ),
        # one value a layer, and of the field's own type
        ({"pretrain.epochs": (1, 0)}, ["pretrain.epochs: 0 should be greater than 0"]),
        ({"pretrain.epochs": (1, 2.5)}, ["pretrain.epochs: 2.5 "]),
        ({"encoder.activation": ("elu", "swish")}, ["encoder.activation: 'swish' should be 'elu'"]),
        ({"finetune.unfreeze_at": (-1, 2)}, ["finetune.unfreeze_at: -1 "]),
        ({"pretrain.objective.tied": (True, 1)}, ["pretrain.objective.tied: 1 "]),
    ],
)
def test_values_of_layers_that_cannot_be_are_refused(per_layer, parts):
    refused(lambda: Experiment(per_layer=per_layer), *parts)
    refused(lambda: from_json(json.dumps({"per_layer": per_layer})), *parts)


def test_a_field_that_differs_by_layer_cannot_be_swept_too():
    both = {"per_layer": {"pretrain.epochs": (1, 2)}, "sweep": ({"pretrain.epochs": (3, 4)},)}
    refused(lambda: Experiment(**both), "sweep: 'pretrain.epochs' ", "per layer", "leave one of the two out")
    assert Experiment(**{**both, "sweep": ({"pretrain.l2": (0.0, 0.5)},)})


def test_every_point_is_checked_with_its_layers():
    activations = {"encoder.activation": ("sigmoid", "elu")}
    losses = ({"pretrain.objective.loss": ("mse", "cross_entropy")},)
    deeper = ({**losses[0], "encoder.widths": ((9, 8, 7),)},)
    assert Experiment(sweep=losses, per_layer=activations)
    activations = {"encoder.activation": ("sigmoid", "elu", "sigmoid")}
    refused(lambda: Experiment(sweep=deeper, per_layer=activations), "pretrain.objective.loss: 'cross_entropy'")

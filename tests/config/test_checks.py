"""What does not fit together is refused in one line, and what fits is not."""

import dataclasses
import json

import pytest

from pretrain.config import (
    AutoencoderConfig,
    DataConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    SupervisedConfig,
    from_json,
)
from pretrain.config.fields import ConfigError, kind_of, replace
from tests.experiments import refused


def test_more_frozen_layers_than_layers_are_refused():
    parts = "finetune.frozen_layers: 3 ", "at most 2", "encoder.layers more than (300, 150)"
    refused(lambda: Experiment(finetune=FinetuneConfig(frozen_layers=3)), *parts)
    refused(lambda: from_json('{"finetune": {"frozen_layers": 3}}'), *parts)
    assert Experiment(finetune=FinetuneConfig(frozen_layers=2))


def test_all_layers_may_be_frozen_whatever_the_depth():
    depths = {"encoder.layers": ((9,), (9, 8, 7)), "finetune.frozen_layers": ("all", 0)}
    assert Experiment(finetune=FinetuneConfig(frozen_layers="all"), sweep=(depths,))
    with pytest.raises(ValueError, match="frozen_layers"):
        FinetuneConfig(frozen_layers="most")


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
                {"encoder.layers": ((9,), ())},
            )
        ),
        "encoder.layers",
    )
    # A field that does not fit on its own may fit in every point.
    assert Experiment(sweep=({"encoder.layers": ((9, 9, 9),), "finetune.frozen_layers": (3,)},))


METHODS = {kind_of(method): method for method in (AutoencoderConfig, RbmConfig, SupervisedConfig, PcaConfig)}


def with_method(activation="elu", layers=(9, 4), per_layer=None, training="greedy", kind="autoencoder", **settings):
    """An experiment with a method."""
    pretrain = PretrainConfig(method=METHODS[kind](**settings), training=training)
    encoder = EncoderConfig(layers=layers, activation=activation)
    return Experiment(encoder=encoder, pretrain=pretrain, per_layer=per_layer or {})


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"loss": "cross_entropy"}, "pretrain.method.loss: 'cross_entropy'"),
        ({"sparsity": "kl"}, "pretrain.method.sparsity: 'kl'"),
        ({"sparsity": "kl", "training": "end_to_end"}, "pretrain.method.sparsity: 'kl'"),
        ({"kind": "rbm"}, "pretrain.method.kind: 'rbm'"),
        ({"kind": "rbm", "visible": "gaussian"}, "pretrain.method.kind: 'rbm'"),
    ],
)
def test_methods_that_need_codes_between_0_and_1_are_refused_without_them(settings, field):
    activations = {"encoder.activation": ("elu", "elu")}
    refused(lambda: with_method(**settings), field, "sigmoid", "'elu'")
    with_method("sigmoid", **settings)
    # What an encoder's layers have in common does not count where each has its own.
    refused(lambda: with_method("sigmoid", per_layer=activations, **settings), field, "sigmoid", "'elu'")
    with_method("elu", per_layer={"encoder.activation": ("sigmoid", "sigmoid")}, **settings)


def test_layers_are_checked_with_the_activation_of_what_they_read_and_of_their_own():
    def layered(*activations, **settings):
        with_method("tanh", (9, 8, 7), {"encoder.activation": activations}, **settings)

    # Images lie between 0 and 1 whatever codes do, and nothing reconstructs the topmost codes.
    with_method(layers=(9,), loss="cross_entropy")
    layered("sigmoid", "sigmoid", "elu", loss="cross_entropy")
    refused(lambda: layered("sigmoid", "elu", "sigmoid", loss="cross_entropy"), "method.loss", "'elu'")
    # A machine's codes are probabilities, its visible units probabilities unless they are Gaussian.
    layered("sigmoid", "sigmoid", "sigmoid", kind="rbm")
    refused(lambda: layered("sigmoid", "sigmoid", "elu", kind="rbm"), "method.kind: 'rbm'", "'elu'")
    kinds = {"pretrain.method.kind": ("autoencoder", "rbm")}
    mixed = {**kinds, "encoder.activation": ("elu", "sigmoid")}
    refused(lambda: with_method(per_layer=mixed), "pretrain.method.visible: 'bernoulli'", "'elu'")
    with_method(per_layer=mixed, kind="rbm", visible="gaussian")
    # Every layer's codes are to be sparse.
    layered("sigmoid", "sigmoid", "sigmoid", sparsity="kl")
    refused(lambda: layered("elu", "sigmoid", "sigmoid", sparsity="kl"), "method.sparsity: 'kl'", "'elu'", "l1")
    with_method(per_layer={"pretrain.method.sparsity": ("none", "kl"), "encoder.activation": ("elu", "sigmoid")})
    # Trained all at once, the topmost alone.
    layered("elu", "tanh", "sigmoid", sparsity="kl", training="end_to_end")
    layered("elu", "elu", "sigmoid", loss="cross_entropy", training="end_to_end")


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        ({"kind": "pca"}, ["pretrain.method.kind: 'pca'", "one layer at a time"]),
        ({"kind": "rbm", "activation": "sigmoid"}, ["pretrain.method.kind: 'rbm'", "one layer at a time"]),
        ({"kind": "supervised"}, ["pretrain.method.kind: 'supervised'", "one layer at a time"]),
        ({"contractive": True}, ["pretrain.method.contractive: True", "no closed form"]),
        *(
            ({"per_layer": {name: values}}, [f"per_layer: {name!r}", "all are trained at once"])
            for name, values in {"pretrain.epochs": (1, 2), "pretrain.optimizer.learning_rate": (0.1, 0.2)}.items()
        ),
    ],
)
def test_what_cannot_be_trained_all_at_once_is_refused(settings, parts):
    refused(lambda: with_method(training="end_to_end", **settings), *parts, "set pretrain.training to greedy")
    with_method(training="greedy", **settings)


@pytest.mark.parametrize("word", ["8c3s2", "r8s2"])
@pytest.mark.parametrize("training", ["greedy", "end_to_end"])
@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"kind": "rbm", "activation": "sigmoid"}, "pretrain.method.kind: 'rbm'"),
        ({"kind": "pca"}, "pretrain.method.kind: 'pca'"),
        ({"tied": True}, "pretrain.method.tied: True"),
        ({"contractive": True}, "pretrain.method.contractive: True"),
        ({"variational": True}, "pretrain.method.variational: True"),
    ],
)
def test_methods_of_dense_layers_are_refused_for_others(settings, field, training, word):
    made = {**settings, "training": training}
    if training == "end_to_end" and ("kind" in settings or "contractive" in settings):
        # What cannot be trained all at once is refused as such, whatever the layers.
        refused(lambda: with_method(layers=(word, 4), **made), field, "set pretrain.training to greedy")
        return
    # Only the topmost codes of a deep autoencoder are variational.
    unfit = (9, word) if "variational" in settings else (word, 4)
    refused(lambda: with_method(layers=unfit, **made), field, "needs dense layers", "encoder.layers", repr(word))
    with_method(layers=(9, 4), **made)
    with_method(layers=(word, 4), training=training)
    mixed = {f"pretrain.method.{name}": (value, False) for name, value in settings.items() if value is True}
    if mixed and training == "greedy" and ".py" not in word:  # a file may stand for any number of layers
        refused(lambda: with_method(layers=(word, 4), per_layer=mixed), field, "needs dense layers")
        with_method(layers=(4, word), per_layer=mixed)


def test_principal_components_as_a_start_need_dense_layers():
    def started(layers):
        return Experiment(encoder=EncoderConfig(layers=layers), finetune=FinetuneConfig(encoder_init="pca"))

    started((9, 4))
    for layers in (("8c3s2", 4), (9, "r8")):
        refused(lambda layers=layers: started(layers), "pretrain.method.kind: 'pca'", "needs dense layers")


def test_layers_of_a_file_are_counted_and_checked_only_where_they_are_built():
    own = EncoderConfig(layers=("mine.py:make",))  # returns any number of layers
    assert Experiment(encoder=own, finetune=FinetuneConfig(frozen_layers=5, fresh_layers=4))
    assert Experiment(encoder=own, per_layer={"pretrain.epochs": (1, 2, 3)})
    # Its file says which activation it has.
    for settings in ({"loss": "cross_entropy"}, {"sparsity": "kl"}):
        with_method("elu", ("mine.py:make",), **settings)


def test_one_layer_may_be_contractive_and_layers_may_differ_in_fine_tuning_where_all_are_trained_at_once():
    with_method(layers=(9,), contractive=True, training="end_to_end")
    with_method(per_layer={"finetune.rate_factor": (0.5, 1.0)}, training="end_to_end")
    with_method(per_layer={"encoder.activation": ("elu", "tanh")}, training="end_to_end")


def test_layers_that_can_be_decoded_may_be_trained_all_at_once_after_one_by_one():
    then = "greedy_then_end_to_end"
    with_method("sigmoid", kind="rbm", training=then)
    with_method(kind="pca", training=then)
    with_method(per_layer={"pretrain.epochs": (1, 2), "pretrain.method.kind": ("pca", "autoencoder")}, training=then)
    remedy = "set pretrain.training to greedy"
    refused(lambda: with_method(kind="supervised", training=then), "kind: 'supervised'", "no decoder", remedy)
    mixed = {"pretrain.method.kind": ("autoencoder", "supervised")}
    refused(lambda: with_method(per_layer=mixed, training=then), "kind: 'supervised'", "no decoder", remedy)
    refused(lambda: with_method(contractive=True, training=then), "pretrain.method.contractive: True", remedy)
    # What is asked of all layers at once is asked of components, too.
    components = {"pretrain.method.kind": ("pca", "pca")}
    with_method(per_layer=components, sparsity="l1", training=then)
    refused(lambda: with_method(per_layer=components, sparsity="kl", training=then), "pretrain.method.sparsity: 'kl'")
    refused(lambda: with_method(layers=(9,), training=then), f"pretrain.training: {then!r}", "one layer twice")


def test_greedy_stages_must_leave_what_training_all_at_once_starts_from():
    then = "greedy_then_end_to_end"

    def all_of(kind):
        return {"pretrain.method.kind": (kind, kind)}

    variational = {"variational": True, "training": then}
    with_method(**variational)
    with_method(per_layer={"pretrain.method.variational": (False, True)}, **variational)
    with_method(per_layer={"pretrain.method.kind": ("pca", "autoencoder")}, **variational)
    parts = "pretrain.method.variational: True", "topmost layer"
    refused(lambda: with_method(per_layer={"pretrain.method.variational": (True, False)}, **variational), *parts)
    refused(lambda: with_method(per_layer=all_of("pca"), **variational), *parts)
    refused(lambda: with_method("sigmoid", per_layer=all_of("rbm"), **variational), *parts)
    # Components decode to any number, as do machines of Gaussian units; cross-entropy is of numbers between 0 and 1.
    entropy = {"activation": "sigmoid", "loss": "cross_entropy", "training": then}
    with_method(**entropy)
    with_method(per_layer=all_of("rbm"), **entropy)
    parts = "pretrain.method.loss: 'cross_entropy'", "set it to mse"
    refused(lambda: with_method(per_layer=all_of("pca"), **entropy), *parts)
    gaussian = {**all_of("rbm"), "pretrain.method.visible": ("gaussian", "gaussian")}
    refused(lambda: with_method(per_layer=gaussian, **entropy), *parts)
    losses = {"pretrain.method.loss": ("mse", "cross_entropy")}
    refused(lambda: with_method(per_layer=losses, **entropy), *parts)
    with_method(per_layer={**losses, "pretrain.method.output": ("sigmoid", "linear")}, **entropy)
    with_method(per_layer=losses, output="sigmoid", **entropy)


@pytest.mark.parametrize(
    ("per_layer", "parts"),
    [
        ({"pretrain.epochs": (1,)}, ["per_layer pretrain.epochs: (1,)", "1 value", "encoder of 2 layers"]),
        ({"pretrain.epochs": (1, 2, 3)}, ["per_layer pretrain.epochs: (1, 2, 3)", "3 values", "2 layers"]),
        ({"pretrain.epochs": ()}, ["per_layer pretrain.epochs: ()", "0 values"]),
        ({"pretrain.epoch": (1, 2)}, ["per_layer: 'pretrain.epoch'", "did you mean 'pretrain.epochs'?"]),
        ({"activation": ("elu", "elu")}, ["per_layer: 'activation'", "did you mean 'encoder.activation'?"]),
        ({"pretrain": (1, 2)}, ["per_layer: 'pretrain'", "is not a layer's"]),
        ({"a\nb": (1, 2)}, ["per_layer: 'a\\nb'", "is not a layer's"]),
        *(
            ({name: (1, 2)}, [f"per_layer: {name!r}", "is not a layer's"])
            for name in ("encoder.layers", "finetune.epochs", "pretrain.training", "pretrain.end_to_end_epochs")
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
        ({"pretrain.method.tied": (True, 1)}, ["pretrain.method.tied: 1 "]),
    ],
)
def test_values_of_layers_that_cannot_be_are_refused(per_layer, parts):
    refused(lambda: Experiment(per_layer=per_layer), *parts)
    refused(lambda: from_json(json.dumps({"per_layer": per_layer})), *parts)


def test_layers_may_be_of_kinds_of_their_own_with_fields_of_these():
    kinds = {"pretrain.method.kind": ("rbm", "rbm"), "pretrain.method.gibbs_steps": (1, 5)}
    experiment = with_method("sigmoid", per_layer=kinds)
    assert [experiment.at_layer(layer).pretrain.method for layer in range(2)] == [RbmConfig(), RbmConfig(gibbs_steps=5)]
    reported = (
        "'pretrain.method.gibbs_steps' is of pretrain.method.kind rbm, not of autoencoder; set pretrain.method.kind"
    )
    steps = {"pretrain.method.gibbs_steps": (1, 5)}
    refused(lambda: with_method("sigmoid", per_layer=steps), f"per_layer: {reported}")
    refused(lambda: from_json(json.dumps({"per_layer": steps})), f"per_layer: {reported}")
    # A layer of another kind has no such field.
    mixed = {**kinds, "pretrain.method.kind": ("rbm", "pca")}
    refused(
        lambda: with_method("sigmoid", per_layer=mixed), "'pretrain.method.gibbs_steps' is of pretrain.method.kind rbm"
    )


def test_a_field_that_differs_by_layer_cannot_be_swept_too():
    both = {"per_layer": {"pretrain.epochs": (1, 2)}, "sweep": ({"pretrain.epochs": (3, 4)},)}
    refused(lambda: Experiment(**both), "sweep: 'pretrain.epochs' ", "per layer", "leave one of the two out")
    assert Experiment(**{**both, "sweep": ({"pretrain.l2": (0.0, 0.5)},)})


def test_layers_to_freeze_cannot_be_swept_beside_a_read_out():
    frozen = {"finetune.frozen_layers": (0, "all")}
    parts = "finetune.frozen_layers: (0, 'all')", "readout knn trains no layer"
    refused(lambda: Experiment(finetune=FinetuneConfig(readout="knn"), sweep=(frozen,)), *parts)
    refused(lambda: Experiment(sweep=({**frozen, "finetune.readout": ("none", "knn")},)), *parts)
    assert Experiment(sweep=({"finetune.readout": ("none", "knn")}, frozen))


def test_every_point_is_checked_with_its_layers():
    activations = {"encoder.activation": ("sigmoid", "elu")}
    losses = ({"pretrain.method.loss": ("mse", "cross_entropy")},)
    deeper = ({**losses[0], "encoder.layers": ((9, 8, 7),)},)
    assert Experiment(sweep=losses, per_layer=activations)
    activations = {"encoder.activation": ("sigmoid", "elu", "sigmoid")}
    refused(lambda: Experiment(sweep=deeper, per_layer=activations), "pretrain.method.loss: 'cross_entropy'")


@pytest.mark.parametrize(
    "make",
    [
        lambda odd: Experiment(data=DataConfig(dir=odd)),
        lambda odd: Experiment(sweep=({"data.dir": (odd, "data")},)),
        lambda odd: Experiment(per_layer={"encoder.activation": (odd, "elu")}),
    ],
)
def test_a_name_that_is_no_text_is_refused(make):
    with pytest.raises(ConfigError, match=r"(data.dir|sweep|per_layer): .*\\udcff.* is no text, .*; rename it$"):
        make("\udcff")

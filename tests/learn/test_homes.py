"""Fields of fine-tuning: each is read by one part of its stage, and a new one that nothing reads is noticed."""

import ast
import functools
import inspect
import textwrap
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
from pydantic.dataclasses import dataclass

from pretrain.config import FinetuneConfig, SgdConfig
from pretrain.config.fields import STRICT, with_values
from pretrain.config.kinds import Penalty, Switch
from pretrain.config.settings import Home
from pretrain.config.views import VIEWS
from pretrain.learn import pytrees
from pretrain.learn.methods import finetuning, logistic, neighbours, ridge
from pretrain.plan import builders, imported, modules, reference, stages
from tests.learn.conftest import CLASSES, PIXELS, dense, last, run

# A new field belongs in one line of these: a change of it is a change of that part, and of that part alone.
HOMES = {
    "start": {
        *("encoder_init", "fresh_layers", "head_init", "codes", "ending"),
        *("weights", "weights_layout", "weights_names", "reference"),
    },
    "layers": {"frozen_layers", "cache_codes", "activation"},
    "rows": {"labels", "label_subset", "epochs", "updates", "batch_size", "sampling"},
    "rule": {"l2", "optimizer"},
    "schedule": {"validate_at", "validate_every", "stop", "patience"},
    "method": {
        "readout",
        "ridge_penalty",
        "unfreeze_at",
        "rate_factor",
        "first_logit_change",
        "diagnose_at",
        "class_weights",
        "views",
    },
}
METHODS = (finetuning, ridge, logistic, neighbours, FinetuneConfig.makes_updates.fget)
BUILDERS = (
    builders.last,
    stages.frozen_layers,
    modules.finetuned,
    FinetuneConfig.n_labels,
    imported.imported,
    reference.check,
)


@dataclass(frozen=True, config=STRICT)
class Damped(FinetuneConfig):
    """Fine-tuning with a weight of the mean squared logit, for the loss, and with a field of its rows."""

    damping: Penalty = 0.0
    mirrors: Annotated[Switch, Home("rows")] = False


pytrees.register_class(Damped)


def unread(config):
    """The fields of a config that the code of their home does not read."""

    def read(owners):
        trees = [ast.parse(textwrap.dedent(inspect.getsource(owner))) for owner in owners]
        return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}

    reads = {home: read(METHODS if home == "method" else BUILDERS) for home in HOMES}
    # Levels are read by name.
    return {name for name, home in config.homes().items() if name not in reads[home]} - {*VIEWS}


def test_every_field_has_a_home():
    homes = FinetuneConfig.homes()
    assert homes == {name: home for home, names in HOMES.items() for name in names} | dict.fromkeys(VIEWS, "method")
    for views in ((), ("flip", "noise"), VIEWS):
        method = FinetuneConfig(views=views).of_method({})
        assert {name for name in homes if getattr(method, name) is not None} == HOMES["method"] | {*views}


def test_every_field_is_read_where_it_is_at_home():
    assert unread(FinetuneConfig) == set()
    assert unread(Damped) == {"damping", "mirrors"}  # which is how a new field that nothing reads is noticed


def test_a_term_of_the_loss_takes_a_field_and_a_line_of_the_objective(finetune, images, monkeypatch):
    rate, settings = 0.25, {"labels": 60, "label_subset": "first", "batch_size": 60, "l2": 0.0}
    settings["optimizer"] = SgdConfig(learning_rate=rate)
    before = run(finetune(**settings), images, stops=[1]).state.params
    plain = finetuning.objective

    def objective(params, batch, *, stack, config):
        loss, metrics = plain(params, batch, stack=stack, config=config)
        return loss + config.damping * jnp.mean(jnp.square(stack.logits(params, batch.inputs))), metrics

    monkeypatch.setattr(finetuning, "objective", objective)
    make = functools.partial(last, example=(PIXELS,), layers=dense((9, 5), "elu"), n_classes=CLASSES)
    made = [make(Damped(**settings, damping=weight)) for weight in (0.0, 0.5, 1.0)]
    assert len({stage for stage, _ in made}) == 1  # one program, of which the weight is a number
    ran = [run(stage, images, stops=[1]) for stage in made]
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
    jax.tree.map(close, ran[0].state.params, before)
    # The step of the head's bias is longer by the slope of the term.
    logits = made[0][0].stack.logits(ran[0].before.params, images.train.inputs[ran[0].labelled])
    slope = 2 * np.asarray(logits).mean(0) / CLASSES
    biases = [np.asarray(each.state.params["head"]["bias"], np.float64) for each in ran]
    for weight, bias in ((0.5, biases[1]), (1.0, biases[2])):
        np.testing.assert_allclose(bias - biases[0], -rate * weight * slope, rtol=1e-4, atol=1e-6)


def test_a_term_of_the_loss_names_the_stage_by_its_weight(experiment, dataset):
    asked = experiment(seeds=1)

    def method(weight):
        tuned = with_values(asked, {"finetune": Damped(labels=80, batch_size=20, damping=weight)})
        return stages.specs(tuned, {tuned.data: dataset})[-1].content["method"]

    assert (method(0.25)["damping"], method(0.5)["damping"]) == (0.25, 0.5)
    assert method(0.25) | {"damping": 0.5} == method(0.5)

"""Stages as a plan makes them, without one: each a stage with its config, a pytree of numbers."""

import dataclasses

from pretrain.config import AutoencoderConfig, TrainingConfig
from pretrain.config.effects import canonical
from pretrain.config.methods import FinetuningConfig, LogisticConfig, NeighboursConfig, RidgeConfig
from pretrain.learn.layers import Dense
from pretrain.learn.methods import METHODS
from pretrain.learn.pytrees import skeleton
from pretrain.learn.stack import Stack
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.tasks import Task

TRAINING = ("epochs", "batch_size", "sampling", "l2", "optimizer")


def dense(widths, activation):
    """Dense layers of some widths, all of one activation."""
    return tuple(Dense(width, activation) for width in widths)


def made(stage, config):
    """A stage with its numbers left out, and the config that holds them."""
    return dataclasses.replace(stage, config=skeleton(config)), config


def companions(method, layers, example, n_classes=0):
    """Everything that is trained beside each of some layers."""
    found = []
    for depth in range(1, len(layers) + 1):
        inputs = Stack(layers[:depth], example).shapes[-1].inputs
        found.append(METHODS[type(method)].companions(method, layers[:depth], inputs, Task(n_outputs=n_classes)))
    return tuple(found)


def pretraining(config, example, layers, n_examples, n_classes=0, start=None, steps_before=0):
    """A stage of pretraining by a PretrainConfig: greedy of the topmost layer; or of more, from ``start`` up."""
    method = canonical(config.method)
    training = TrainingConfig(**{name: getattr(config, name) for name in TRAINING}) if method.makes_updates else None
    top = len(layers) - 1
    lowest = top if start is None else start
    beside = companions(method, layers, example, n_classes)
    if lowest < top:  # as one deep autoencoder, of which only the topmost codes can be variational
        beside = []
        for depth in range(1, len(layers) + 1):
            is_top = depth == len(layers)
            loss = method.loss if depth == 1 else "mse"
            own = dataclasses.replace(method, variational=method.variational and is_top, loss=loss)
            beside.append(companions(own, layers[:depth], example)[-1])
    encoded = lowest if config.cache_codes else 0
    task = Task(n_outputs=n_classes)
    stack = Stack(layers, example, tuple(beside), start=lowest, encoded=encoded, task=task)
    name = "pretrain/all" if lowest < top else f"pretrain/{lowest}"
    return made(
        Stage(name, stack, StageConfig(method, training), n_examples, steps_before), StageConfig(method, training)
    )


def last(config, example, layers, n_classes):
    """The fine-tuning or read-out of a FinetuneConfig, all layers at its rate."""
    depth, own = len(layers), canonical(config)
    frozen = {"all": depth}.get(own.frozen_layers, own.frozen_layers) if own.readout == "none" else depth
    method, training = (
        {"ridge": RidgeConfig(), "logistic": LogisticConfig(l2=own.l2), "knn": NeighboursConfig()}.get(own.readout),
        None,
    )
    if method is None:
        method = FinetuningConfig(
            unfreeze_at=(float(own.unfreeze_at),) * depth,
            rate_factor=(float(own.rate_factor),) * depth,
            first_logit_change=own.first_logit_change,
            ridge_penalty=own.ridge_penalty,
            validate_at=own.validate_at,
            diagnose_at=own.diagnose_at,
        )
        training = TrainingConfig(
            updates=own.updates,
            **{name: getattr(own, name) for name in ("validate_every", "stop", "patience")},
            **{name: getattr(own, name) for name in TRAINING} | ({"epochs": 0} if own.updates else {}),
        )
    encoded = frozen if own.cache_codes else 0
    stack = Stack(layers, example, start=frozen, encoded=encoded, head=Dense(n_classes), task=Task(n_outputs=n_classes))
    settings = StageConfig(method, training)
    return made(Stage("finetune", stack, settings, own.labels, whitens=own.codes == "whitened"), settings)


PLAIN = AutoencoderConfig()

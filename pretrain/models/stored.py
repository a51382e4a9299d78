"""Networks from the store in which a run trained them."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from pretrain import data
from pretrain.config import Settings
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset
from pretrain.data.inputs_file import Inputs
from pretrain.learn import probes
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, taken
from pretrain.learn.stack import Stack
from pretrain.learn.tasks import Task
from pretrain.learn.transfer import copied
from pretrain.models import forward
from pretrain.models.model import Member, Model
from pretrain.plan import builders, modules
from pretrain.plan.stages import example_shape
from pretrain.store.store import Store

_OWN = "own"  # a read-out of the user's
_BLOCK = 1000  # rows, as held-out rows are measured
_SAME = 1e-2  # mean difference of scores, in deviations, up to which data and code are as they were
SIDES = ("encoder", "head", "codes", "neighbours", "trees")  # of parameters that a network has to be used


class Ending(NamedTuple):
    """The stage that ends a trial."""

    id: str
    settings: Settings  # of its point, at its seed
    inputs: Inputs  # how rows of its data become inputs


def network(settings: Settings, inputs: Inputs) -> Stack:
    """Returns the network of a trial on data that become inputs in some way.

    Raises:
      ConfigError: a file or function of the user's layers is not there, fails, or returns no modules.
    """
    layers = modules.finetuned(settings).layers
    task = Task(inputs.task, len(inputs.output_names))
    return builders.network(layers, example_shape(layers, inputs.example_shape), task, settings.encoder.precision)


def load(store: Store, endings: Sequence[Ending], name: str) -> Model:
    """Returns the network of a trial, or the ensemble of several, whose last stages were ``verified``.

    Raises:
      ConfigError: data of a read-out by neighbours, whose rows vote, or layers of the user's own are not as they were,
        or modules fail, or a read-out of the user's own has no linear head.
      StoreError: parameters cannot be restored.
      TransferError: modules have other parameters than those that were trained.
    """
    settings = endings[0].settings
    stack, kind = network(settings, endings[0].inputs), settings.finetune.kind
    members = []
    for ending in endings:
        params = {side: each for side, each in store.params(ending.id).items() if side in SIDES}
        copied(encoder_shapes(stack), params.get("encoder", {}))  # no side where there is no layer
        if kind in (_OWN, forward.NEIGHBOURS) or any(word.kind == "own" for word in settings.words if stack.layers):
            dataset = data.load(ending.settings.finetuning_data)
            params |= voters_of(stack, params, dataset) if kind == forward.NEIGHBOURS else {}
            kind = _as_measured(stack, kind, params, dataset, ending, store)
        members.append(Member(params, ending.inputs))
    stored = store.predictions(endings[0].id, "test")
    # In blocks of this size the run has measured test rows, and XLA multiplies a few rows otherwise than many.
    block = min(_BLOCK, len(stored["targets"])) if stored else _BLOCK
    return Model(stack, kind, tuple(members), block, name)


def encoder_shapes(stack: Stack) -> Params:
    """Returns the shapes of an encoder's parameters, by layer; a layer without any has no place among them."""
    return {f"layers_{number}": each.params for number, each in enumerate(stack.shapes) if each.params}


def _as_measured(stack: Stack, kind: str, params: Params, dataset: Dataset, ending: Ending, store: Store) -> str:
    """Returns the kind of an ending by which a network gives the predictions of test rows that its run stored.

    A read-out of the user's own has that of another linear head, with logits or without.

    Raises:
      ConfigError: it does not give them: data, or the code of layers, are others, or a read-out has no such head.
    """
    stored = store.predictions(ending.id, "test")
    kinds = ("logistic", "ridge") if kind == _OWN else (kind,)
    for each in kinds if kind != _OWN or "head" in params else ():
        run = functools.partial(forward.outputs, stack, each, params)
        outputs = np.concatenate([*forward.in_blocks(run, np.asarray, dataset.test.inputs, len(dataset.test.inputs))])
        made = np.asarray(stack.task.predicted(jnp.asarray(outputs), each not in ("ridge", forward.NEIGHBOURS)).scores)
        scores = dataset.units.restored(made) if dataset.units else made.astype(float)
        scale = float(np.std(stored["scores"], dtype=float)) or 1.0
        if scores.shape == stored["scores"].shape and np.abs(scores - stored["scores"]).mean() <= _SAME * scale:
            return each
    if kind == _OWN:
        remedy = "predicts otherwise than by params['head'] of its codes, as a network outside of its run does"
        raise ConfigError("finetune.ending.kind", ending.settings.finetune.ending.kind, remedy)
    remedy = "or layers of your own are not as they were when the run trained; run the run's command again"
    raise ConfigError("data.name", ending.settings.data.name, remedy)


def voters_of(stack: Stack, params: Params, dataset: Dataset) -> Params:
    """Returns the codes and labels of the training rows that vote in a read-out by neighbours."""
    train = Batch(dataset.train.inputs.reshape(-1, *stack.example), dataset.train.labels)
    rows = taken(train, params["neighbours"]["rows"])
    read = probes.as_read(params, rows._replace(inputs=probes.codes_in_blocks(stack, params, rows.inputs)))
    return {forward.VOTERS: {"codes": np.asarray(read.inputs), "labels": np.asarray(rows.labels)}}

"""A network trained on arrays in memory, by the stages of one trial: no directory of a run, and no store."""

import dataclasses
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from pretrain import data
from pretrain.config import DataConfig, Experiment, from_json, to_json
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset, inputs_file, reading
from pretrain.data.arrays import Arrays
from pretrain.data.loading import Reader
from pretrain.engines import here
from pretrain.execute import execute
from pretrain.models import forward, stored
from pretrain.models.model import Member, Model
from pretrain.plan import arrays as moved
from pretrain.plan import environment, fitting
from pretrain.plan import plan as planning
from pretrain.plan.plan import Pack
from pretrain.store import parents

NAME = "X"  # of the data
_BLOCK = 256  # rows that are computed at once


class Trained(NamedTuple):
    """A network, and the experiment whose only trial it is."""

    experiment: Experiment  # fitted to its data
    model: Model


def train(
    arrays: Arrays, experiment: Experiment, chosen: Collection[str], seed: int, with_ending: bool = True
) -> Trained:
    """Trains the only arm of an experiment.

    Args:
      arrays: the rows, in the place of those that ``data.name`` names.
      experiment: how; ``data.name`` is ``NAME``.
      chosen: fields that are not fitted to the rows.
      seed: of all draws, from 0 to below 2³¹.
      with_ending: whether fine-tuning or a read-out follows pretraining; without, the network has codes only.

    Raises:
      ConfigError: rows or fields do not fit, JAX has settings that would change results, or training diverged.
    """
    environment.check()
    environment.check_devices()
    loaded = fitting.load(experiment, chosen, _reader(arrays))
    if len(loaded.experiment.points) > 1:
        raise ConfigError("sweep", experiment.sweep, "has several points, and an estimator is one; give one point")
    (point,), datasets = loaded.experiment.points, loaded.datasets
    jobs = planning.plan(loaded.experiment.with_others({"seeds": 1, "repeats": 1}), datasets, lambda *_: "").jobs
    path = [job for job in jobs.values() if with_ending or job.stage.stack.head is None]
    if not path:
        raise ConfigError("finetune.encoder_init", point.settings.finetune.encoder_init, "pretrains nothing")
    seeded = [dataclasses.replace(job, seed=seed if job.stage.config.method.is_random else 0) for job in path]
    packs, params = [Pack(job.stage, (job,)) for job in seeded], None
    compilers = ThreadPoolExecutor(here.COMPILERS)
    compile_ahead = here.compiler_ahead(packs, datasets, compilers)
    try:
        with environment.one_thread():
            for pack in packs:
                compile_ahead(pack)
                started = parents.beside(pack.jobs[0], params)
                outcome = execute.run(pack, datasets[pack.data], [started], lambda *_: None)
                if outcome.diverged()[0]:
                    remedy = "diverged, to NaN or infinity; lower its learning rate"
                    raise ConfigError("training", pack.stage.name, remedy)
                params = moved.lane_of(outcome.params, 0)
            config = point.settings.finetuning_data
            model = _model(loaded.experiment, inputs_file.inputs_of(config, datasets[config]), params, datasets[config])
    finally:
        compilers.shutdown(cancel_futures=True)
    places = {"run_dir": Experiment.run_dir, "store": Experiment.store}  # of no machine
    return Trained(loaded.experiment.with_others(places), model)


def packed(trained: Trained) -> dict[str, Any]:
    """Returns a network as arrays and JSON."""
    (member,) = trained.model.members
    flat = traverse_util.flatten_dict(member.params, sep="/")
    inputs = inputs_file.content_of(member.inputs)
    arrays = {name: np.asarray(leaf) for name, leaf in flat.items()}
    return {"experiment": to_json(trained.experiment), "inputs": inputs, "arrays": arrays}


def unpacked(content: Mapping[str, Any]) -> Trained:
    """Returns the network of ``packed``.

    Raises:
      ConfigError: its experiment is of another version, or the file of its own layers is not there.
    """
    experiment = from_json(content["experiment"])
    params = traverse_util.unflatten_dict(content["arrays"], sep="/")
    return Trained(experiment, _model(experiment, inputs_file.of_content(content["inputs"]), params))


def _model(experiment: Experiment, inputs: inputs_file.Inputs, params: Any, dataset: Dataset | None = None) -> Model:
    """Returns a network by its parameters; those who vote in a read-out are taken from its dataset, if it is given."""
    settings = experiment.points[0].settings
    stack, kind = stored.network(settings, inputs), settings.finetune.kind
    sides = {side: each for side, each in params.items() if side in (*stored.SIDES, forward.VOTERS)}
    if dataset and kind == forward.NEIGHBOURS and "neighbours" in sides:
        sides |= stored.voters_of(stack, sides, dataset)
    return Model(stack, kind, (Member(sides, inputs),), _BLOCK)


def _reader(arrays: Arrays) -> Reader:
    """Returns a reader that has arrays for ``NAME``, and reads other sources."""
    others, known = data.reader(), []

    def read(config: DataConfig) -> reading.Source:
        if config.name != NAME:
            return others(config)
        if not known:
            known.append(reading.checked(arrays, config)._replace(is_searched=False))
        return known[0]

    return read

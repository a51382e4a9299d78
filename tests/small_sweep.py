"""A small sweep of every kind of stage on the tiny dataset."""

import dataclasses

import jax
import pytest

from pretrain import data
from pretrain.config import DataConfig, EncoderConfig, Experiment, FinetuneConfig, PretrainConfig
from pretrain.config.fields import kind_of, section_classes
from pretrain.config.methods import MethodConfig
from pretrain.execute import execute, lanes
from pretrain.plan.identity import Fingerprints
from pretrain.plan.plan import Job, Plan, packs
from pretrain.plan.plan import plan as plan_all

FINGERPRINTS = Fingerprints()  # of programs that several tests trace
METHODS = {kind_of(each): each for each in section_classes(MethodConfig)}  # of pretraining, by kind
PROGRAMS = (lanes.INIT, lanes.LOOP, lanes.FINISH, lanes.FIT)
CORNERS = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": ("all", 0)}


@pytest.fixture(scope="session")
def dataset(tiny_path) -> data.Dataset:
    return data.load(DataConfig(name=tiny_path, validation=60))


@pytest.fixture(scope="session")
def experiment(tiny_path):
    """Returns a function that makes a small experiment."""

    def make(
        sweep=(CORNERS,), seeds=3, pretrain=None, finetune=None, encoder=None, per_layer=None, data=None
    ) -> Experiment:
        return Experiment(
            data=DataConfig(**{"name": tiny_path, "validation": 60, **(data or {})}),
            encoder=EncoderConfig(**{"layers": (12, 6), **(encoder or {})}),
            pretrain=PretrainConfig(**{"epochs": 2, "batch_size": 20, **(pretrain or {})}),
            finetune=FinetuneConfig(**{"labels": 80, "batch_size": 20, "epochs": 2, **(finetune or {})}),
            sweep=sweep,
            seeds=seeds,
            per_layer=per_layer or {},
        )

    return make


def make_plan(experiment, dataset) -> Plan:
    """Plans an experiment on one dataset."""
    return plan_all(experiment, {experiment.data: dataset}, FINGERPRINTS)


@pytest.fixture(scope="session")
def planned(experiment):
    """Returns a function that plans a small experiment, whose trials start from pretraining, on its own datasets."""

    def make(sweep=({"finetune.encoder_init": ("pretrained",)},), seeds=1, repeats=1, **settings) -> Plan:
        found = dataclasses.replace(experiment(sweep=sweep, seeds=seeds, **settings), repeats=repeats)
        return plan_all(found, data.load_all(found), FINGERPRINTS)

    return make


def of_kind(kind, **settings) -> dict:
    """Settings of pretraining by the method of a kind."""
    return {"method": METHODS[kind](**settings)}


def names(plan: Plan) -> list[str]:
    """The names of a plan's stages, one a job."""
    return sorted(job.stage.name for job in plan.jobs.values())


def path(plan: Plan, trial=0) -> list[Job]:
    """The jobs of a trial, in order."""
    return [plan.jobs[job] for job in plan.trials[trial].jobs]


def forget_programs():
    """Makes all programs be compiled anew, and counted from none."""
    for program in PROGRAMS:
        program.clear()


def unwatched(step, progress):
    """Nobody looks on after a chunk."""


def run_all(plan: Plan, dataset, memory=1 << 30, n_devices=2) -> dict:
    """Runs every job of a plan in memory; returns its outcome by id: parameters, curves, results, diverged."""
    outcomes, digests = {}, {None: None}
    for pack in packs(plan.jobs.values(), (), memory, n_devices):
        parents = [outcomes[job.parent][0] if job.parent else None for job in pack.jobs]
        ran = execute.run(pack, dataset, parents, unwatched, digests=[digests[job.parent] for job in pack.jobs])
        for lane, job in enumerate(pack.jobs):
            digests[job.id] = {side: int(values[lane]) for side, values in ran.digests.items()}
            mine = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (ran.params, ran.curves, ran.results))
            outcomes[job.id] = (*mine, bool(ran.diverged()[lane]))
    return outcomes


@pytest.fixture(scope="session")
def corners(experiment, dataset) -> Plan:
    return make_plan(experiment(), dataset)


@pytest.fixture(scope="session")
def outcomes(corners, dataset) -> dict:
    return run_all(corners, dataset)

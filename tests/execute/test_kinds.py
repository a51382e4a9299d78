"""Every kind of stage in a pack: each trial equals itself alone, and goes on to the same bits where it stopped."""

import jax
import numpy as np
import pytest
from flax import traverse_util

from pretrain import data
from pretrain.config import (
    AutoencoderConfig,
    ContrastiveConfig,
    MaskedConfig,
    RbmConfig,
    SupervisedConfig,
    TeacherConfig,
    VarianceConfig,
    VimeConfig,
)
from pretrain.execute import execute
from pretrain.plan.plan import Pack, packs
from pretrain.plan.plan import plan as plan_all
from tests.launching import ROOT
from tests.small_sweep import FINGERPRINTS, unwatched

pytestmark = pytest.mark.optimised

# Experiments that between them have every kind of stage, each a few updates long and shared by no two points.
PLANS = {
    "a machine, components, then all at once": {
        "encoder": {"layers": (6, 4), "activation": "sigmoid"},
        "per_layer": {"pretrain.method.kind": ("rbm", "pca")},
        "pretrain": {"training": "greedy_then_end_to_end"},
        "method": RbmConfig(visible="gaussian", persistent=True),
        "finetune": {"readout": "knn"},
        "stages": ["finetune", "pretrain/0", "pretrain/1", "pretrain/all"],
    },
    "labels, then layer by layer": {
        "encoder": {"layers": (6,)},
        "per_layer": {"finetune.unfreeze_at": (2,), "finetune.rate_factor": (0.5,)},
        "method": SupervisedConfig(),
        "finetune": {"codes": "whitened", "label_subset": "balanced", "head_init": "zero"},
        "stages": ["finetune", "pretrain/0"],
    },
    "variational and on wrong images": {
        "encoder": {"layers": (6,)},
        "method": AutoencoderConfig(variational=True),
        "finetune": {"encoder_init": "wrong_data"},
        "sweep": ({"finetune.readout": ("ridge", "logistic")},),
        "stages": ["finetune", "finetune", "pretrain/0"],
    },
    "a machine that goes on": {
        "encoder": {"layers": (6,), "activation": "sigmoid"},
        "method": RbmConfig(persistent=True, gibbs_steps=2),
        "stages": ["pretrain/0"],
    },
    "no encoder": {
        "encoder": {"layers": (6,)},
        "finetune": {"encoder_init": "none", "codes": "standardised", "label_subset": "random"},
        "method": AutoencoderConfig(),
        "sweep": ({"finetune.readout": ("none", "logistic", "trees")},),
        "stages": ["finetune", "finetune", "finetune"],
    },
    "two views, layer by layer": {
        "encoder": {"layers": (6, 4)},
        "method": ContrastiveConfig(projector=(5, 3), negatives="other_view", anchor="clean"),
        "stages": ["pretrain/0", "pretrain/1"],
    },
    "two views, all at once": {
        "encoder": {"layers": ("3c3s2", 5)},
        "pretrain": {"training": "end_to_end"},
        "method": VarianceConfig(views=("flip", "erasing", "noise"), projector=()),
        "stages": ["pretrain/all"],
    },
    "a teacher": {
        "encoder": {"layers": (6, 4)},
        "method": TeacherConfig(projector=(5, 3), predictor=(4,), momentum=0.5),
        "stages": ["pretrain/0", "pretrain/1"],
    },
    "a teacher, all at once": {
        "encoder": {"layers": (6, 4)},
        "pretrain": {"training": "end_to_end"},
        "method": TeacherConfig(projector=(), stops_gradient=False),
        "stages": ["pretrain/all"],
    },
    "draws and running averages": {
        "encoder": {"layers": (f"{ROOT}/tests/moded_layers.py:layers", 4)},
        "method": AutoencoderConfig(),
        "finetune": {"frozen_layers": 1},
        "stages": ["finetune", "pretrain/0", "pretrain/1", "pretrain/2"],
    },
    "draws and running averages, all at once": {
        "encoder": {"layers": (f"{ROOT}/tests/moded_layers.py:layers",)},
        "pretrain": {"training": "end_to_end", "stop": "validation", "patience": 9, "validate_every": 1},
        "method": AutoencoderConfig(),
        "stages": ["finetune", "pretrain/all"],
    },
    "hidden patches, layer by layer": {
        "encoder": {"layers": ("3c3", "max2", 5)},
        "method": MaskedConfig(patch=2),
        "stages": ["pretrain/0", "pretrain/2"],
    },
    "hidden patches, all at once": {
        "encoder": {"layers": (6, 4)},
        "pretrain": {"training": "end_to_end"},
        "method": MaskedConfig(share=0.5),
        "stages": ["pretrain/all"],
    },
    "hidden tokens, layer by layer": {
        "encoder": {"layers": ("6p3", "t2")},
        "method": MaskedConfig(),
        "stages": ["pretrain/0", "pretrain/1"],
    },
    "hidden tokens, all at once": {
        "encoder": {"layers": ("6p3", "t2", "norm", "mean")},
        "pretrain": {"training": "end_to_end"},
        "method": MaskedConfig(share=0.5),
        "stages": ["pretrain/all"],
    },
    "swapped values, layer by layer": {
        "encoder": {"layers": (6, 4)},
        "data": {"inputs": "columns"},
        "method": VimeConfig(),
        "stages": ["pretrain/0", "pretrain/1"],
    },
    "swapped values, all at once": {
        "encoder": {"layers": (6, 4)},
        "data": {"inputs": "columns"},
        "pretrain": {"training": "end_to_end"},
        "method": VimeConfig(swap=0.5),
        "stages": ["pretrain/all"],
    },
    "a corruption by swaps": {
        "encoder": {"layers": (6,)},
        "data": {"inputs": "columns"},
        "method": AutoencoderConfig(corruption="swap"),
        "stages": ["pretrain/0"],
    },
    "watched codes": {
        "encoder": {"layers": (6, 4)},
        "pretrain": {"watch": ("neighbours", "rank")},
        "method": AutoencoderConfig(),
        "stages": ["pretrain/0", "pretrain/1"],
    },
    "tokens": {
        "encoder": {"layers": ("6p3", "t2", "mean")},
        "pretrain": {"training": "greedy_then_end_to_end"},
        "method": AutoencoderConfig(corruption="masking"),
        "stages": ["finetune", "pretrain/0", "pretrain/1", "pretrain/all"],
    },
    "convolutions": {
        "encoder": {"layers": ("3c3s2", 5)},
        "method": AutoencoderConfig(corruption="masking"),
        "finetune": {"frozen_layers": 1},
        "stages": ["finetune", "pretrain/0", "pretrain/1"],
    },
}


class Ran(dict):
    """Outcomes by id, with the jobs and datasets that they are of."""

    def __init__(self, found, datasets, names):
        super().__init__()
        self.jobs = {name: job for name, job in found.jobs.items() if job.stage.name in names}
        self.trials, self.datasets = found.trials, datasets
        for pack in packs(self.jobs.values(), (), 1 << 30, 1):
            assert len(pack.jobs) == 3
            ran = self.run(pack)
            assert not ran.diverged().any()
            for lane, job in enumerate(pack.jobs):
                mine = jax.tree.map(lambda leaf, lane=lane: leaf[lane], (ran.params, ran.curves, ran.results))
                self[job.id] = mine

    def run(self, pack, after_chunk=unwatched, begun=None):
        parents = [self[job.parent][0] if job.parent else None for job in pack.jobs]
        return execute.run(pack, self.datasets[pack.data], parents, after_chunk, begun)

    def of_seed(self, seed):
        """The jobs of a seed, in the same order for every seed."""
        ids = dict.fromkeys(job for trial in self.trials if trial.seed == seed for job in trial.jobs)
        return [self.jobs[job] for job in ids if job in self.jobs]


@pytest.fixture(scope="module", params=PLANS)
def ran(request, experiment):
    """Every job of a plan, run in packs of three seeds."""
    settings = PLANS[request.param]
    pretrain = {"epochs": 1, "end_to_end_epochs": 1, "batch_size": 50, **settings.get("pretrain", {})}
    pretrain["method"] = settings["method"]
    finetune = {"epochs": 1, **settings.get("finetune", {})}
    others = {"per_layer": settings.get("per_layer"), "sweep": settings.get("sweep", ()), "data": settings.get("data")}
    found = experiment(seeds=3, encoder=settings["encoder"], pretrain=pretrain, finetune=finetune, **others)
    datasets = data.load_all(found)
    # On one device, where a program compiles faster; that devices change nothing is tested beside other stages.
    devices = jax.local_devices()[:1]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jax, "local_devices", lambda: devices)
        made = Ran(plan_all(found, datasets, FINGERPRINTS), datasets, settings["stages"])
    assert sorted(job.stage.name for job in made.of_seed(1)) == settings["stages"]
    assert len(made) == 3 * len(settings["stages"])
    return made


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def test_every_kind_of_stage_comes_out_of_a_pack_as_alone_and_goes_on_as_if_it_had_not_stopped(ran, monkeypatch):
    jobs = ran.of_seed(1)
    assert jobs
    for job in jobs:
        pack, kept = Pack(job.stage, (job,)), []
        expected = jax.tree.map(lambda leaf: leaf[None], ran[job.id])
        alone = ran.run(pack, lambda step, progress, kept=kept: kept.append(progress()))
        same((alone.params, alone.curves, alone.results), expected)
        # In chunks of one update, and from the first of them on, with the programs that are compiled.
        with monkeypatch.context() as patched:
            patched.setattr(execute, "_chunks", lambda first, total: [(n, n + 1) for n in range(first, total)])
            kept.clear()
            ran.run(pack, lambda step, progress, kept=kept: kept.append(progress()))
            assert [progress.step for progress in kept] == list(range(1, job.stage.n_updates + 1))
            again = ran.run(pack, begun=kept[0] if kept else None)
        same((again.params, again.curves, again.results), expected)


def test_seeds_of_every_kind_of_stage_differ(ran):
    for job, twin in zip(ran.of_seed(1), ran.of_seed(2), strict=True):
        assert job.stage == twin.stage
        ours, theirs = (jax.tree.leaves((ran[one.id][0], ran[one.id][2])) for one in (job, twin))
        assert not all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True)), job.stage.name


def test_every_stage_hands_on_the_parameters_that_it_says(ran):
    for job in ran.jobs.values():
        if job.stage.stack.head is None:
            shapes = traverse_util.flatten_dict(jax.tree.map(lambda leaf: leaf.shape, job.stage.shapes))
            same(shapes, traverse_util.flatten_dict(jax.tree.map(np.shape, ran[job.id][0])))

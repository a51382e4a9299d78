"""Small plans that call every function on the way of a number, and a comparison of two stores of one of them.

    python -m tests.altered.plans ids PLAN               prints the ids of its stages
    python -m tests.altered.plans train STORES CALLED    trains all, and writes which functions each plan calls
    python -m tests.altered.plans compare STORES PLAN    says which stored stages this code takes, and whether they are
                                                         those that it would train

The package is the one that ``PYTHONPATH`` names: a copy with an altered line.
"""

import contextlib
import itertools
import json
import sys
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

import jax
import numpy as np

from pretrain import config, running
from pretrain.config import Experiment
from pretrain.config.fields import kind_of, section_classes
from pretrain.config.methods import MethodConfig
from pretrain.config.optimizers import AdamConfig, AdamWConfig, SgdConfig
from pretrain.engines.here import run_here
from pretrain.engines.interrupts import Interrupted
from pretrain.engines.request import Request
from pretrain.execute import execute
from pretrain.plan import environment
from pretrain.plan.plan import Plan
from pretrain.runs import tables
from pretrain.runs.remeasure import remeasured
from pretrain.store.store import Store

METHODS = {kind_of(each): each for each in section_classes(MethodConfig)}
SIZES = {"train": 60, "test": 20}
STOP_EVERY, MOST_INTERRUPTIONS = 4, 100
OWN_LAYER = """
from flax import linen as nn


class Doubled(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        sums = nn.BatchNorm(not train, momentum=0.5)(nn.Dense(4)(inputs))
        return nn.Dropout(0.2, deterministic=not train)(nn.tanh(2 * sums))

    def decoder(self, shape):
        return nn.Dense(shape[-1])


def layer():
    return Doubled()
"""


# Differences from the smallest plan, section by section.
PLANS = {
    "arms": {
        "sweep": ({"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (1, 0)},),
        "pretrain": {"method": METHODS["autoencoder"](corruption="masking")},
        "finetune": {"stop": "validation", "patience": 2, "validate_every": 1},
        "study": {"metric": "test_balanced_accuracy", "tune": ("finetune.frozen_layers",), "tune_labels": 15},
    },
    "controls": {
        "sweep": ({"finetune.encoder_init": ("matched", "permuted", "rotated", "pca", "none", "wrong_data")},),
        "data": {"splits": "fresh"},
        "pretrain": {"sampling": "fresh", "method": METHODS["autoencoder"](tied=True, corruption="salt_and_pepper")},
        "finetune": {
            "label_subset": "random",
            "optimizer": AdamWConfig(schedule="cosine", warmup_steps=1, weight_decay=0.1, clip_norm=0.5),
        },
    },
    "machines": {
        "sweep": ({"finetune.readout": ("ridge", "knn", "logistic")}, {"pretrain.method.persistent": (True, False)}),
        "encoder": {"activation": "sigmoid"},
        "pretrain": {
            "training": "greedy_then_end_to_end",
            "carry_step_count": True,
            "method": METHODS["rbm"](),
            "optimizer": AdamConfig(epsilon_inside=True),
        },
    },
    "losses": {
        "sweep": ({"pretrain.method.loss": ("mse", "cross_entropy")},),
        "encoder": {"activation": "sigmoid"},
        "pretrain": {
            "training": "end_to_end",
            "method": METHODS["autoencoder"](
                sparsity="kl", variational=True, corruption="gaussian", corruption_schedule="linear"
            ),
            "optimizer": SgdConfig(momentum=0.9),
        },
        "finetune": {"updates": 3, "cache_codes": False, "frozen_layers": 1},
    },
    "convolutions": {
        "encoder": {"layers": ("2c3s2", "r2", "layer.py:layer")},
        "finetune": {"codes": "whitened", "diagnose_at": (1,), "unfreeze_at": 1, "rate_factor": 0.5},
    },
    "labels": {
        "sweep": ({"finetune.codes": ("raw", "standardised")},),
        "pretrain": {"method": METHODS["supervised"]()},
        "finetune": {
            "label_subset": "balanced",
            "head_init": "ridge",
            "first_logit_change": 0.5,
            "diagnose_at": (1,),
            "sampling": "epoch",
        },
    },
    "two views": {
        "sweep": (
            {
                "pretrain.method.kind": ("contrastive", "redundancy", "variance", "teacher"),
                "pretrain.method.views": (
                    ("crop", "flip", "rotation", "erasing"),
                    ("brightness", "contrast", "blur", "solarise", "noise"),
                ),
            },
        ),
        "finetune": {"epochs": 1, "views": ("noise",)},
    },
    "two views of columns, all at once": {
        "data": {"name": "several.npz", "scaling": "standardise"},
        "pretrain": {"training": "end_to_end", "method": METHODS["contrastive"](anchor="clean", projector=(3,))},
        "finetune": {"epochs": 1},
    },
    "hidden patches": {
        "sweep": ({"pretrain.training": ("greedy", "end_to_end")},),
        "encoder": {"layers": ("2c3", 4)},
        "pretrain": {"method": METHODS["masked"](share=0.5, patch=2)},
        "finetune": {"epochs": 1},
    },
    "hidden tokens": {
        "sweep": ({"pretrain.training": ("greedy", "end_to_end")},),
        "encoder": {"layers": ("6p2", "t2", "norm", "mean")},
        "pretrain": {"method": METHODS["masked"](share=0.5)},
        "finetune": {"epochs": 1},
    },
    "swapped values": {
        "sweep": ({"pretrain.training": ("greedy", "end_to_end")},),
        "data": {"name": "several.npz", "scaling": "standardise"},
        "pretrain": {"method": METHODS["vime"]()},
        "finetune": {"epochs": 1},
    },
    "several labels": {
        "sweep": ({"finetune.readout": ("none", "logistic", "ridge"), "finetune.head_init": ("random",)},),
        "data": {"name": "several.npz", "scaling": "standardise"},
        "finetune": {"stop": "validation", "patience": 1, "validate_at": (1, 2, 3)},
        "study": {"metric": "test_auroc"},
    },
    "numbers": {
        "sweep": ({"finetune.readout": ("none", "ridge", "knn"), "finetune.fresh_layers": (0, 1)},),
        "data": {"name": "numbers.npz"},
        "pretrain": {"method": METHODS["autoencoder"](contractive=True, sparsity="l1")},
        "study": {"metric": "test_rmse"},
    },
}


def experiment(name: str, store: str) -> Experiment:
    """The experiment of a plan."""
    plan = PLANS[name]
    usual = {
        "data": {"name": "tiny.npz", "validation": 20},
        "encoder": {"layers": (5, 4)},
        "pretrain": {"epochs": 1, "end_to_end_epochs": 1, "batch_size": 20},
        "finetune": {"labels": 20, "batch_size": 10, "epochs": 2, "validate_at": (1,)},
        "study": {},
    }
    sections = {
        section: getattr(config, f"{section.capitalize()}Config")(**{**fields, **plan.get(section, {})})
        for section, fields in usual.items()
    }
    return Experiment(**sections, sweep=plan.get("sweep", ()), seeds=2, store=store, run_dir="run")


def write_data() -> None:
    """Writes the data of all plans into the working directory."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 200, (3, 4, 4))
    drawn = {split: rng.integers(0, 3, size) for split, size in SIZES.items()}
    images = {
        split: np.clip(patterns[labels] + rng.normal(0, 25, (len(labels), 4, 4)), 0, 255).astype(np.uint8)
        for split, labels in drawn.items()
    }
    of_images = {f"{split}_images": each for split, each in images.items()}
    np.savez("tiny.npz", **of_images, **{f"{split}_labels": labels for split, labels in drawn.items()})
    numbers = {split: each.mean(axis=(1, 2), keepdims=True)[:, 0] / 50 for split, each in images.items()}
    np.savez("numbers.npz", **of_images, **{f"{split}_labels": each for split, each in numbers.items()})
    several = {
        f"{split}_labels": np.stack([numbers[split][:, 0] > 2, labels < 2], axis=1).astype(np.uint8)
        for split, labels in drawn.items()
    }
    rows = {f"{split}_inputs": each.reshape(len(each), -1) / 255 for split, each in images.items()}
    np.savez("several.npz", **rows, **several)
    Path("layer.py").write_text(OWN_LAYER)


def trained(prepared: running.Prepared, plan: Plan, root: Path) -> Store:
    """A store in which a plan's stages are trained, and interrupted now and then."""
    store = Store(root, fail)
    execute._FIRST_CHUNK = 1  # update, after which a pack may be interrupted
    asked = itertools.cycle([False] * STOP_EVERY + [True])
    request = Request(prepared.experiment, plan, prepared.datasets, store, running.QUIET, lambda: next(asked))
    for _ in range(MOST_INTERRUPTIONS):
        with contextlib.suppress(Interrupted):
            run_here(request)
            break
    store.refresh()
    store.verified(plan.jobs)
    return store


def fail(line: str) -> None:
    """No file is damaged."""
    raise RuntimeError(line)


def tables_of(prepared: running.Prepared, store: Store) -> list:
    """The tables of results."""
    plan, study = prepared.plan, prepared.experiment.study
    errors = remeasured(plan, store, prepared.datasets)
    return [tables.trials(plan, store, errors, study), tables.curves(plan, store)]


def train(stores: Path) -> dict[str, list[str]]:
    """Trains all plans; returns the functions that each calls, as ``FILE:FUNCTION``."""
    called = {}
    for name in PLANS:
        seen: dict[str, set[str]] = defaultdict(set)
        watch(seen)
        prepared = running.prepare(experiment(name, str(stores / name)))
        tables_of(prepared, trained(prepared, prepared.plan, stores / name))
        watch(None)
        called[name] = sorted({f"{file}:{function}" for file, functions in seen.items() for function in functions})
    return called


def watch(seen: dict[str, set[str]] | None) -> None:
    """Notes the package's functions that are called from now on, by file."""
    root = str(Path(running.__file__).parent)

    def note(frame, event, argument):
        if frame.f_code.co_filename.startswith(root):
            file = str(Path(frame.f_code.co_filename).relative_to(root))
            seen[file].add(frame.f_code.co_qualname.split(".<locals>")[0])

    jax.clear_caches()
    sys.settrace(note if seen is not None else None)
    threading.settrace(note if seen is not None else None)


def compare(stores: Path, name: str) -> str:
    """Returns what becomes of the stored stages of a plan: ``new ids``, ``equal``, or ``STALE`` and what differs."""
    prepared = running.prepare(experiment(name, str(stores / name)), warn=fail)
    kept = {job.id: job for job in prepared.plan.jobs.values() if job.id not in prepared.missing}
    if not kept:
        return "new ids"
    stored = prepared.store
    stored.verified(kept)
    with tempfile.TemporaryDirectory() as root:
        anew = trained(prepared, Plan((), kept), Path(root))
        for job in kept.values():
            if differences := [part for part, of in PARTS.items() if of(stored, job) != of(anew, job)]:
                return f"STALE {job.stage.name}: {', '.join(differences)}"
        if not prepared.missing:
            pairs = zip(tables_of(prepared, stored), tables_of(prepared, anew), strict=True)
            if not all(one.equals(other) for one, other in pairs):
                return "STALE tables"
    return "equal" if not prepared.missing else f"new ids but {len(kept)}, which are equal"


def _bits(tree) -> list:
    return [(np.asarray(leaf).dtype.str, np.shape(leaf), np.asarray(leaf).tobytes()) for leaf in jax.tree.leaves(tree)]


def _record(store: Store, job) -> str:
    [record] = store.records([job.id])
    content = {name: value for name, value in vars(record).items() if name != "seconds"}
    return json.dumps(content, sort_keys=True)


PARTS = {
    "parameters": lambda store, job: _bits(store.params(job.id)),
    "record": _record,
    "curves": lambda store, job: store.curves([job.id])[0].to_pylist(),
    "predictions": lambda store, job: _predictions(store, job),
}


def _predictions(store: Store, job) -> list:
    if job.stage.name != "finetune":
        return []
    return [(split, _bits(store.predictions(job.id, split))) for split in ("validation", "test")]


def ids(name: str) -> dict[str, list[str]]:
    """Returns the ids of a plan's stages, by the stage's name."""
    by_name = defaultdict(list)
    for job in running.prepare(experiment(name, "store"), read_only=True).plan.jobs.values():
        by_name[job.stage.name].append(job.id)
    return by_name


if __name__ == "__main__":
    environment.fix()
    mode, *rest = sys.argv[1:]
    if mode == "ids":
        write_data()
        print(json.dumps(ids(*rest)))
    elif mode == "train":
        write_data()
        stores, called = map(Path, rest)
        called.write_text(json.dumps(train(stores)))
    else:
        stores, name = rest
        print(compare(Path(stores), name))

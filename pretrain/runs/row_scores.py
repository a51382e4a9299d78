"""Influence of every held-out row on trials' results, from stored predictions."""

import functools
from collections.abc import Callable, Collection, Mapping

import numpy as np
import pyarrow as pa

from pretrain import data
from pretrain.config import DataConfig, Experiment
from pretrain.config.fields import ConfigError
from pretrain.config.metrics import split_of
from pretrain.data import Dataset
from pretrain.plan.plan import Plan
from pretrain.runs.influences import influence
from pretrain.runs.measures import Predictions
from pretrain.runs.scored import RowScores
from pretrain.store.manifests import DamageError
from pretrain.store.store import Store

Source = tuple[str, Dataset]  # a fine-tuning, and its data


def of_trials(
    plan: Plan, store: Store, datasets: Mapping[DataConfig, Dataset], metric: str, trial_ids: Collection[str]
) -> dict[str, RowScores]:
    """Returns the influence of each row on a result of some trials; of those without one none."""
    of_plan = {trial.id: (trial.jobs[-1], datasets[plan.jobs[trial.jobs[-1]].data]) for trial in plan.trials}
    return _of_sources({trial: of_plan[trial] for trial in of_plan.keys() & trial_ids}, store, metric)


def of_run(
    experiment: Experiment, trials: pa.Table, stages: pa.Table
) -> Callable[[str, Collection[str]], dict[str, RowScores]]:
    """Returns a function that does the same for a finished run; of what is no longer stored, or read, it gives none."""

    @functools.cache
    def found() -> tuple[Store, dict[str, Source]]:
        store = Store(experiment.store, warn=lambda line: None, read_only=True)
        try:
            datasets = data.load_all(experiment.whole)
        except (ConfigError, DamageError, OSError):
            return store, {}
        rows = stages.to_pylist()
        jobs = {row["trial_id"]: row["stage_id"] for row in rows if row["stage"] == "finetune"}
        stored = store.verified(set(jobs.values()))
        configs = _configs(experiment, trials)
        return store, {
            trial: (job, datasets[configs[trial]])
            for trial, job in jobs.items()
            if job in stored and configs.get(trial) in datasets
        }

    def read(metric: str, trial_ids: Collection[str]) -> dict[str, RowScores]:
        store, sources = found()
        return _of_sources({trial: sources[trial] for trial in sources.keys() & trial_ids}, store, metric)

    return read


def _configs(experiment: Experiment, trials: pa.Table) -> dict[str, DataConfig]:
    """Returns the data of each trial of a run."""
    swept = [name for name in trials.column_names if name.startswith("data.")]
    points = {tuple(point.values.get(name) for name in swept): point.settings for point in reversed(experiment.points)}
    rows = trials.select(["trial_id", "seed", *swept]).to_pylist()
    settings = {row["trial_id"]: (points.get(tuple(row[name] for name in swept)), row["seed"]) for row in rows}
    return {trial: at.at_seed(seed).finetuning_data for trial, (at, seed) in settings.items() if at}


def _of_sources(sources: Mapping[str, Source], store: Store, metric: str) -> dict[str, RowScores]:
    """Returns the influence of each row on a result, by trial."""
    split, measure = split_of(metric)
    of_job: dict[str, RowScores | None] = {}  # read pack by pack, of which the store keeps one
    for job, dataset in sorted(dict(sources.values()).items(), key=lambda each: store.pack_of(each[0]) or ""):
        of_job[job] = None
        stored = store.predictions(job, split)
        predicted = Predictions(stored["scores"], stored.get("classes"), stored["targets"])
        deviation = dataset.units.deviation if dataset.units else None
        values, origin = influence(measure, dataset.task, predicted, deviation), dataset.origins.get(split)
        places = origin.rows if origin else np.arange(len(predicted.targets))
        if values is not None and len(places) == len(values):  # rows may be others by now
            groups = origin.groups if origin else None
            of_job[job] = RowScores(values.astype(np.float32), places, groups, predicted.targets)
    found = {trial: of_job[job] for trial, (job, _) in sources.items()}
    return {trial: scores for trial, scores in found.items() if scores}

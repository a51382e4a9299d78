"""Networks, parameters and measures of finished runs, which are opened from the store of their stages."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config import metrics
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError
from pretrain.config.paths import path_of
from pretrain.config.suggestions import suggestion
from pretrain.study import summary
from pretrain.study.results import Run, load_run

if TYPE_CHECKING:
    from pretrain.models.model import Model


def at_store(run: Run, store: str) -> Run:
    """Returns a run whose trained stages lie in another store, as one that was moved.

    Raises:
      ConfigError: it is no store.
    """
    root = path_of("store", store)
    if not (root / "packs").is_dir():
        remedy = "is no store of trained stages, which has a directory packs; name one"
        raise ConfigError("store", store, remedy)
    return dataclasses.replace(run, experiment=run.experiment.with_others({"store": str(root)}))


def measured(run: Run, metric: str, field: str = "study.metric", with_chance: bool = False, anew: bool = False) -> Run:
    """Returns a run whose trials have a metric, measured from stored predictions where they lack it.

    A metric of one's own, whose file may be another by now, is measured again if ``anew``.

    Raises:
      ConfigError: it is no metric, none of these targets, has no value of any trial, or is another than that by which
        arms were tuned, or predictions are not, or no longer, stored in full.
    """
    if anew or metric != run.experiment.study.metric:
        metrics.check_metric(metric, field)
    if anew and ".py:" in metric:
        found = measured(_without(run, metrics.split_of(metric)[1]), metric, field, with_chance)
        return _checked(found, run, metric, field)
    names, first = run.trials.column_names, summary.metrics(run.trials)[0]
    column = first if metric == metrics.AUTO else metrics.column(metric)
    has_metric = column in names
    if has_metric and (not with_chance or f"{column}{metrics.CHANCE}" in names):
        return run
    first = metrics.split_of(first)[1]
    (task,) = (task for task, usual in metrics.USUAL.items() if usual[0] == first)
    metrics.check_task(metric, [task], field)
    from pretrain.runs import tables  # takes a second, and columns that are there do not need it
    from pretrain.store.store import Store

    faults: list[str] = []
    store = Store(run.experiment.store, warn=faults.append, read_only=True)
    ids = {row["stage_id"] for row in run.stages.to_pylist() if row["stage"] == "finetune"}
    missing = ids - store.verified(ids)
    missing |= {job for job in ids - missing if store.predictions(job, "test") is None}
    if missing and has_metric:
        return run
    if missing:
        reason = faults[0] if faults else f"the store {run.experiment.store} lacks predictions"
        remedy = "run the run's command again, or name another store by --store"
        extent = f"of {len(missing):,} of {counted(len(ids), 'fine-tuning')}"
        raise ConfigError(field, metric, f"cannot be measured: {reason} {extent}; {remedy}")

    def with_columns(trials: pa.Table) -> pa.Table:
        trials = tables.with_metric(trials, run.stages, store, metric)
        return tables.with_chance(trials, run.stages, store, column, task) if with_chance else trials

    return dataclasses.replace(
        run, trials=with_columns(run.trials), variation=run.variation and with_columns(run.variation)
    )


def _checked(found: Run, run: Run, metric: str, field: str) -> Run:
    """Returns a run measured anew by a metric of the user's own, if it has values, and tuned arms by these."""
    column = metrics.column(metric)
    if found.trials[column].null_count == len(found.trials):
        raise ConfigError(field, metric, "has no value of any trial: it returns NaN, or infinity; return numbers")
    score = f"validation_{metrics.split_of(metric)[1]}"
    is_tuned = bool(run.experiment.study.tune) and run.experiment.study.metric == metric
    if is_tuned and not found.trials[score].equals(run.trials[score]):
        remedy = "is another by now than that by which settings were chosen; run the run's command again"
        raise ConfigError(field, metric, remedy)
    return found


def _without(run: Run, own: str) -> Run:
    """Returns a run without what it knows of a metric of the user's own."""
    columns = [f"{split}_{own}" for split in ("test", "validation")]

    def kept(table: pa.Table | None) -> pa.Table | None:
        return table and table.select([name for name in table.column_names if name not in columns])

    rows = run.rows and run.rows.filter(pc.invert(pc.is_in(run.rows["metric"], pa.array(columns))))
    return dataclasses.replace(run, trials=kept(run.trials), variation=kept(run.variation), rows=rows)


def load_model(
    path: Path | str,
    arm: str | Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    ensemble: bool = False,
    store: Path | str | None = None,
) -> "Model":
    """Returns the network of an exported folder, or of a run as ``Run.model`` does.

    A folder executes nothing. Of a run, the file of layers of the user's own runs, and so does a function that gives
    the data, where the rows of these are read.

    Args:
      path: the folder of ``launch.py export``, or the directory of a run.
      arm: see ``Run.model``; of a run.
      seed: likewise.
      ensemble: likewise.
      store: likewise.

    Raises:
      ConfigError: it is neither, or damaged, or there is no such arm or trial.
      DamageError: a file of the run is missing or not as it was written.
    """
    from pretrain.models import folder  # takes seconds, and tables do not need it

    place = path_of("model", path)
    if not folder.is_network(place):
        return load_run(path).model(arm, seed=seed, ensemble=ensemble, store=store)
    given = {"arm": arm, "seed": seed, "ensemble": ensemble or None, "store": store}
    if odd := [name for name, value in given.items() if value is not None]:
        raise ConfigError(odd[0], given[odd[0]], f"is of runs, and {place} is one exported network; leave it out")
    return folder.load(place)


def load_params(path: Path | str, trial_id: str, stage: str = "finetune", store: Path | str | None = None) -> dict:
    """Returns the parameters of a trial after one of its stages, as nested dictionaries of NumPy arrays.

    Args:
      path: the run's directory.
      trial_id: the trial, or the beginning of its id.
      stage: ``finetune``, or a phase as in ``pretrain/0``.
      store: where the stages are, if not where the run left them.

    Raises:
      ConfigError: there is no such run, trial or stage, or the stage is not, or no longer, stored in full.
      DamageError: a file of the run is missing or not as it was written.
    """
    from pretrain.store.store import Store, StoreError  # takes a second, and tables do not need it

    run = load_run(path)
    by_stage = _stages_of(run, trial_id)
    if stage not in by_stage:
        raise ConfigError("stage", stage, f"is none of trial {trial_id}'s: {', '.join(by_stage)}")
    root, faults = store or run.experiment.store, list[str]()
    opened = Store(root, warn=faults.append, read_only=True)
    try:
        if opened.verified([by_stage[stage]]):
            return opened.params(by_stage[stage])
    except StoreError as error:
        faults.append(str(error))
    reason = faults[0] if faults else "it has no such stage; run the experiment again, or name another store"
    raise ConfigError("store", str(root), f"cannot give {stage} of trial {trial_id}: {reason}")


def _stages_of(run: Run, trial_id: str) -> dict[str, str]:
    """Returns the stages of a trial, named by its id or the beginning of it: id by name."""
    rows = run.stages.to_pylist()
    ids = dict.fromkeys(row["trial_id"] for row in rows)
    named = [name for name in ids if name.startswith(trial_id)] if trial_id else []
    if len(named) != 1:
        near = suggestion(trial_id, [] if named else ids, "its trials.trial_id lists them")
        raise ConfigError("trial_id", trial_id, f"names {len(named)} of the run's {counted(len(ids), 'trial')}; {near}")
    return {row["stage"]: row["stage_id"] for row in rows if row["trial_id"] == named[0]}

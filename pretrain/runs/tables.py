"""The tables of a run: a row a trial, and every curve in long form."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pretrain.config import StudyConfig, metrics
from pretrain.config.kinds import TaskKind
from pretrain.config.metrics import PRETRAINING_BEST, RECONSTRUCTION
from pretrain.plan import redraws
from pretrain.plan.plan import Plan, Trial
from pretrain.runs import endings, measures, run_files
from pretrain.runs.chance import chance
from pretrain.runs.endings import BEST, STOPPED, UPDATES
from pretrain.store.store import Store

_OF_PRETRAINING = ("pretrain_validation_mse", RECONSTRUCTION)
_KINDS = {name: pa.int64() for name in (UPDATES, BEST, PRETRAINING_BEST)} | {STOPPED: pa.bool_()}


def trials(
    plan: Plan,
    store: Store,
    remeasured: Mapping[str, float] | None = None,
    study: StudyConfig | None = None,
    compared: Mapping[str, Mapping[str, float]] | None = None,
) -> pa.Table:
    """Returns a row a trial, in the plan's order; every column is deterministic.

    Columns: ``trial_id``, ``seed``, ``repeat`` (of the seed's fine-tunings), every swept field by its dotted name,
    ``failed_stage``, the first stage that diverged, or null, ``status`` (``ok``, ``diverged``, ``collapsed``), the
    usual metrics of the task on test rows and on validation rows at the end of training, the first of them first, and
    ``pretrain_validation_mse`` and ``pretrain_test_mse``, the end-to-end reconstruction error after the last phase. The
    latter are null without pretraining, or if the codes of a phase cannot be decoded; losses are null for read-outs of
    classes without probabilities, ridge regression and nearest neighbours; NaN and infinite results of diverged trials
    are null. ``finetune_updates`` is the number of updates of fine-tuning, null for read-outs. If fine-tuning may stop
    early, ``finetune_best_update`` is the update of the kept parameters, and of all results, and ``finetune_stopped``
    whether it did stop; ``pretrain_best_update`` is that of the last phase, if pretraining may.

    Args:
      plan: the trials.
      store: of all their stages.
      remeasured: ``pretrain_test_mse`` of trials whose pretraining was measured on other test images, by id.
      study: the question: its metric becomes a column besides the usual ones; and if fields are tuned,
        ``tuning_score`` is the metric on the validation rows that may choose their values.
      compared: baselines by trial and name, as ``baselines.of_trials``.
    """
    study = study or StudyConfig()
    last = [trial.jobs[-1] for trial in plan.trials]
    usual = metrics.USUAL[plan.jobs[last[0]].stage.stack.task.kind]
    of_task = [f"{split}_{name}" for split in ("test", "validation") for name in usual]
    # Accuracy and loss are recorded in training.
    from_predictions = [name for name in of_task if metrics.split_of(name)[1] not in ("accuracy", "loss")]
    computed = measures.measured(store, list(dict.fromkeys(last)), from_predictions)
    names = list(dict.fromkeys(name for trial in plan.trials for name in trial.point))
    cells = {name: _cells([trial.point.get(name) for trial in plan.trials]) for name in names}
    records = dict(zip(plan.jobs, store.records(list(plan.jobs)), strict=True))
    finals = endings.finals(store, list(plan.jobs.values()), records)
    status = {job.id: endings.status(records[job.id], job.stage, finals[job.id]) for job in plan.jobs.values()}
    rows = []
    for number, trial in enumerate(plan.trials):
        *phases, finetune = (records[job] for job in trial.jobs)
        stage, final = plan.jobs[trial.jobs[-1]].stage, finals[trial.jobs[-1]]
        failed = (job for job in trial.jobs if status[job] == "diverged")
        row = {"trial_id": trial.id, "seed": trial.seed, "repeat": trial.repeat}
        row |= {name: cells[name][number] for name in names}
        row["failed_stage"] = next((plan.jobs[job].stage.name for job in failed), None)
        row["status"] = status[trial.jobs[-1]]
        of_pretraining = phases[-1].results if phases else {}  # a supervised phase has accuracies, too
        measured = {name: value for name, value in of_pretraining.items() if name.startswith("pretrain_")}
        if remeasured and trial.id in remeasured:
            measured[RECONSTRUCTION] = remeasured[trial.id]
        if phases and phases[-1].stopping:
            measured[PRETRAINING_BEST] = phases[-1].stopping["best_update"]
        row |= {
            **measured,
            **finetune.results,
            **final,
            **endings.ends(finetune, stage),
            **computed.get(trial.jobs[-1], {}),
            **(compared or {}).get(trial.id, {}),
        }
        rows.append(row)
    # Columns of every run, with or without pretraining, and other measures of its methods.
    of_trials = ("trial_id", "seed", "repeat", *names, "failed_stage", "status")
    first = [*of_task, *_OF_PRETRAINING, UPDATES]
    results = [*first, *sorted({name for row in rows for name in row} - {*of_trials, *first})]
    columns = {name: pa.array([row[name] for row in rows]) for name in of_trials}
    columns["failed_stage"] = columns["failed_stage"].cast(pa.string())
    kinds = {name: _KINDS.get(name, pa.float64()) for name in results}
    columns |= {name: pa.array([row.get(name) for row in rows], kinds[name]) for name in results}
    if study.tune:
        scores = [_tuning_score(plan, trial, store, study, usual[0]) for trial in plan.trials]
        columns[metrics.TUNING_SCORE] = pa.array(scores, pa.float64())
    levels = {name: columns.pop(name) for name in results if name.endswith(metrics.OF_CHANCE)}
    table = with_metric(pa.table(columns), stages(plan), store, study.metric)
    for name, level in levels.items():  # last, as ``with_chance`` puts them
        table = table.append_column(name, level)
    return table


def redrawn(
    plan: Plan, store: Store, study: StudyConfig, compared: Mapping[str, Mapping[str, float]] | None = None
) -> pa.Table | None:
    """Returns a row a trial that draws a source of variation anew, as ``trials``; None where there are none.

    Its column ``redrawn`` names the source.
    """
    plan = plan.redrawn
    if not plan.trials:
        return None
    return trials(plan, store, None, study, compared).add_column(
        1, "redrawn", [[trial.redrawn for trial in plan.trials]]
    )


def _tuning_score(plan: Plan, trial: Trial, store: Store, study: StudyConfig, usual: str) -> float | None:
    """Returns a trial's metric, or the usual one for a loss, on the validation rows that may choose its settings."""
    job = plan.jobs[trial.jobs[-1]]
    n = None if study.tune_labels == "all" else study.tune_labels
    if n == "train":
        n = job.stage.rows.n
    name = usual if study.metric == metrics.AUTO else metrics.split_of(study.metric)[1]
    return measures.on_few(store, job.id, usual if name == "loss" else name, n, trial.seed)


def with_metric(trials: pa.Table, stages: pa.Table, store: Store, metric: str) -> pa.Table:
    """Returns a table of trials with a metric from stored predictions as its last columns, unless it has it.

    Args:
      trials: as ``trials`` makes it.
      stages: of the same run, as ``stages`` makes it.
      store: of the fine-tunings, verified.
      metric: as ``study.metric``; ``auto`` adds nothing.
    """
    name = metrics.split_of(metric)[1]
    missing = [f"{split}_{name}" for split in ("test", "validation")] if metric != metrics.AUTO else []
    missing = [column for column in missing if column not in trials.column_names]
    of_trial = {row["trial_id"]: row["stage_id"] for row in stages.to_pylist() if row["stage"] == "finetune"}
    ids = [of_trial[trial] for trial in trials["trial_id"].to_pylist()]
    values = measures.measured(store, list(dict.fromkeys(ids)), missing)
    stated = {run_files.METRIC: json.dumps(metrics.OWN[name].facts._asdict())} if name in metrics.OWN else None
    for column in missing:
        cells = pa.array([values.get(job, {}).get(column) for job in ids], pa.float64())
        trials = trials.append_column(pa.field(column, pa.float64(), metadata=stated), cells)
    return trials


def with_chance(trials: pa.Table, stages: pa.Table, store: Store, metric: str, task: TaskKind) -> pa.Table:
    """Returns a table of trials with a metric's level of chance, from the targets of stored predictions.

    The arguments are those of ``with_metric``, and the kind of targets, whose loss of numbers has no level: it is in no
    unit of theirs.
    """
    column = metrics.column(metric)
    split, measure = metrics.split_of(column)
    if task == "regression" and measure == "loss":
        return trials
    trials = trials.drop_columns([name for name in trials.column_names if name.endswith(metrics.OF_CHANCE)])
    of_trial = {row["trial_id"]: row["stage_id"] for row in stages.to_pylist() if row["stage"] == "finetune"}
    levels = {}
    for job in dict.fromkeys(of_trial.values()):
        stored = store.predictions(job, split)
        levels[job] = chance(measure, task, stored["targets"], stored["scores"].shape[1])
    found = [levels[of_trial[trial]] for trial in trials["trial_id"].to_pylist()]
    for end, place in ((metrics.CHANCE, 0), (metrics.MARGIN, 1)):
        trials = trials.append_column(
            f"{column}{end}", pa.array([each and each[place] for each in found], pa.float64())
        )
    return trials


def curves(plan: Plan, store: Store) -> pa.Table:
    """Returns every trial's curves: ``trial_id``, ``stage``, ``step``, ``metric``, ``value``.

    Values at step n are measured after the n-th update of the stage. Trials that share a stage each have its curves.
    """
    path = [(number, job) for number, trial in enumerate(plan.trials) for job in trial.jobs]
    of_stages = store.curves([job for _, job in path])
    counts = [len(curve) for curve in of_stages]
    table = pa.concat_tables(of_stages).unify_dictionaries().combine_chunks()
    stages = sorted({job.stage.name for job in plan.jobs.values()})
    stage_numbers = [stages.index(plan.jobs[job].stage.name) for _, job in path]

    def column(numbers: list[int], names: list[str]) -> pa.DictionaryArray:
        return pa.DictionaryArray.from_arrays(np.repeat(np.array(numbers, np.int32), counts), names)

    trial_ids = column([number for number, _ in path], [trial.id for trial in plan.trials])
    values = {name: table[name] for name in ("step", "metric", "value")}
    return pa.table({"trial_id": trial_ids, "stage": column(stage_numbers, stages), **values})


def stages(
    plan: Plan,
    before: Mapping[str, Sequence[float]] = MappingProxyType({}),
    ranks: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> pa.Table:
    """Returns which stages every trial is made of, first to last: ``trial_id``, ``stage``, ``stage_id``.

    Beside them stand a stage's errors ``before`` its first update, and the effective ``ranks`` of codes after it and of
    an untrained encoder, by its id, where they were measured.
    """
    path = [(trial.id, job) for trial in plan.trials for job in trial.jobs]
    rows = [{"trial_id": trial, "stage": plan.jobs[job].stage.name, "stage_id": job} for trial, job in path]
    table = pa.Table.from_pylist(rows)
    for names, measured in ((metrics.BEFORE, before), (metrics.RANKS, ranks)):
        for place, name in enumerate(names):
            values = [measured[job][place] if job in measured else None for _, job in path]
            table = table.append_column(name, pa.array(values, pa.float64(), from_pandas=False))
    return table


def timings(plan: Plan, store: Store) -> pa.Table:
    """Returns every stage's share of its pack's wall clock: ``stage_id``, ``stage``, ``seed``, ``run_seconds``."""
    records = zip(plan.jobs.values(), store.records(list(plan.jobs)), strict=True)
    return pa.Table.from_pylist(
        [
            {
                "stage_id": job.id,
                "stage": job.stage.name,
                "seed": redraws.usual(job.seed),
                "run_seconds": record.seconds,
            }
            for job, record in records
        ]
    )


def write(table: pa.Table, path: Path, experiment_id: str) -> None:
    """Writes a table as Parquet, with the id of its experiment and a checksum of every page.

    Raises:
      OSError: it could not be written.
    """
    table = table.replace_schema_metadata({run_files.EXPERIMENT: experiment_id})
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _cells(values: list) -> list:
    """Returns a column's values for Arrow: numbers of units as lists, other layers as their words."""
    if any(isinstance(layer, str) for value in values if isinstance(value, tuple) for layer in value):
        return [" ".join(map(str, value)) if isinstance(value, tuple) else value for value in values]
    return [list(value) if isinstance(value, tuple) else value for value in values]

"""Trials grouped by any of their fields."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from pretrain.config import StudyConfig
from pretrain.config.counts import some
from pretrain.config.fields import ConfigError
from pretrain.config.metrics import AUTO, column
from pretrain.config.suggestions import suggestion

OF_A_TRIAL = ("trial_id", "redrawn", "seed", "repeat", "failed_stage")


def swept_fields(trials: pa.Table) -> list[str]:
    """Returns the swept fields of a run's table of trials: the columns between a trial's id and its status."""
    names = trials.column_names
    return [name for name in names[: names.index("status")] if name not in OF_A_TRIAL]


def metrics(trials: pa.Table) -> list[str]:
    """Returns the results of a run's table of trials: the columns after the status."""
    return trials.column_names[trials.column_names.index("status") + 1 :]


def compared_metric(trials: pa.Table, study: StudyConfig) -> str:
    """Returns the result that is compared, as a column's name: by default the first.

    Raises:
      ConfigError: the trials have no such result.
    """
    columns = metrics(trials)
    if study.metric == AUTO:
        return columns[0]
    name = column(study.metric)
    if name not in columns:
        raise ConfigError("study.metric", study.metric, f"is none of the run's; it has {', '.join(columns)}")
    return name


def summarise(trials: pa.Table, by: Sequence[str] | None = None, of: Sequence[str] | None = None) -> pa.Table:
    """Groups trials by columns.

    Args:
      trials: a run's table of trials.
      by: columns to group by; all swept fields by default.
      of: results to summarise; all by default.

    Returns:
      A row a group, in the table's order: the group's fields, for each result its ``_mean`` and ``_std`` (sample
      standard deviation, null for fewer than two trials), ``n`` (trials that did not diverge, which the former are of)
      and ``n_diverged``.

    Raises:
      ConfigError: a name is no such column.
    """
    by, of = list(by if by is not None else swept_fields(trials)), list(of or metrics(trials))
    for field, names, columns in (("by", by, trials.column_names), ("metrics", of, metrics(trials))):
        for name in names:
            if name not in columns:
                near = suggestion(name, columns, f"it is none of {some(columns, 20)}")
                raise ConfigError(field, name, f"is no column of the trials; {near}")
    groups: dict[str, list[int]] = {}
    keys = trials.select(by).to_pylist() if by else [{}] * len(trials)
    for row, key in enumerate(keys):
        groups.setdefault(repr(key), []).append(row)  # a swept tuple is a list here, which has no hash
    sound = np.array(trials["status"].to_pylist()) != "diverged"
    values = {name: np.array(trials[name].to_pylist(), float) for name in of}
    summary = []
    for rows in groups.values():
        kept = [row for row in rows if sound[row]]
        results = {}
        for name in of:
            measured = values[name][kept]
            measured = measured[~np.isnan(measured)]
            results[f"{name}_mean"] = float(np.mean(measured)) if len(measured) else None
            results[f"{name}_std"] = float(np.std(measured, ddof=1)) if len(measured) > 1 else None
        summary.append({**keys[rows[0]], **results, "n": len(kept), "n_diverged": len(rows) - len(kept)})
    types = {name: trials.schema.field(name).type for name in by}
    types |= {f"{name}_{statistic}": pa.float64() for name in of for statistic in ("mean", "std")}
    return pa.Table.from_pylist(summary, pa.schema([*types.items(), ("n", pa.int64()), ("n_diverged", pa.int64())]))

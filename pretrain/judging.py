"""``pretrain.judge``: the verdict on numbers that somebody brings, as a run gives it on its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config import StudyConfig
from pretrain.config.counts import written
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.metrics import declared
from pretrain.data import any_table
from pretrain.report.judgement import Judgement
from pretrain.study import brought, over_datasets, sequential, unpaired
from pretrain.study.answer import Answer, answer
from pretrain.study.brought import Asked, Brought
from pretrain.study.brought_checks import plain
from pretrain.study.comparisons import Comparison, n_claims
from pretrain.study.datasets import Effect, Group
from pretrain.study.noise import noise
from pretrain.study.row_parts import RowParts
from pretrain.study.sequential import Look
from pretrain.study.statistics import LEVEL
from pretrain.study.values import Value

Names = Sequence[str] | str


def judge(
    frame: Any,
    *,
    treatment: Names,
    baseline: str,
    pair: Names = (),
    value: str = "",
    by: Names = (),
    datasets: str = "",
    example: str = "",
    where: Names = (),
    direction: str | None = None,
    bounds: tuple[float, float] | None = None,
    chance: float | None = None,
    smallest_effect: float | None = None,
    looks: Sequence[int] = (),
) -> Judgement:
    """Judges whether a treatment is better than a baseline, by results of seeds, as a run judges its arms.

    >>> ours, plain = [81, 83, 82, 84, 82, 83, 85, 81], [80, 80, 81, 82, 80, 81, 82, 79]
    >>> found = judge({"ours": ours, "plain": plain}, treatment="ours", baseline="plain", value="percent")
    >>> found.answer.comparisons[0].verdict, str(found.answer.comparisons[0].difference)
    ('helps', '+2.000 [+1.368, +2.632]')

    Args:
      frame: results: a frame of pandas, polars or Arrow, columns by name, or the path of a .csv, .tsv, .parquet or
        .jsonl file. A row is a seed of an arm; or a seed, with a column an arm.
      treatment: ``COLUMN=VALUE`` of its rows, or its column; several are compared with the baseline one by one.
      baseline: likewise.
      pair: columns whose values the rows of a pair share, such as the seed. Without any, arms of rows are independent,
        and arms of columns are paired row by row.
      value: the column of results; or, of a column an arm, what they measure, such as ``accuracy``.
      by: columns of conditions, of which each combination is a comparison of its own, all of them of one family.
      datasets: the column of conditions that are datasets, over which there is a statement, too.
      example: the column that numbers the examples of a seed, where a row is one; a seed's value is their mean.
      where: ``COLUMN=VALUE`` that rows have; of several values of a column any.
      direction: ``higher`` or ``lower``, whichever is better; by default by the value's name.
      bounds: the least and the largest possible value.
      chance: the value where everything is predicted alike.
      smallest_effect: the smallest difference that matters, in the values' unit.
      looks: numbers of seeds at which the results are looked at, as planned before the first.

    Raises:
      ConfigError: a column or a condition is not there, or values cannot be compared; a line for each fault.
    """
    asked = Asked(
        _listed(treatment),
        baseline,
        value,
        _listed(pair),
        _listed(by),
        datasets,
        example,
        _listed(where),
        direction,
        bounds,
        chance,
        smallest_effect,
        tuple(looks),
    )
    shown = str(frame) if isinstance(frame, str | Path) else type(frame).__name__
    faults = Faults()
    with faults.noted():
        _check(smallest_effect, looks)
    table = None
    with faults.noted():
        table = any_table.read(frame, "results")
    found = None
    if table is not None:
        with faults.noted():
            found = brought.read(table, asked)
    faults.check()
    if smallest_effect is not None:
        _check_size(smallest_effect, found.value)
        unit = smallest_effect / found.value.scale / StudyConfig.smallest_effect
        found = found._replace(value=found.value._replace(metric=found.value.metric._replace(unit=unit)))
    with declared(found.value.name, found.value.metric):
        return _judged(found, asked, list(looks), shown)


def _listed(names: Names) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


def _check(smallest_effect: float | None, looks: Sequence[int]) -> None:
    """Checks what needs no table."""
    faults = Faults()
    if smallest_effect is not None and not 0 < smallest_effect < float("inf"):
        faults.append(ConfigError("smallest_effect", smallest_effect, "is no size; give one above 0"))
    ends = list(looks)
    if ends and (ends[0] < 2 or any(end != int(end) for end in ends) or sorted(set(ends)) != ends):
        faults.append(ConfigError("looks", " ".join(map(str, ends)), "do not ascend; give numbers of seeds, 2 or more"))
    faults.check()


def _check_size(smallest_effect: float, value: Value) -> None:
    """Checks that there can be effects that matter."""
    widest = (value.metric.high - value.metric.low) * value.scale
    if smallest_effect >= widest:
        remedy = f"is more than any difference, {written(widest)} at most; give a smaller one, in the values' unit"
        raise ConfigError("smallest_effect", smallest_effect, remedy)


def _judged(found: Brought, asked: Asked, ends: Sequence[int], shown: str) -> Judgement:
    study = StudyConfig(compare=found.field)
    planned = sequential.looks_at(ends) if ends else []
    n_seeds = int(found.trials["seed"].to_numpy().max()) + 1
    taken = [look for look in planned if look.seeds <= n_seeds] or [Look(1, n_seeds, LEVEL)]
    if planned and planned[0].seeds > n_seeds:
        remedy = f"begin after the {n_seeds} seeds that there are; look then"
        raise ConfigError("looks", " ".join(map(str, ends)), remedy)
    before: list[Look] = []
    for look in taken:
        answered = _at(found, look, before, study)
        if not sequential.unsettled(answered.comparisons):
            break
        before.append(look)
    is_paired = bool(found.pairing)
    sides = [_sound(answered, each, is_paired) for each in answered.comparisons]
    claims = (n_claims if is_paired else unpaired.n_claims)(answered.comparisons)
    return Judgement(
        shown,
        asked,
        found,
        answered,
        tuple(planned),
        look,
        tuple(_on_datasets(answered, found, asked)) if asked.datasets else (),
        noise(sides, answered.metric, answered.level, is_paired, claims),
    )


def _at(found: Brought, look: Look, before: Sequence[Look], study: StudyConfig) -> Answer:
    """Returns the answer at a look; comparisons that earlier looks settled stay as they were judged."""

    def until(look: Look) -> pa.Table:
        return found.trials.filter(pc.less(found.trials["seed"], look.seeds))

    def unlooked(look: Look) -> Answer:
        return answer(until(look), found.curves, study, look.level, is_brought=True)

    if found.pairing:
        rows = RowParts(read=found.scores.read) if found.scores.has_examples else None
        return answer(until(look), found.curves, study, look.level, before=before, rows=rows, is_brought=True)
    settled: dict[Any, Comparison] = {}
    for earlier in before:
        judged = unpaired.judged(unlooked(earlier), study, settled)
        of_look = {each.identity: each for each in judged.comparisons if not sequential.is_open(each)}
        settled |= {name: each._replace(look=each.look or earlier.number) for name, each in of_look.items()}
    return unpaired.judged(unlooked(look), study, settled)


def _sound(answered: Answer, comparison: Comparison, is_paired: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns the results of both arms in the seeds that did not fail."""
    if not is_paired:
        return unpaired.sides_of(answered, comparison).sound
    kept = comparison.failures.both_train
    return comparison.treated[kept], comparison.untreated[kept]


def _on_datasets(answered: Answer, found: Brought, asked: Asked) -> list[Group]:
    """Returns the effects on all datasets, of each treatment and each combination of the other conditions."""

    def unlike(name: str, comparison: Comparison, sign: int) -> Effect:
        return unpaired.effect(name, unpaired.sides_of(answered, comparison), sign)

    effect = over_datasets.paired if found.pairing else unlike
    return over_datasets.groups(
        answered, [plain(asked.datasets)], effect, found.field, found.trials[found.field][0].as_py()
    )

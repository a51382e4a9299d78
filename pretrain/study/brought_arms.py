"""Arms of results that somebody brings: a run's table of trials, a row an arm and seed, absent ones as failed."""

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config.counts import counted, some
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.metrics import CHANCE, MARGIN
from pretrain.runs.scored import RowScores
from pretrain.study.values import Value

ARM = "arm"  # field of arms that are columns
_LEAST_MARGIN = 0.01  # of chance, as far as luck on unknown rows reaches; of errors times their level
_MOST_NAMED = 4  # seeds


class Names(NamedTuple):
    """What arms, conditions and seeds are called."""

    field: str
    arms: list[Any]
    by: tuple[str, ...]
    conditions: list[tuple]
    pair: tuple[str, ...]
    seed: Callable[[int], str]  # the name of one, where they have some

    def arm(self, number: int) -> str:
        return str(self.arms[number]) if self.field == ARM else f"{self.field}={self.arms[number]}"

    def condition(self, number: int) -> str:
        return ", ".join(f"{name}={label}" for name, label in zip(self.by, self.conditions[number], strict=True))

    def within(self, number: int) -> str:
        """Returns where something holds, after its name; nothing without conditions."""
        return f" at {self.condition(number)}" if self.by else ""


class Scores(NamedTuple):
    """Results of examples, in the order of trials: those of the trials that have examples."""

    means: np.ndarray  # [means]
    starts: np.ndarray  # [means + 1]
    values: np.ndarray  # [rows]
    examples: np.ndarray  # [rows] numbers
    of_trial: dict[str, int]  # the place of its mean

    @property
    def has_examples(self) -> bool:
        """Whether a result is the mean of several."""
        return len(self.values) > len(self.means)

    def read(self, metric: str, trials: Collection[str]) -> Mapping[str, RowScores]:
        """Returns what examples add to the means of some trials, as ``row_scores.of_trials`` does of a run's."""
        found = {}
        for trial in trials:
            place = self.of_trial[trial]
            rows = slice(self.starts[place], self.starts[place + 1])
            examples = self.examples[rows]
            found[trial] = RowScores(self.values[rows] - self.means[place], examples, None, examples)
        return found


def means_of(keys: tuple[np.ndarray, ...], numbers: np.ndarray, example: np.ndarray) -> tuple[np.ndarray, Scores]:
    """Returns the distinct keys [trials, keys], and the mean of numbers at each, NaN where one of them is."""
    order = np.lexsort((example, *keys[::-1]))
    whole = np.stack([key[order] for key in keys], axis=1)
    starts = np.flatnonzero(np.r_[True, np.any(whole[1:] != whole[:-1], axis=1)])
    ends = np.r_[starts, len(whole)]
    means = np.add.reduceat(numbers[order], starts) / np.diff(ends)
    return whole[starts], Scores(means, ends, numbers[order], example[order], {})


class Absent(NamedTuple):
    """Seeds that one arm has and another lacks, which counts as failed."""

    conditions: int  # of the arm, those compared
    lacking: dict[int, int]  # by seed, in how many of them


def complete(
    cells: np.ndarray, names: Names, is_paired: bool, faults: Faults, notes: list[str]
) -> Iterator[np.ndarray]:
    """Yields the trials of each condition: its arms, the baseline first, at each seed that they or the baseline have.

    They are condition, arm, seed, and the seed's place among those of the condition: [trials, 4]. Arms without a row
    are left out, as are conditions without two arms.
    """
    baseline, skipped = len(names.arms) - 1, list[str]()
    absent: dict[int, Absent] = {}
    bounds = np.searchsorted(cells[:, 0], np.arange(len(names.conditions) + 1))
    for condition, (start, end) in enumerate(itertools.pairwise(bounds.tolist())):
        arm, seed = cells[start:end, 1], cells[start:end, 2]
        present = np.flatnonzero(np.bincount(arm)).tolist()
        if baseline not in present or len(present) == 1:
            skipped.append(names.condition(condition))
            continue
        of_arms = {each: seed[arm == each] for each in [baseline, *present[:-1]]}
        for each in present[:-1]:
            with faults.noted():
                _check_common(of_arms[baseline], of_arms[each], names, condition, each, is_paired)
        ordered = np.sort(seed)
        whole = ordered[np.r_[True, ordered[1:] != ordered[:-1]]]
        for each, own in of_arms.items():
            # A seed counts for a comparison that one of its two arms has it for; the baseline's are in all of them.
            of_pair = whole if each == baseline else np.union1d(own, of_arms[baseline])
            seeds = of_pair if is_paired else own
            lacking = absent.setdefault(each, Absent(0, {}))
            absent[each] = lacking._replace(conditions=lacking.conditions + 1)
            for one in np.setdiff1d(seeds, own, assume_unique=True).tolist() if len(own) < len(seeds) else ():
                lacking.lacking[one] = lacking.lacking.get(one, 0) + 1
            rank = np.searchsorted(whole, seeds)  # seeds of other conditions are others
            yield np.stack([np.full(len(seeds), condition), np.full(len(seeds), each), seeds, rank], axis=1)
    if skipped:
        where = some(skipped, 3) if names.by else "the table"
        reason = f"{names.arm(baseline)} or all of the others have no row there"
        if len(skipped) == len(names.conditions):
            faults.append(ConfigError("by", where, f"leaves nothing to compare, for {reason}; name other conditions"))
        notes.append(f"Left out: {where}, for {reason}.")
    if lines := [_absent(names.arm(each), found, names) for each, found in sorted(absent.items()) if found.lacking]:
        notes.append(f"Absent where another arm has the seed, and so failed: {'; '.join(lines)}.")


def _absent(arm: str, absent: Absent, names: Names) -> str:
    """Returns which seeds an arm lacks: everywhere, as those that never ran, or in some conditions."""
    never = [seed for seed, n in absent.lacking.items() if n == absent.conditions]
    n_others = sum(absent.lacking.values()) - len(never) * absent.conditions
    parts = []
    if never:
        known = [names.seed(seed) for seed in never] if names.pair else []
        which = f" ({' '.join(names.pair)} {some(known, _MOST_NAMED)})" if known else ""
        everywhere = " in all conditions" if absent.conditions > 1 else ""
        parts.append(f"{counted(len(never), 'seed')}{which}{everywhere}, to be left out if never run")
    if n_others:
        parts.append(f"{counted(n_others, 'value')} in some conditions")
    return f"{arm} lacks {' and '.join(parts)}"


def _check_common(
    own: np.ndarray, others: np.ndarray, names: Names, condition: int, treatment: int, is_paired: bool
) -> None:
    """Checks that a comparison has two seeds, or values of each arm, to compare."""
    arms = f"{names.arm(treatment)} and {names.arm(len(names.arms) - 1)}{names.within(condition)}"
    if is_paired:
        n = len(np.intersect1d(own, others, assume_unique=True))
        if n < 2:
            shared, pair = counted(n, "seed") if n else "no seed", " ".join(names.pair) or "rows"
            raise ConfigError("pair", pair, f"gives {shared} in common to {arms}; two at least are compared")
    elif min(len(own), len(others)) < 2:
        raise ConfigError("value", min(len(own), len(others)), f"values of {arms} are too few; give two at least")


def trials_of(
    grid: np.ndarray, cells: np.ndarray, scores: Scores, names: Names, value: Value
) -> tuple[pa.Table, Scores]:
    """Returns a run's table of trials [trials, 4], those without a value as diverged, and the scores that they have."""
    n_arms, n_seeds = len(names.arms), int(grid[:, 2].max()) + 1

    def number(keys: np.ndarray) -> np.ndarray:
        return (keys[:, 0] * n_arms + keys[:, 1]) * n_seeds + keys[:, 2]

    known = number(cells)
    at = np.minimum(np.searchsorted(known, number(grid)), len(known) - 1)
    results = np.where(known[at] == number(grid), scores.means[at], np.nan)
    is_lost = np.isnan(results)
    labels = {names.field: (grid[:, 1], _named(names.arms))}
    for place, name in enumerate(names.by):
        listed = [each[place] for each in names.conditions]
        labels[name] = (grid[:, 0], _named(listed))
    table = {"trial_id": pa.array(np.arange(len(grid))).cast(pa.string()), "seed": pa.array(grid[:, 3])}
    for name, (codes, listed) in labels.items():
        table[name] = pa.array(listed).take(pa.array(codes))
    table["status"] = pa.array(["ok", "diverged"]).take(pa.array(is_lost.astype(int)))
    column = pa.array(results, pa.float64(), from_pandas=True)
    # The only rows there are: they decide what failed, too.
    table |= {value.name: column, value.name.replace("test", "validation", 1): column}
    if value.chance is not None:
        margin = _LEAST_MARGIN * (1 if value.metric.high == 1 else abs(value.chance))
        best = value.metric.high if value.metric.higher_is_better else value.metric.low
        margin = min(margin, abs(best - value.chance) / 2)
        table |= {f"{value.name}{CHANCE}": _constant(value.chance, len(grid))}
        table |= {f"{value.name}{MARGIN}": _constant(margin, len(grid))}
    is_of = {str(place): int(at[place]) for place in np.flatnonzero(~is_lost)} if scores.has_examples else {}
    return pa.table(table), scores._replace(of_trial=is_of)


def _named(labels: list[Any]) -> list[Any]:
    """Returns numbers and texts as they are; others, numbers that look alike, and a missing one as texts of their own.

    Numbers are shown with four digits.
    """
    numbers = [each for each in labels if isinstance(each, int | float)]
    are_apart = len({f"{each:.4g}" for each in numbers}) == len(set(numbers))
    if are_apart and all(isinstance(each, str | int | float) for each in labels):
        return labels
    texts, missing = set(map(str, labels)), "none"
    while missing in texts:
        missing = f"({missing})"
    return [missing if each is None else str(each) for each in labels]


def _constant(number: float, n: int) -> pa.Array:
    return pa.array(np.full(n, float(number)))

"""The cut of a source's rows into training, validation and test rows, if the source has none."""

import warnings
from typing import NamedTuple

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.data import keys
from pretrain.data.labels import NONE

_SORTED = 5.0  # standard errors by which neighbours share a class too often for rows in no order
Index = slice | np.ndarray


class Cut(NamedTuple):
    """Rows of the training arrays by their split; None of splits with arrays of their own."""

    train: Index
    validation: Index | None
    test: Index | None
    notes: tuple[str, ...] = ()


class Rows(NamedTuple):
    """The key of a cut."""

    labels: np.ndarray  # [N] strata of the training arrays, to be in proportion; ``NONE`` of rows without a target
    has_validation: bool
    has_test: bool
    groups: np.ndarray | None = None  # [N] as ``keys.groups`` has them; a row without one is a group of its own
    times: np.ndarray | None = None  # [N] as ``keys.times`` has them


def cut(rows: Rows, config: DataConfig) -> Cut:
    """Returns a cut.

    Rows with a label are held out: the last in time, if there are times; the first, if that is a fair draw; else a
    random draw with classes in proportion, by whole groups if there are any.

    Raises:
      ConfigError: a held-out split takes all rows, there are too few groups or times, or fresh cuts have nothing to cut
        off.
    """
    if rows.times is not None:
        return _by_time(rows, rows.times, config)
    if rows.has_validation and rows.has_test and config.splits == "fresh":
        remedy = "has no effect, for the data have validation and test rows; leave it out"
        raise ConfigError("data.splits", config.splits, remedy)
    labels, is_sorted = rows.labels, in_order_of_classes(rows.labels)
    labelled = np.flatnonzero(labels != NONE)
    n_validation, n_test = sizes(rows, config)
    stands = rows.has_test and not is_sorted and config.splits == "fixed" and config.cut == 0
    if stands and rows.groups is None and (rows.has_validation or len(labelled) == len(labels)):
        held = None if rows.has_validation else slice(0, n_validation)
        return Cut(slice(n_validation, len(labels)), held, None, tuple(_idle(rows, config)))
    rng, notes, held_out = np.random.default_rng(config.cut), _idle(rows, config), {}
    if rows.groups is not None:
        is_alone = rows.groups == keys.NONE
        if is_alone.any():
            rows = rows._replace(groups=np.where(is_alone, rows.groups.max() + np.cumsum(is_alone), rows.groups))
            notes.append(f"{is_alone.sum():,} rows without a group are a group each (data.group)")
    is_left = np.ones(len(labels), bool)
    for split, size in (("test", n_test), ("validation", n_validation)):
        if not size:
            continue
        left = labelled[is_left[labelled]]
        if rows.groups is None:
            taken = left[stratified(labels[left], size, rng)]
        else:
            taken = left[_grouped(labels[left], rows.groups[left], size, config)]
        held_out[split] = taken
        is_left[taken] = False
        how = "by whole groups" if rows.groups is not None else "stratified"
        notes.append(f"{len(taken):,} {split} rows cut off at random, {how} (data.{split}, data.splits)")
    train = np.flatnonzero(is_left)
    if rows.groups is not None:  # of rows without a label, which are not held out themselves
        held_groups = [rows.groups[taken] for taken in held_out.values()]
        apart = ~np.isin(rows.groups[train], np.concatenate([*held_groups, rows.groups[:0]]))
        if not apart.all():
            notes.append(f"{(~apart).sum():,} rows without a label left out, whose groups are held out")
        train = train[apart]
    if is_sorted:
        train = rng.permutation(train)
        notes.append("neighbouring training rows have like targets; they were shuffled once")
    return Cut(train, held_out.get("validation"), held_out.get("test"), tuple(notes))


def _by_time(rows: Rows, times: np.ndarray, config: DataConfig) -> Cut:
    """Returns a cut whose test rows are the last in time and whose validation rows come before; ties stay together.

    Rows without a time, and later ones without a label, are left out.
    """
    faults = []
    if config.splits == "fresh":
        remedy = "draws rows at random, which data.time does not; leave one of the two out"
        faults.append(ConfigError("data.splits", config.splits, remedy))
    if rows.groups is not None:
        remedy = "holds out whole groups, and data.time the last rows; leave one of the two out"
        faults.append(ConfigError("data.group", config.group, remedy))
    if faults:
        raise ConfigError.of_all(faults)
    notes = _idle(rows, config)
    usable = np.flatnonzero((rows.labels != NONE) & (times != keys.NONE))
    usable = usable[np.argsort(times[usable], kind="stable")]
    ranks, end, held_out = times[usable], len(usable), {}
    n_validation, n_test = sizes(rows._replace(labels=rows.labels[usable]), config)
    for split, size in (("test", n_test), ("validation", n_validation)):
        if not size:
            continue
        starts = 1 + np.flatnonzero(np.diff(ranks[:end]))  # the first rows of their times
        if not len(starts):
            remedy = f"has no two times among {end:,} rows with a label, of which {size:,} are to be {split} rows"
            raise ConfigError("data.time", config.time, f"{remedy}; lower data.{split}, or take another column")
        start = int(starts[np.argmin(np.abs(starts - (end - size)))])
        held_out[split] = np.sort(usable[start:end])
        end = start
        notes.append(f"the last {len(held_out[split]):,} rows in time are {split} rows (data.time, data.{split})")
    limit = ranks[end] if end < len(ranks) else times.max() + 1
    train = np.flatnonzero((times < limit) & (times != keys.NONE))
    timeless = int((times == keys.NONE).sum())
    later = len(times) - timeless - len(train) - sum(map(len, held_out.values()))
    if timeless:
        notes.append(f"{timeless:,} rows without a time left out")
    if later:
        notes.append(f"{later:,} rows without a label left out, which are no earlier than held-out rows")
    if in_order_of_classes(rows.labels[train]):
        train = np.random.default_rng(config.cut).permutation(train)
        notes.append("neighbouring training rows have like targets; they were shuffled once")
    return Cut(train, held_out.get("validation"), held_out.get("test"), tuple(notes))


def _idle(rows: Rows, config: DataConfig) -> list[str]:
    """Returns a note for each size that somebody gave of a split with rows of its own."""
    has = {"validation": rows.has_validation, "test": rows.has_test}
    given = [name for name in has if has[name] and getattr(config, name) != getattr(DataConfig, name)]
    return [f"data.{name} has no effect, for the data have {name} rows" for name in given]


def sizes(rows: Rows, config: DataConfig) -> tuple[int, int]:
    """Returns the numbers of rows held out for validation and for the test; 0 if a split has arrays of its own.

    Raises:
      ConfigError: nothing is left to train on.
    """
    n = int((rows.labels != NONE).sum())
    n_test = 0 if rows.has_test else count_of(config.test, n)
    n_validation = 0 if rows.has_validation else count_of(config.validation, n)
    if n_test >= n:
        raise ConfigError("data.test", config.test, f"leaves nothing to train on; lower it below {n} rows")
    if n_validation >= n - n_test:
        if n_test > n_validation:  # the larger is at fault
            remedy = f"leaves {n - n_test} of {n} rows with a label, and {n_validation} are to validate; lower it"
            raise ConfigError("data.test", config.test, remedy)
        remedy = f"leaves nothing to train on; lower it below the {n - n_test} training rows with a label"
        raise ConfigError("data.validation", config.validation, remedy)
    return n_validation, n_test


def count_of(size: int | float, n: int) -> int:
    """Returns a count of rows, given as such or as a share of n."""
    return size if isinstance(size, int) else max(1, round(size * n))


def in_order_of_classes(labels: np.ndarray) -> bool:
    """Returns whether rows of one class stand together far more often than in a random order."""
    labels = labels[labels != NONE]
    if len(labels) < 2:
        return False
    shares = np.unique(labels, return_counts=True)[1] / len(labels)
    expected = float(np.sum(np.square(shares)))
    error = np.sqrt(max(expected * (1 - expected), 1e-12) / (len(labels) - 1))
    return bool(np.mean(labels[1:] == labels[:-1]) > expected + _SORTED * error)


def stratified(labels: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """Returns a random draw of rows in which classes are as frequent as in all: [size], ascending.

    A class of a single row is drawn only where more than half of all rows are.
    """
    order = rng.permutation(len(labels))
    _, numbers, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    by_class = np.argsort(numbers, kind="stable")
    place = np.empty(len(labels))
    place[by_class] = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.sort(order[np.argsort((place + 0.5) / counts[numbers], kind="stable")[:size]])


def _grouped(labels: np.ndarray, groups: np.ndarray, size: int, config: DataConfig) -> np.ndarray:
    """Returns a random draw of about ``size`` rows by whole groups, with classes nearly in proportion."""
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second

    n_groups = len(np.unique(groups))
    n_parts = min(max(2, round(len(labels) / size)), n_groups)
    if n_parts < 2:
        remedy = f"has {n_groups} group among {len(labels)} rows with a label; a split needs a group of its own"
        raise ConfigError("data.group", config.group, remedy)
    folds = StratifiedGroupKFold(n_parts, shuffle=True, random_state=config.cut)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of classes with fewer rows than parts
        parts = list(folds.split(np.zeros(len(labels)), labels, groups))
    lost = [len(np.setdiff1d(labels[held_out], labels[left])) for left, held_out in parts]  # classes that none trains
    return parts[int(np.argmin(lost))][1]

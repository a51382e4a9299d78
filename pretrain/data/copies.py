"""Rows that two splits have in common, and that chance does not explain."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pretrain.data.findings import Finding, Severity
from pretrain.data.inputs import blocks

IN_POOL = "in the unlabelled pool"  # the end of a kind of findings
_MOST_BYTES = 1 << 32  # of rows that are compared
_MOST_ROWS = 20_000  # by which the frequencies of values are estimated
_MOST_COLUMNS = 256
_MISSING = np.float32(-3e38)  # in the place of NaN, which differs from itself
_FINE = 0.9  # share of different rows with a value of their own, in columns of measurements
_EXPECTED = 0.1  # coincidences of a row with others, below which a copy is no chance
_DEPENDENT, _OFTEN = 0.1, 0.1  # power where more than this part of rare rows that recur do so more than twice
_COMMON = 0.1  # share of rows with the commonest value of a column, in columns that may be blank
_MOST_TIMES, _UNLIKELY = 9, 1e-4  # copies of a row, and the chance of as few that occur once more
_FEW = 1e-3  # of a split, below which copies move no verdict
_LEAKS = (  # the split, the one that has its rows too, the phrase, and the harm where it may change a verdict
    ("test", "train", "among the training rows", "are training rows too, which flatters every arm", True),
    ("validation", "train", "among the training rows", "are training rows too, which flatters every arm", True),
    (
        *("test", "unlabelled", IN_POOL),
        *("are in the unlabelled pool too, which flatters pretraining, not every arm", True),
    ),
    ("validation", "unlabelled", IN_POOL, "are in the unlabelled pool too", False),
    ("test", "validation", "among the validation rows", "are validation rows too: arms are chosen by test rows", True),
)


def find(rows: Mapping[str, np.ndarray], missing: np.ndarray) -> Iterator[Finding]:
    """Yields the numbers of held-out rows that another split has, too.

    Rows of few different values coincide by chance, and are not counted, unless rows were multiplied.

    Args:
      rows: [N, ...] by split: train, validation, test, and unlabelled, which pretrain only.
      missing: [N], the training rows without a label, which pretrain only, too.
    """
    if sum(array.nbytes for array in rows.values()) > _MOST_BYTES:
        line = f"rows of different splits are not compared, for they take more than {_MOST_BYTES >> 30} GiB"
        yield Finding("reading", line)
        return
    hashes = {split: _hashes(array) for split, array in rows.items()}
    train, pool = hashes["train"], hashes.get("unlabelled", np.zeros(0, np.int64))
    by_split = {**hashes, "train": train[~missing], "unlabelled": np.concatenate([train[missing], pool])}
    ordered = {split: np.sort(own) for split, own in by_split.items() if split != "test"}
    found = [_shared(by_split[split], ordered[beside]) for split, beside, *_ in _LEAKS]
    if not any(map(len, found)):
        return
    sample = None if _are_multiplied(np.concatenate(list(hashes.values()))) else _sample(rows, hashes)
    for shared, (split, _, phrase, harm, is_grave) in zip(found, _LEAKS, strict=True):
        n = len(shared)
        if n and sample:
            n = int(_beyond_chance(_flat(rows[split][shared])[:, sample.places], sample).sum())
        if n:
            of = len(hashes[split])
            severity: Severity = "doubt" if is_grave and n >= _FEW * of else "note"
            remedy = "leave them out of one of the two"
            line = f"{n:,} of {of:,} {split} rows {harm}"
            yield Finding(f"{split} rows {phrase}", line, severity, remedy, {"rows": n, "of": of})


def _flat(rows: np.ndarray) -> np.ndarray:
    """Returns rows [N, ...] as they are compared: [N, D] bytes, or float32, which numbers of all types share."""
    flat = rows.reshape(len(rows), -1)
    if flat.dtype == np.uint8:
        return flat
    made = flat.astype(np.float32)
    made += np.float32(0)  # -0. is 0.
    if flat.dtype.kind == "f":
        np.copyto(made, _MISSING, where=np.isnan(made))
    return made


def _hashes(rows: np.ndarray) -> np.ndarray:
    """Returns 64 bits of each row: [N] int64."""
    found = [np.zeros(0, np.int64)]
    for block in blocks(rows):
        flat = np.ascontiguousarray(_flat(block))
        as_bytes = flat.view(np.dtype((np.void, flat[:1].nbytes))).ravel().tolist()
        found.append(np.fromiter(map(hash, as_bytes), np.int64, len(block)))
    return np.concatenate(found)


def _shared(own: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Returns the places of hashes that others, sorted, have too."""
    if not len(others):
        return np.zeros(0, int)
    place = np.minimum(np.searchsorted(others, own), len(others) - 1)
    return np.flatnonzero(others[place] == own)


def _are_multiplied(hashes: np.ndarray) -> bool:
    """Returns whether too many of all rows [N] occur just k times, whatever the distribution that rows are drawn from.

    Of independent draws, the numbers f of rows that occur k times are log-convex on average, as moments of a measure:
    (k! f[k])² <= (k-1)! f[k-1] (k+1)! f[k+1] (Good, 1953, for draws as Poisson counts). Rows that were multiplied, or
    made to hold each class as often, break that. Twice the standard error is allowed to each number.
    """
    from scipy import stats

    f = np.bincount(np.unique(hashes, return_counts=True)[1], minlength=_MOST_TIMES + 2).astype(float)
    k = np.arange(2, _MOST_TIMES + 1)
    least, most = np.maximum(f[k] - 2 * np.sqrt(f[k]), 0), f[k - 1] + 2 * np.sqrt(f[k - 1]) + 3
    once_more = k * least**2 / ((k + 1) * most)
    return bool((stats.poisson.cdf(f[k + 1], once_more) < _UNLIKELY).any())


class _Sample(NamedTuple):
    """A random draw of all rows and of their columns."""

    drawn: np.ndarray  # [n, d]
    different: np.ndarray  # [m, d]
    times: np.ndarray  # [m] that each of these is drawn
    n_rows: int  # all
    places: np.ndarray  # [d] of the columns
    power: float = 0.5  # of a row's frequency, as of independent columns, that allows for columns that are not


def _sample(arrays: Mapping[str, np.ndarray], hashes: Mapping[str, np.ndarray]) -> _Sample:
    rng = np.random.default_rng(0)
    n_rows, size = sum(map(len, arrays.values())), arrays["train"][:1].size
    places = np.sort(rng.permutation(size)[:_MOST_COLUMNS])
    share = min(1.0, _MOST_ROWS / n_rows)
    rows, keys = [], []
    for split, array in arrays.items():
        drawn = np.sort(rng.permutation(len(array))[: max(1, round(share * len(array)))])
        rows.append(_flat(array[drawn])[:, places])
        keys.append(hashes[split][drawn])
    drawn_rows = np.concatenate(rows)
    _, first, times = np.unique(np.concatenate(keys), return_index=True, return_counts=True)
    sample = _Sample(drawn_rows, drawn_rows[first], times, n_rows, places)
    # Of rows that are rare indeed, hardly any occur by chance, or by a copy, more than twice.
    again = sample.times[(times > 1) & _beyond_chance(sample.different, sample)]
    return sample._replace(power=_DEPENDENT) if (again > 2).sum() > max(2, _OFTEN * len(again)) else sample


def _beyond_chance(rows: np.ndarray, sample: _Sample) -> np.ndarray:
    """Returns which rows [N, d], of which there are others, are no chance: [N] bool.

    A row is none if it has a value of its own in a column where nearly all different rows have one. Otherwise the
    frequencies of its values tell how many rows would be like it, were columns independent; a power of it allows for
    columns that are not. Rows of the commonest value of every column, blank ones, are chance.
    """
    drawn, different = sample.drawn, sample.different
    has_own, is_blank = np.zeros(len(rows), bool), np.ones(len(rows), bool)
    log_share = np.zeros(len(rows))
    may_be_fine = 2 * len(different) > len(drawn)
    if drawn.shape[1] > 1:  # of one column, values are the rows
        may_be_fine |= 2 * (sample.times == 1).sum() > len(different)
    for given, column, of_different in zip(rows.T, drawn.T, different.T, strict=True):
        values, counts = np.unique(column, return_counts=True)
        log_share += np.log(np.maximum(_count(given, values, counts), 1) / len(drawn))
        is_blank &= (given == values[np.argmax(counts)]) & (counts.max() >= _COMMON * len(drawn))
        values, counts = np.unique(of_different, return_counts=True)
        if may_be_fine and len(values) > 1 and (counts == 1).sum() >= _FINE * len(different):
            has_own |= _count(given, values, counts) <= 1
    is_rare = sample.n_rows * np.exp(log_share * sample.power) < _EXPECTED
    return (has_own | is_rare) & ~is_blank


def _count(given: np.ndarray, values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Returns how often given values occur, by sorted values and their counts."""
    place = np.minimum(np.searchsorted(values, given), len(values) - 1)
    return np.where(values[place] == given, counts[place], 0)

"""What was judged: a record in the store of each number of seeds at which some trials were, and of whose test rows.

Who looks after 8, 16 and 32 seeds and reports the last look finds more by chance than who looks once; so does who tries
many settings on the same test rows. A run cannot know it, and the store that runs share can. A record is a sealed
directory, ``judged/<id>``, named by what was judged: the same trials judged again leave no other.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from pretrain.config.digests import sha256
from pretrain.config.paths import is_writable
from pretrain.store import manifests
from pretrain.store.manifests import DamageError

PLACE = "judged"
MOST_READERS = 10  # runs, beyond which a report says how many have read a set's test rows


class Judged(NamedTuple):
    """What an answer was made of."""

    seeds: int
    looks: tuple[int, ...]  # numbers of seeds that were declared
    trials: tuple[str, ...]  # ids of the first seed's, ascending: more seeds of the same arms have these, too

    @property
    def id(self) -> str:
        """The name of its record."""
        return sha256(f"{self.seeds} {list(self.looks)} {' '.join(self.trials)}")[:32]


class History(NamedTuple):
    """What a store knows of the judgements before one."""

    before: tuple[int, ...] = ()  # numbers of seeds, fewer, at which the same arms were judged, but of declared looks
    readers: Mapping[str, int] = {}  # runs that have read a set's test rows, with this one, by the set's name

    @property
    def often_read(self) -> dict[str, int]:
        """The sets whose test rows more runs have read than a report leaves unsaid."""
        return {name: n for name, n in self.readers.items() if n > MOST_READERS}


class _Record(NamedTuple):
    judged: Judged
    before: tuple[int, ...]  # as it was judged first: fewer seeds that are judged later are no look before it
    sets: Mapping[str, str]  # names by the fingerprint of their test rows


def judged(trials: pa.Table, looks: Sequence[int]) -> Judged:
    """Returns what is judged by a table of trials, at the last of some declared looks, or at one of them."""
    seeds = trials["seed"]
    first = trials.filter(pc.equal(seeds, pc.min(seeds)))["trial_id"].unique().to_pylist()
    return Judged(len(seeds.unique()), tuple(looks), tuple(sorted(first)))


def history(
    root: Path,
    own: Judged,
    fewest: int,
    sets: Mapping[str, str] | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> History | None:
    """Returns what a store knows of the judgements before one.

    Args:
      own: what is judged.
      fewest: seeds with which an effect can be called; a look at fewer cannot err.
      sets: names of the sets whose test rows it reads, by their fingerprint; by default those of its record.
      warn: given a line for every damaged record, which counts no more.

    Returns:
      The history; None where neither sets nor a record are given.
    """
    records = _records(root, warn)
    mine = records.pop(own.id, None)
    if sets is None and mine is None:
        return None
    before = mine.before if mine else _before(own, [record.judged for record in records.values()], fewest)
    sets = mine.sets if sets is None and mine else sets or {}
    counts = {name: 1 + sum(mark in record.sets for record in records.values()) for mark, name in sets.items()}
    return History(before, counts)


def note(root: Path, own: Judged, sets: Mapping[str, str], before: Sequence[int], warn: Callable[[str], None]) -> None:
    """Notes a judgement in a store that can be written; that it could not be is a line."""
    from pretrain.store import sealed  # imports JAX, for which readers need not wait

    if is_writable(root):
        # One text, since a store of many runs reads many.
        content = {**own._asdict(), "trials": " ".join(own.trials), "before": list(before), "sets": dict(sets)}
        try:
            sealed.write(root / PLACE / own.id, root / "drafts", content, lambda draft: None)
        except sealed.StoreError as error:
            warn(f"{error}; so runs to come do not know that this one was judged")


def readers(root: Path) -> dict[str, int]:
    """Returns how many runs have read the test rows of each set that a store knows, the most first."""
    names: dict[str, list[str]] = {}
    for record in _records(root, lambda line: None).values():
        for mark, name in record.sets.items():
            names.setdefault(mark, []).append(name)
    counts = {f"{some[-1]} ({mark[:8]})": len(some) for mark, some in names.items()}
    return dict(sorted(counts.items(), key=lambda each: -each[1]))


def _before(own: Judged, others: Sequence[Judged], fewest: int) -> tuple[int, ...]:
    """Returns the numbers of seeds, fewer, at which two of the same arms at least were judged.

    Looks of one declared schedule are none: they share what they may err.
    """
    arms, declared = set(own.trials), own.looks if len(own.looks) > 1 else None
    undeclared = (each for each in others if each.looks != declared and len(arms.intersection(each.trials)) > 1)
    return tuple(sorted({each.seeds for each in undeclared if fewest <= each.seeds < own.seeds}))


def _records(root: Path, warn: Callable[[str], None]) -> dict[str, _Record]:
    """Returns the sound records of a store by name."""
    found = {}
    for path in sorted(root.glob(f"{PLACE}/*")):
        try:
            record = _record(manifests.read(path / manifests.NAME))
            if record is None or record.judged.id != path.name:
                raise DamageError(f"{path / manifests.NAME}: damaged")
            found[path.name] = record
        except FileNotFoundError:
            warn(f"{path}: empty, and no judgement; delete it")
        except DamageError as damage:
            warn(f"{damage}, so the judgement that it noted does not count; delete it")
    return found


def _record(content: Mapping[str, Any]) -> _Record | None:
    """Returns the record of a manifest; None of one that holds something else."""
    match content:
        case {
            "seeds": int(seeds),
            "looks": list(looks),
            "trials": str(trials),
            "before": list(before),
            "sets": dict(sets),
        }:
            return _Record(Judged(seeds, tuple(looks), tuple(trials.split())), tuple(before), sets)
    return None

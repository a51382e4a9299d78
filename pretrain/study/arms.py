"""Arms of a run, trials that differ in their seed only, and what tables say of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pretrain.study.summary import swept_fields

CORNERS = ("finetune.encoder_init", "finetune.frozen_layers")


class Arm(NamedTuple):
    """Trials that differ in their seed and repeat only."""

    point: dict[str, object]  # swept values by dotted name
    seeds: tuple[int, ...]  # of the trials that did not diverge, once for each of a seed's repeats
    trial_ids: tuple[str, ...]  # of the same trials
    n_diverged: int
    repeats: tuple[int, ...] = ()  # of the same trials; empty where no seed has several
    n_collapsed: int = 0  # of the same trials: those that predict the same of all examples

    @property
    def units(self) -> tuple[tuple[int, int], ...]:
        """Seed and repeat of each trial, by which trials of different arms are paired."""
        return tuple(zip(self.seeds, self.repeats or [0] * len(self.seeds), strict=True))


def arms(trials: pa.Table) -> list[Arm]:
    """Returns the arms of a table of trials, in the table's order."""
    names = swept_fields(trials)
    groups: dict[str, list[dict]] = {}
    repeated = any(trials["repeat"].to_pylist()) if "repeat" in trials.column_names else False
    keys = ["trial_id", "seed", "status", *(["repeat"] if repeated else [])]
    for row in trials.select([*keys, *names]).to_pylist():
        groups.setdefault(repr([row[name] for name in names]), []).append(row)
    result = []
    for rows in groups.values():
        sound = sorted(
            (row for row in rows if row["status"] != "diverged"), key=lambda row: (row["seed"], row.get("repeat"))
        )
        seeds, ids = tuple(row["seed"] for row in sound), tuple(row["trial_id"] for row in sound)
        repeats = tuple(row["repeat"] for row in sound) if repeated else ()
        n_collapsed = sum(row["status"] == "collapsed" for row in sound)
        point = {name: rows[0][name] for name in names}
        result.append(Arm(point, seeds, ids, len(rows) - len(sound), repeats, n_collapsed))
    return result


def place_of(found: Sequence[Arm], point: Mapping[str, object]) -> int:
    """Returns the place of the arm at a point; of one without an encoder, whatever number of layers is frozen."""
    wanted = without_idle(point)
    return next(place for place, arm in enumerate(found) if without_idle(arm.point) == wanted)


def without_idle(point: Mapping[str, object]) -> dict[str, object]:
    """Returns a point without the number of frozen layers where there is no encoder to freeze."""
    init, frozen = CORNERS
    return {name: value for name, value in point.items() if name != frozen or point.get(init) != "none"}


def curve_values(curves: pa.Table, arm: Arm, metric: str, steps: Sequence[int]) -> np.ndarray:
    """Returns a fine-tuning metric of an arm's trials after the given updates: [trials, steps], NaN if not measured."""
    wanted = pc.and_(
        pc.and_(pc.equal(curves["stage"], "finetune"), pc.equal(curves["metric"], metric)),
        pc.and_(
            pc.is_in(curves["step"], pa.array(steps, pa.int32())),
            pc.is_in(curves["trial_id"], pa.array(arm.trial_ids, pa.string())),
        ),
    )
    rows = curves.filter(wanted)
    values = np.full((len(arm.trial_ids), len(steps)), np.nan)
    lanes = pc.index_in(rows["trial_id"].cast(pa.string()), pa.array(arm.trial_ids, pa.string())).to_numpy()
    columns = pc.index_in(rows["step"], pa.array(steps, pa.int32())).to_numpy()
    values[lanes, columns] = rows["value"].to_numpy()
    return values


def trial_values(trials: pa.Table, arm: Arm, column: str) -> np.ndarray:
    """Returns a column of an arm's trials: [trials]."""
    places = pc.index_in(pa.array(arm.trial_ids, pa.string()), trials["trial_id"].combine_chunks().cast(pa.string()))
    return trials[column].cast(pa.float64()).take(places).to_numpy()


def by_seed(values: np.ndarray, arm: Arm) -> np.ndarray:
    """Returns an arm's values [trials, ...] averaged over the repeats of a seed, which share a pretraining.

    Returns:
      Values [seeds, ...], which are independent.
    """
    seeds = np.array(arm.seeds)
    return np.array([np.mean(values[seeds == seed], axis=0) for seed in dict.fromkeys(arm.seeds)])


def cut(arm: Arm, units: set[tuple[int, int]]) -> Arm:
    """Returns an arm with the trials of some seeds and repeats only."""
    kept = [index for index, unit in enumerate(arm.units) if unit in units]
    columns = {name: tuple(getattr(arm, name)[index] for index in kept) for name in ("seeds", "trial_ids")}
    return arm._replace(**columns, repeats=tuple(arm.repeats[index] for index in kept) if arm.repeats else ())

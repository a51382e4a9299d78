"""Networks of a run to use: of trials of an arm, as validation rows chose them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa

from pretrain.config import Experiment, Settings
from pretrain.config.experiment import Point
from pretrain.config.fields import ConfigError, get
from pretrain.config.suggestions import suggestion
from pretrain.data.inputs_file import Inputs
from pretrain.study import arms
from pretrain.study.arms import Arm
from pretrain.study.choice import choose
from pretrain.study.failures import on_validation
from pretrain.study.summary import compared_metric

if TYPE_CHECKING:
    from pretrain.models.model import Model

_NO_ENCODER = "none"


class Chosen(NamedTuple):
    """Trials of one arm."""

    name: str
    trial_ids: tuple[str, ...]
    seeds: tuple[int, ...]


class Tables(NamedTuple):
    """Tables of a run."""

    trials: pa.Table
    stages: pa.Table


def trials_of(
    experiment: Experiment,
    trials: pa.Table,
    names: Sequence[Mapping[str, Any]],
    arm: str | Mapping[str, Any] | None,
    seed: int | None,
    every_seed: bool,
) -> Chosen:
    """Returns trials of an arm that did not diverge: that of a seed, by default the best on validation rows, or all.

    Args:
      trials: its table of trials.
      names: the ``name`` and ``point`` of each of its arms, as ``answer.json`` has them.
      arm: its name, some of its swept fields, or the id of a trial or the beginning of it; by default the best arm with
        an encoder on validation rows, mean over seeds.
      seed: of the trial.
      every_seed: whether all seeds.

    Raises:
      ConfigError: there is no such arm or trial, or none of it that did not diverge.
    """
    chosen = choose(trials, experiment.study).trials if experiment.study.tune else trials
    found = arms.arms(chosen)
    named = {arms.key(arms.without_idle(each["point"])): str(each["name"]) for each in names}

    def name_of(one: Arm) -> str:
        return named.get(arms.key(arms.without_idle(one.point)), "the network")

    if (
        isinstance(arm, str)
        and len(ids := [each for each in trials["trial_id"].to_pylist() if each.startswith(arm)]) == 1
    ):
        (row,) = [row for row in trials.to_pylist() if row["trial_id"] == ids[0]]
        _check_seed(seed, [row["seed"]], arm)
        return Chosen(f"trial {ids[0][:8]}", (ids[0],), (row["seed"],))
    metric = compared_metric(trials, experiment.study)
    candidates = [one for one in found if one.trial_ids]
    if arm is not None:
        candidates = [one for one in candidates if _is(one, name_of(one), arm)]
        if not candidates:
            near = suggestion(str(arm), [name_of(one) for one in found], f"it has {', '.join(map(name_of, found))}")
            raise ConfigError("arm", arm if isinstance(arm, str) else dict(arm), f"is none of the run's arms; {near}")
    else:
        with_encoder = [one for one in candidates if one.point.get(arms.CORNERS[0]) != _NO_ENCODER]
        candidates = with_encoder or candidates
    if not candidates:
        raise ConfigError("run", "every trial", "diverged; there is no network to use")
    best = max(candidates, key=lambda one: float(np.mean(on_validation(one, metric))))
    name, places = name_of(best), list(range(len(best.seeds)))
    if seed is not None:
        _check_seed(seed, best.seeds, name)
        places = [place for place in places if best.seeds[place] == seed]
    if not every_seed:
        places = [max(places, key=lambda place: on_validation(best, metric)[place])]
    return Chosen(name, tuple(best.trial_ids[place] for place in places), tuple(best.seeds[place] for place in places))


def _is(one: Arm, name: str, asked: str | Mapping[str, Any]) -> bool:
    if isinstance(asked, str):
        return name == asked
    missing = object()
    return all(arms.hashable(one.point.get(field, missing)) == arms.hashable(value) for field, value in asked.items())


def _check_seed(seed: int | None, seeds: Sequence[int], name: str) -> None:
    if seed is not None and seed not in seeds:
        listed = ", ".join(map(str, dict.fromkeys(seeds)))
        raise ConfigError("seed", seed, f"is none of {name}, which has {listed}")


def network(
    experiment: Experiment, tables: Tables, inputs: Sequence[Inputs], chosen: Chosen, store: Path | str | None
) -> "Model":
    """Returns the network of a trial, or the ensemble of several.

    Raises:
      ConfigError: a stage is not, or no longer, stored in full.
    """
    from pretrain.learn.transfer import TransferError
    from pretrain.models import stored  # takes seconds, and tables do not need it
    from pretrain.store.store import Store, StoreError

    rows = {row["trial_id"]: row for row in tables.trials.to_pylist()}
    ids = {row["trial_id"]: row["stage_id"] for row in tables.stages.to_pylist() if row["stage"] == "finetune"}
    endings, by_config = [], {each.data: each for each in inputs}
    for trial in chosen.trial_ids:
        settings = settings_of(experiment, rows[trial])
        endings.append(stored.Ending(ids[trial], settings, by_config[settings.finetuning_data]))
    root, faults = store or experiment.store, list[str]()
    opened = Store(root, warn=faults.append, read_only=True)
    stages = {ending.id for ending in endings}
    try:
        if opened.verified(stages) == stages:
            seeds = f"seed{'s' * (len(endings) > 1)} {', '.join(map(str, chosen.seeds))}"
            return stored.load(opened, endings, f"{chosen.name}, {seeds}")
    except (StoreError, TransferError) as error:
        faults.append(str(error))
    reason = faults[0] if faults else "it has no such stage; run the experiment again, or name another store"
    raise ConfigError("store", str(root), f"cannot give the network of {chosen.name}: {reason}")


def settings_of(experiment: Experiment, row: Mapping[str, Any]) -> Settings:
    """Returns the settings of a trial at its seed, from its row of the table of trials.

    Raises:
      ConfigError: it is of no point of the experiment.
    """
    point = next((each for each in experiment.points if _is_of(row, each)), None)
    if point is None:
        remedy = "is of no point of the run's experiment; run its command again"
        raise ConfigError("trial_id", row["trial_id"], remedy)
    return point.settings.at_seed(row["seed"])


def _is_of(row: Mapping[str, Any], point: Point) -> bool:
    """Returns whether a trial has a point's swept values, but for those that no network depends on once it is trained.

    The table has these as the numbers that they came to.
    """

    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return " ".join(map(str, value))
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return repr(float(value)) if is_number else str(value)

    compared = point.values.keys() - {"finetune.frozen_layers", "finetune.labels"}
    others = [name for name in row if "." in name and name not in point.values]
    are_same = all(text(row[name]) == text(get(point.settings, name)) for name in compared)
    return are_same and all(row[name] is None for name in others)

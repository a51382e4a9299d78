"""What a run leaves to look at: predictions of test rows, their codes, and a layer before and after."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pretrain.config import DataConfig, Experiment, Settings
from pretrain.config.digests import sha256
from pretrain.config.fields import ConfigError
from pretrain.data import Dataset, inputs_file
from pretrain.data.inputs_file import Inputs
from pretrain.runs.looks_file import Looks
from pretrain.study import failures, use
from pretrain.study.answer import Answer
from pretrain.study.arms import CORNERS, Arm, distinct, key, without_idle
from pretrain.study.comparisons import by_family, pairs_of

if TYPE_CHECKING:
    from pretrain.store.store import Store

_INIT, _FROZEN = CORNERS
_VERSION = "2"  # of what looks hold; another takes those of older runs anew
_WITHOUT_PROBABILITIES = ("ridge", "knn", "own")  # endings whose scores are, or may be, no logarithms or logits
_ALIKE = ("data.", "finetune.labels")  # beginnings of the fields that two arms share


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """A run's trials with their data and stages."""

    experiment: Experiment
    trials: Mapping[str, Mapping[str, Any]]  # rows of the table, by id
    stages: Mapping[str, Mapping[str, str]]  # ids by name, in their order, of each trial
    store: "Store"
    datasets: Mapping[DataConfig, Dataset]
    is_known: bool = False  # whether data and the user's own layers are known to be those that trained
    inputs: Sequence[Inputs] = ()  # how rows became inputs when the run ended
    _checked: set[str] = dataclasses.field(default_factory=set)  # trials whose data are known to be those of then
    _settings: dict[str, Settings] = dataclasses.field(default_factory=dict)  # that were found, by trial

    @classmethod
    def of(
        cls,
        experiment: Experiment,
        tables: use.Tables,
        store: "Store",
        datasets: Mapping[DataConfig, Dataset],
        is_known: bool = False,
        inputs: Sequence[Inputs] = (),
    ) -> "Source":
        """Returns the source of a run's tables."""
        stages: dict[str, dict[str, str]] = {}
        for row in tables.stages.to_pylist():
            stages.setdefault(row["trial_id"], {})[row["stage"]] = row["stage_id"]
        trials = {row["trial_id"]: row for row in tables.trials.to_pylist()}
        return cls(experiment, trials, stages, store, datasets, is_known, inputs)

    def settings(self, trial: str) -> Settings:
        """Returns a trial's settings at its seed."""
        if trial not in self._settings:
            self._settings[trial] = use.settings_of(self.experiment, self.trials[trial])
        return self._settings[trial]

    def dataset(self, trial: str) -> Dataset:
        """Returns the data that a trial is tested on.

        Raises:
          ConfigError: they have changed since.
        """
        config = self.settings(trial).finetuning_data
        dataset = self.datasets[config]
        if not self.is_known and trial not in self._checked:
            (record,) = self.store.records([self.stages[trial]["finetune"]])
            then = [_read(each) for each in self.inputs if each.data == config]
            now = _read(inputs_file.inputs_of(config, dataset))
            if record.test != dataset.fingerprints.test or now not in (then or [now]):
                remedy = "is not as it was when the run trained; run the run's command again"
                raise ConfigError("data.name", config.name, remedy)
            self._checked.add(trial)
        return dataset

    def trained_from(self, trial: str) -> int | None:
        """Returns the lowest layer of a trial's encoder that fine-tuning trains; None where it trains none."""
        from pretrain.plan import modules, stages  # which import JAX

        settings = self.settings(trial)  # which are any point's of those that differ in frozen layers alone
        depth = len(modules.build(settings).layers)
        swept = self.trials[trial].get(_FROZEN)
        frozen = stages.frozen_layers(settings, depth) if swept is None else swept
        return int(frozen) if settings.finetune.makes_updates and frozen < depth else None

    def predictions(self, trial: str) -> dict[str, np.ndarray]:
        """Returns a trial's stored predictions of test rows."""
        return self.store.predictions(self.stages[trial]["finetune"], "test")

    def has_probabilities(self, trial: str) -> bool:
        """Whether a trial's scores of classes or labels are logarithms of probabilities, or logits."""
        return self.settings(trial).finetune.kind not in _WITHOUT_PROBABILITIES


def pair(answer: Answer) -> list[Arm]:
    """Returns the headline's two arms: the best use of pretraining, and the best of what it is compared with.

    The first is the best treatment of the question's own comparisons on validation rows, pretrained where any is, and
    the second the best baseline on the same data and labels. Without comparisons it is the best arm alone.
    """
    own, _ = by_family(answer.comparisons)
    if not own:
        return [arm for arm in [answer.best] if arm]
    treated, untreated = map(list, zip(*pairs_of(own, answer.arms), strict=True))
    if own[0].field == _INIT:  # one whose counterpart diverged is in no comparison
        values, alike = {arm.point[_INIT] for arm in untreated}, {_shared(arm) for arm in untreated}
        untreated = [arm for arm in answer.arms if arm.point.get(_INIT) in values and _shared(arm) in alike]
    pretrained = [arm for arm in treated if arm.point.get(_INIT) == "pretrained"]
    first = best(pretrained or treated, answer.metric)
    if first is None:
        return []
    second = best([arm for arm in untreated if _shared(arm) == _shared(first) and arm is not first], answer.metric)
    return distinct([arm for arm in (first, second) if arm])


def best(arms: Sequence[Arm], metric: str) -> Arm | None:
    """Returns the arm that is best on validation rows, mean over trials; None where none has a result.

    Trials that diverged are at chance, as in ``winner``; arms of which most did come after all others.
    """
    means = {}
    for place, arm in enumerate(arms):
        values = failures.on_validation(failures.whole(arm, metric), metric)
        if arm.trial_ids and (measured := np.isfinite(values)).any():
            means[place] = (len(arm.diverged) <= len(arm.trial_ids), float(np.mean(values[measured])))
    return arms[max(means, key=lambda place: means[place])] if means else None


def chosen(arm: Arm, metric: str) -> tuple[str, int]:
    """Returns the trial of an arm, and its seed, that is best on validation rows, as ``use.trials_of`` chooses it."""
    place = int(np.argmax(failures.on_validation(arm, metric)))
    return arm.trial_ids[place], arm.seeds[place]


def _shared(arm: Arm) -> Any:
    return key({name: value for name, value in without_idle(arm.point).items() if name.startswith(_ALIKE)})


def _alike(answer: Answer, compared: Sequence[Arm]) -> list[Arm]:
    """Returns the arms on the data and labels of those that are compared."""
    return [arm for arm in distinct(answer.arms) if not compared or _shared(arm) == _shared(compared[0])]


def kinds(answer: Answer, compared: Sequence[Arm], trained_from: Callable[[str], int | None]) -> dict[str, Arm]:
    """Returns the best arm of each kind on validation rows, on the data and labels of those that are compared.

    Kinds are pretrained; scratch, of fresh encoders that train; and random, of fresh encoders of which no layer does.
    """
    sides: dict[str, list[Arm]] = {"pretrained": [], "scratch": [], "random": []}
    for arm in _alike(answer, compared):
        if arm.point.get(_INIT) in ("pretrained", "weights"):  # the latter by somebody else
            sides["pretrained"].append(arm)
        elif arm.point.get(_INIT) == "he" and arm.trial_ids:
            is_still = trained_from(chosen(arm, answer.metric)[0]) is None
            sides["random" if is_still else "scratch"].append(arm)
    found = {kind: best(arms, answer.metric) for kind, arms in sides.items()}
    sides_found = {kind: arm for kind, arm in found.items() if arm}
    if not sides_found and compared and compared[0].point.get(_INIT) != "none":
        return {"own": compared[0]}
    return sides_found


def stated(answer: Answer, stages: pa.Table, inputs: Sequence[Inputs]) -> str:
    """Returns what looks at an answer are taken from, in a digest: its arms, their stages, and names in the data."""
    compared = pair(answer)
    arms = [*compared, *_alike(answer, compared)]
    trials = {trial for arm in arms for trial in arm.trial_ids}
    ids = [row["stage_id"] for row in stages.to_pylist() if row["trial_id"] in trials]
    names = sorted(_read(each) for each in inputs)
    of_arms = [[arm.trial_ids, arm.diverged] for arm in arms]
    networks = [chosen(arm, answer.metric)[0] for arm in arms if arm.trial_ids]
    return sha256(json.dumps([_VERSION, answer.metric, of_arms, networks, ids, names]))


def _read(inputs: Inputs) -> str:
    """Returns a digest of names in the data, and of how rows become inputs."""
    content = inputs_file.content_of(inputs)
    named = [content[name] for name in ("task", "output_names", "units", "scaling", "columns")]
    return sha256(json.dumps(named, sort_keys=True))


def take(
    answer: Answer,
    stages: pa.Table,
    inputs: Sequence[Inputs],
    source: Callable[[], Source],
    kept: Looks | None = None,
) -> Looks | None:
    """Returns looks at a run's headline; those that fail are named, and cost no report.

    Args:
      inputs: how rows of its data became inputs.
      source: opens its data and store, which takes time.
      kept: earlier looks, to be returned if they are of the same.
    """
    of, compared = stated(answer, stages, inputs), pair(answer)
    if not compared or (kept and kept.of == of):
        return kept if compared else None
    from pretrain.study import look_at_codes, look_at_layer, look_at_predictions, look_at_rows

    try:
        at = source()
    except Exception as error:  # of a store or data that are gone, or that the user's own code gives
        return Looks(of, missing=(f"Test predictions, codes and filters: {_reason(error)}",))

    def networks() -> dict[str, Arm]:
        return kinds(answer, compared, at.trained_from)

    takers: dict[str, tuple[str, Callable[[], Sequence[Any]]]] = {
        "confused": ("Confusion of classes", lambda: look_at_predictions.confused(at, compared)),
        "calibrated": ("Calibration", lambda: look_at_predictions.calibrated(at, compared)),
        "wrong": ("Rows that are wrong", lambda: look_at_rows.wrong(at, compared)),
        "scattered": ("Predicted against true numbers", lambda: look_at_rows.scattered(at, compared)),
        "planes": (
            "Codes on a plane",
            lambda: look_at_codes.planes(at, answer.metric, networks()),
        ),
        "changed": ("The first layer, before and after", lambda: look_at_layer.changed(at, answer.metric, compared)),
    }
    found: dict[str, Any] = {}
    missing: list[str] = []
    for kind, (name, taker) in takers.items():
        try:
            found[kind] = tuple(taker())
        except Exception as error:  # of a stage that is gone, or of layers of the user's own, which may fail in any way
            missing.append(f"{name}: {_reason(error)}")
    return Looks(of, **found, missing=tuple(missing))


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:300]

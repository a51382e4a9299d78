"""Measures of predictions, the user's own among them: the targets of each, its unit, and the better direction."""

import contextlib
import difflib
import math
import re
from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import AfterValidator

from pretrain.config.fields import ConfigError
from pretrain.config.kinds import TaskKind
from pretrain.config.own_code import NAMED, made
from pretrain.config.own_methods import is_recorded
from pretrain.config.paths import path_of

AUTO = "auto"
# Columns of trials besides measures of predictions: the error of reconstruction, baselines, and the score that chooses
# settings of tuned arms.
RECONSTRUCTION = "pretrain_test_mse"
PRETRAINING_BEST = "pretrain_best_update"  # whose parameters are kept, where pretraining may end early
MAJORITY, VARIANCE, COMPONENTS = "test_majority_rate", "pretrain_test_variance", "pretrain_test_pca_mse"
MEAN = "pretrain_test_mean_mse"
TUNING_SCORE = "tuning_score"
BEFORE = ("before_training", "before_held_out", "before_noise")  # columns of stages: errors before the first update
RANKS = ("effective_rank", "untrained_effective_rank")  # of stages, too: of codes after them, and before pretraining
CHANCE, MARGIN = "_chance", "_chance_margin"  # ends of names: the compared metric's level of chance, and its margin
OF_CHANCE = (CHANCE, MARGIN)
IN_COMMON = "_rows_in_common"  # end of a name: the part of a split's rows that another seed's has, too
_RESERVED = re.compile(f"^update_|^majority_rate$|({CHANCE}|{MARGIN}|{IN_COMMON})$")  # of columns of their own
_SPLITS = ("test", "validation", "post")  # the last of curves, as in post_update_accuracy


class Metric(NamedTuple):
    """A measure of predictions."""

    tasks: tuple[str, ...]  # as in ``data.task``
    higher_is_better: bool = True
    is_fraction: bool = False  # of examples or labels, and so in percentage points
    low: float = float("-inf")  # the least value that it can have
    high: float = float("inf")
    unit: float | None = None  # of effects; by default 1 of a fraction and the like, of others the baseline

    def effects_of(self, baseline: float) -> float:
        """Returns the unit of the smallest effect, beside a baseline's mean."""
        return self.unit or (1.0 if self.high == 1 else abs(baseline))


class OwnMetric(NamedTuple):
    """A measure of predictions that a file of the user's defines."""

    function: Callable[[Any], Any] | None  # of ``runs.measures.Predictions``; None of a finished run
    facts: Metric
    word: str = ""  # that names it, as ``FILE.py:NAME``


_FIELD = "study.metric"
OWN: dict[str, OwnMetric] = {}  # by name, in the process as a whole
_CLASSES, _LABELS, _NUMBERS = get_args(TaskKind)
METRICS = {
    "accuracy": Metric((_CLASSES, _LABELS), is_fraction=True, low=0, high=1),
    "balanced_accuracy": Metric((_CLASSES,), is_fraction=True, low=0, high=1),
    "auroc": Metric((_CLASSES, _LABELS), low=0, high=1),
    "average_precision": Metric((_CLASSES, _LABELS), low=0, high=1),
    "loss": Metric((_CLASSES, _LABELS, _NUMBERS), higher_is_better=False, low=0),
    "r2": Metric((_NUMBERS,), high=1),
    "rmse": Metric((_NUMBERS,), higher_is_better=False, low=0),
    "mae": Metric((_NUMBERS,), higher_is_better=False, low=0),
}
# Metrics of every run; the first is compared by default.
USUAL = {
    _CLASSES: ("accuracy", "loss"),
    _LABELS: ("auroc", "accuracy", "loss"),
    _NUMBERS: ("r2", "rmse", "mae", "loss"),
}


def metric(
    *,
    higher_is_better: bool,
    tasks: Collection[str] = get_args(TaskKind),
    is_fraction: bool = False,
    low: float = -math.inf,
    high: float = math.inf,
) -> Callable[[Callable[[Any], Any]], OwnMetric]:
    """Makes a metric of the function of a file of the user's, which ``study.metric`` names as ``FILE.py:NAME``.

    From ``runs.measures.Predictions`` of N rows it returns their values [N], of which the metric is the mean, or one
    number.

    Args:
      higher_is_better: whether larger values are better.
      tasks: targets that it measures predictions of, as in ``data.task``.
      is_fraction: whether differences are in percentage points.
      low: the least value that it can have.
      high: the largest.

    Raises:
      ValueError: these do not fit together.
    """
    if isinstance(tasks, str) or not set(tasks) <= set(get_args(TaskKind)):
        raise ValueError(f"tasks is {tasks!r}, no tuple of {', '.join(get_args(TaskKind))}")
    if not isinstance(higher_is_better, bool) or not low < high:
        raise ValueError("higher_is_better is True or False, and low is below high")
    facts = Metric(tuple(tasks), higher_is_better, bool(is_fraction), float(low), float(high))
    return lambda function: OwnMetric(function, facts)


def remember(name: str, own: OwnMetric, anew: bool = False) -> None:
    """Makes a name one of a metric of the user's own.

    Args:
      name: of its function.
      own: the metric.
      anew: whether finished runs are measured anew, so that it may be another than theirs.

    Raises:
      ConfigError: it is one of another direction, or other bounds, already.
    """
    before = OWN.get(name)
    if before and before.facts != own.facts and (before.function or not anew):
        remedy = f"states {name} otherwise than a run that was read; report that run by --study.metric FILE.py:{name}"
        raise ConfigError(_FIELD, own.word or name, remedy)
    if own.function or not before:
        OWN[name] = own


def split_of(name: str) -> tuple[str, str]:
    """Returns a metric's split and the rest of its name; the split is the test's where the name has none."""
    name = name.rpartition(".py:")[2]
    split, _, rest = name.partition("_")
    return (split, rest) if split in _SPLITS else ("test", name)


def metric_of(name: str) -> Metric:
    """Returns the measure behind a name such as ``test_accuracy`` or ``validation_accuracy after batch 1``.

    One that has no name here is a number without bounds.
    """
    measure = split_of(name)[1].split()[0].removeprefix("update_")
    own = OWN.get(measure)
    return _declared.get().get(measure) or METRICS.get(measure) or (own.facts if own else Metric(()))


_declared: ContextVar[dict[str, Metric]] = ContextVar("declared", default={})  # noqa: B039  # replaced, and never changed in place


@contextlib.contextmanager
def declared(name: str, metric: Metric) -> Iterator[None]:
    """Makes a name, with or without its split, one of a metric within a block: of numbers that somebody brings."""
    token = _declared.set({**_declared.get(), split_of(name)[1]: metric})
    try:
        yield
    finally:
        _declared.reset(token)


def column(name: str) -> str:
    """Returns a metric's full name, as in tables.

    >>> column("accuracy"), column("validation_loss")
    ('test_accuracy', 'validation_loss')
    """
    return "_".join(split_of(name))


def _checked(name: str) -> str:
    """Returns a metric's name, if it is one."""
    if ".py" in name:
        _find(name)
        return name
    split, measure = split_of(name)
    if name != AUTO and (measure not in METRICS or split == "post"):
        near = difflib.get_close_matches(split_of(name.lower())[1], METRICS, 1)
        raise ValueError(f"is none of {', '.join(METRICS)}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return name


def _find(word: str, field: str = _FIELD, anew: bool = False) -> None:
    """Remembers a metric of the user's own by its name; of finished runs that are not measured ``anew``, as they do.

    Raises:
      ConfigError: its file does not define it, or fails.
    """
    if not (match := NAMED.fullmatch(word)):
        raise ConfigError(field, word, "names no metric; write FILE.py:NAME")
    file, name = match.groups()
    if is_recorded() or (name in OWN and not anew and not path_of(field, file).is_file()):
        return

    def checked(found: Any) -> OwnMetric:
        if found is None:
            raise ConfigError(field, word, f"names {name}, which its file does not define")
        if not isinstance(found, OwnMetric):
            remedy = "no metric; write @pretrain.config.metrics.metric(higher_is_better=…) above its function"
            raise ConfigError(field, word, f"names {name}, which is {remedy}")
        if name in METRICS or name == AUTO or split_of(name) != ("test", name) or _RESERVED.search(name):
            raise ConfigError(field, word, f"names {name}, a name of the package's own; name it otherwise")
        return found._replace(word=word)

    remember(name, made(field, word, file, name, checked), anew)


MetricName = Annotated[str, AfterValidator(_checked)]


def check_metric(name: str, field: str = "study.metric") -> None:
    """Checks that a name is a metric's.

    Raises:
      ConfigError: it is not; the message names the field.
    """
    if ".py" in name:
        return _find(name, field, anew=True)
    try:
        _checked(name)
    except ValueError as error:
        raise ConfigError(field, name, str(error)) from None


def check_task(name: str, tasks: Collection[str], field: str = "study.metric") -> None:
    """Checks that a metric measures predictions of such targets.

    Raises:
      ConfigError: it does not.
    """
    for task in tasks:
        if name != AUTO and task not in metric_of(name).tasks:
            fitting = ", ".join(each for each, metric in METRICS.items() if task in metric.tasks)
            raise ConfigError(field, name, f"is no measure of {task}; choose one of {fitting}")

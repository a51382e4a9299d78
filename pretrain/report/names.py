"""Names of arms, treatments, settings, metrics and numbers, as people read them."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.metrics import metric_of, split_of
from pretrain.study.arms import CORNERS, distinguished, without_idle
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate
from pretrain.study.variation import Variation


class Words(NamedTuple):
    """The words for a value of a field, each None where there is none."""

    trait: str | None = None  # of an arm that lies between the original corners
    setting: str | None = None  # in which others are compared
    treatment: str | None = None  # that leads to it from the field's first value


GOES_ON = "pretrain.encoder_init"  # under which is in ``in_place`` what pretraining goes on from in all arms
WEIGHTS = "finetune.weights"  # under which the only checkpoint of a run is in ``in_place``
_INIT, _FROZEN = CORNERS
_MATCHED, _UNFREEZE = "finetune.first_logit_change", "finetune.unfreeze_at"
_USUAL = Words("", "")  # is left out
_WORDS = {
    _INIT: {
        "he": Words("from scratch (He)"),
        "pretrained": Words("pretrained", treatment="pretraining"),
        "matched": Words("matched", treatment="matching the weights' mean and deviation"),
        "permuted": Words("permuted", treatment="permuting pretrained weights"),
        "rotated": Words("rotated", treatment="rotating pretrained weights"),
        "pca": Words("PCA", treatment="taking principal components"),
        "wrong_data": Words("another source", treatment="pretraining on another source"),
        "weights": Words("from a checkpoint", treatment="starting from a checkpoint"),
        "none": Words("no encoder", treatment="having no encoder"),
    },
    GOES_ON: {
        "he": _USUAL,
        "weights": Words("going on from a checkpoint", "from a checkpoint on", "going on from a checkpoint"),
    },
    _FROZEN: {0: Words("trainable")},
    _MATCHED: {0: _USUAL},
    _UNFREEZE: {0: _USUAL},
    "finetune.codes": {
        "raw": _USUAL,
        "standardised": Words("standardised codes", "on standardised codes", "standardising the codes"),
        "whitened": Words("whitened codes", "on whitened codes", "whitening the codes"),
    },
    "finetune.head_init": {
        "random": _USUAL,
        "zero": Words("zero head", "from a zero head", "starting the head from zero"),
        "ridge": Words("fitted head", "from a fitted head", "fitting the head"),
    },
    "finetune.readout": {
        "none": _USUAL,
        "ridge": Words("ridge read-out", "by ridge read-out"),
        "logistic": Words("logistic read-out", "by logistic read-out"),
        "linear": Words("linear read-out", "by linear read-out"),
        "knn": Words("nearest neighbours", "by nearest neighbours"),
        "trees": Words("boosted trees", "by boosted trees"),
        "own": Words("own read-out", "by own read-out"),
    },
}
_MOST_NAMED = 4  # arms in a sentence
_ABBREVIATIONS = {"auroc": "AUROC", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}
_short: ContextVar[Mapping[str, str]] = ContextVar("short", default={})  # noqa: B039  # replaced, and never changed in place


@contextlib.contextmanager
def in_place(short: Mapping[str, str]) -> Iterator[None]:
    """Shows texts by others within a block, such as paths by the part that differs."""
    token = _short.set(short)
    try:
        yield
    finally:
        _short.reset(token)


def _words(field: str, value: Any) -> Words:
    """Returns the words for a value; a swept tuple, which tables hold as a list, has none."""
    shown = _short.get()
    file = shown.get(WEIGHTS)
    if (field, value) == (_INIT, "pretrained") and GOES_ON in shown:
        return Words(f"pretrained {shown[GOES_ON]}", treatment=shown[GOES_ON])
    if (field, value) == (_INIT, "weights") and file:
        return Words(f"from {file}", treatment=f"starting from {file}")
    if (field, value) == (GOES_ON, "weights") and file:
        return Words(f"going on from {file}", f"from {file} on", f"going on from {file}")
    return Words() if isinstance(value, list) else _WORDS.get(field, {}).get(value, Words())


def arm_name(point: Mapping[str, Any]) -> str:
    """Returns an arm's name: its encoder as one says it, and beside an encoder other settings, too; else values."""
    parts, shown = [], distinguished(point)
    for name, value in shown.items():
        trait = _trait(name, value) if name in CORNERS or _INIT in point else None
        parts.append(f"{brief(name, shown)}={short(value)}" if trait is None else trait)
    return ", ".join(part for part in parts if part) or "all trials"


def arms(points: Sequence[Mapping[str, Any]]) -> str:
    """Returns the names of several arms in words, or how many there are."""
    names = list(dict.fromkeys(map(arm_name, points)))
    if len(names) > _MOST_NAMED:
        return f"{len(names)} arms"
    return listed([f"({name})" if "," in name else name for name in names])


def capital(text: str) -> str:
    """Returns a text that begins with a capital letter."""
    return text[0].upper() + text[1:]


def _trait(field: str, value: Any) -> str | None:
    if field == _FROZEN and value:
        return f"{value} frozen"
    if field == _MATCHED and value:
        return f"start matched to {short(value)}"
    if field == _UNFREEZE and value:
        return f"after {counted(value, 'update')} of the head"
    trait = _words(field, value).trait
    return str(value) if trait is None and field == _INIT else trait


def value_name(field: str, value: Any) -> str:
    """Returns the name of an arm by the value of one field."""
    trait = _trait(field, value) if field in CORNERS else None
    return f"{brief(field)}={short(value)}" if trait is None else trait


def cell(field: str, value: Any) -> str:
    """Returns a field's value in a table; nothing of an arm that the field is none of."""
    trait = _words(field, value).trait if field == _INIT else None
    return "–" if value is None else trait or short(value)


def treatment(field: str, value: Any, baseline: Any) -> str:
    """Returns the name of a change from the baseline to a value of a field."""
    if (field, value, baseline) == (_INIT, "pretrained", "none"):
        return "a pretrained encoder"
    if baseline == next(iter(_WORDS.get(field, ())), None) and (words := _words(field, value).treatment):
        return words
    if baseline == 0 and field == _FROZEN:
        return "freezing"
    if baseline == 0 and field == _MATCHED:
        return f"matching the first update to {short(value)}"
    if field == _INIT:
        return f"{cell(field, value)} instead of {cell(field, baseline)}"
    return f"{brief(field)}={short(value)} instead of {short(baseline)}"


def comparison_name(compared: Comparison | BudgetCurve | Variation) -> str:
    """Returns the name of a comparison: its treatment, and where it was made."""
    return f"{treatment_of(compared)} {setting(compared.shared)}".strip()


def treatment_of(compared: Comparison | BudgetCurve | Variation) -> str:
    """Returns the name of the change that a comparison is about."""
    return treatment(compared.field, compared.treatment, compared.baseline)


def setting(shared: Mapping[str, Any]) -> str:
    """Returns where a comparison was made: the swept fields that both of its arms share."""
    parts = []
    for name, value in without_idle(shared).items():
        if name in (_FROZEN, _UNFREEZE, "finetune.labels") and isinstance(
            value, str
        ):  # of a table that somebody brings
            parts.append(f"at {brief(name, shared)}={short(value)}")
        elif name == _FROZEN:
            parts.append(f"with {counted(value, 'layer')} frozen" if value else "with all layers trainable")
        elif name == _INIT:
            encoders = {"he": cell(name, value), "none": "without an encoder"}
            parts.append(encoders.get(value, f"with the encoder {cell(name, value)}"))
        elif name == "finetune.labels":
            parts.append(f"at {labels(value)}")
        elif name == "data.name":
            parts.append(f"on {short(value)}")
        elif name == _MATCHED and value:
            parts.append(f"with the first update matched to {short(value)}")
        elif name == _UNFREEZE and value:
            parts.append(f"after {counted(value, 'update')} of the head alone")
        else:
            words = _words(name, value).setting
            parts.append(f"at {brief(name, shared)}={short(value)}" if words is None else words)
    return " ".join(part for part in parts if part)


def labels(value: int | float) -> str:
    """Returns a label budget: a number, a share of each dataset's, or all."""
    if 0 < value < 1:
        return f"{percent(value)} of the labels"
    return counted(int(value), "label") if value else "all labels"


def metric_name(metric: str) -> str:
    """Returns a metric's name in words."""
    words = [_ABBREVIATIONS.get(word, word) for word in metric.split("_")]
    return " ".join(words)


def brief(field: str, among: Iterable[str] = ()) -> str:
    """Returns the last part of a field's dotted name, or as many parts as distinguish it from the others."""
    parts = field.split(".")
    for size in range(1, len(parts)):
        tail = ".".join(parts[-size:])
        if all(other == field or not f".{other}".endswith(f".{tail}") for other in among):
            return tail
    return field


def short(value: Any) -> str:
    """Returns a field's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else _short.get().get(str(value), str(value))


def percent(level: float) -> str:
    """Returns a level as in ``98.75 %``."""
    return f"{100 * level:.4g} %"


def intervals(compared: Sequence[Comparison]) -> str:
    """Returns what the intervals of comparisons hold: each its own difference, or all of them at once."""
    if len(compared) < 2:
        return "its interval"
    return "intervals one by one" if compared[0].n_at_once == 1 else "intervals that hold all at once (Bonferroni's t)"


def p_value(value: float) -> str:
    """Returns a p-value as it follows the letter: ``= 0.031``, or ``< 0.001``."""
    return f"= {value:.3f}" if value >= 0.001 else "< 0.001"


def difference(estimate: Estimate, metric: str) -> str:
    """Returns a difference of a metric with its interval: of fractions in percentage points, of others as it is."""
    if metric_of(metric).is_fraction:
        text, ends = f"{100 * estimate.mean:+.1f} points", f"{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}"
    else:
        digits = "+.3f" if metric_of(metric).high == 1 else "+.3g"
        text, *sides = (_number(number, digits) for number in estimate)
        ends = ", ".join(sides)
    return f"{text} [{ends}]" if np.isfinite(estimate.low) else text


def value(number: float, metric: str, digits: int = 3) -> str:
    """Returns a value of a metric: of one that ends at 1 with some digits after the point, of others with one more."""
    return f"{number:.{digits}f}" if metric_of(metric).high == 1 else _number(number, f".{digits + 1}g")


def _number(number: float, form: str) -> str:
    """Returns a number in a form, but of thousands the whole number in the place of a power of ten."""
    text = f"{number:{form}}"
    return f"{number:{form[0] if form[0] == '+' else ''},.0f}" if "e+" in text and abs(number) < 1e15 else text


def scale_of(metric: str) -> tuple[float, str]:
    """Returns the factor by which a figure multiplies differences of a metric, and their unit in words."""
    return (100, "percentage points") if metric_of(metric).is_fraction else (1, metric_name(split_of(metric)[1]))


def sizes(least: float, most: float, metric: str) -> str:
    """Returns the sizes of differences of a metric, as in ``0.4 to 1.2 points``."""
    if metric_of(metric).is_fraction:
        return f"{' to '.join(dict.fromkeys(f'{100 * end:.1f}' for end in (least, most)))} points"
    return " to ".join(dict.fromkeys(_number(end, ".3g") for end in (least, most)))


def listed(parts: list[str]) -> str:
    """Returns an enumeration in words."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last

"""Names of arms, treatments, settings, metrics and numbers, as people read them."""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from pretrain.config.counts import counted
from pretrain.config.metrics import metric_of, split_of
from pretrain.study.arms import CORNERS, without_idle
from pretrain.study.budgets import BudgetCurve
from pretrain.study.comparisons import Comparison
from pretrain.study.statistics import Estimate

_INIT, _FROZEN = CORNERS
_CODES, _HEAD, _MATCHED = "finetune.codes", "finetune.head_init", "finetune.first_logit_change"
_READOUT, _UNFREEZE = "finetune.readout", "finetune.unfreeze_at"
# What one does to get from one value of a field to another, where there is a word for it.
_TREATMENTS = {
    (_INIT, "he", "pretrained"): "pretraining",
    (_INIT, "he", "matched"): "matching the weights' mean and deviation",
    (_INIT, "he", "permuted"): "permuting pretrained weights",
    (_INIT, "he", "rotated"): "rotating pretrained weights",
    (_INIT, "he", "pca"): "taking principal components",
    (_INIT, "he", "wrong_data"): "pretraining on the wrong data",
    (_INIT, "he", "none"): "having no encoder",
    (_INIT, "none", "pretrained"): "a pretrained encoder",
    (_CODES, "raw", "standardised"): "standardising the codes",
    (_CODES, "raw", "whitened"): "whitening the codes",
    (_HEAD, "random", "ridge"): "fitting the head",
    (_HEAD, "random", "zero"): "starting the head from zero",
}
# What an arm has, where it is one between the original corners; nothing is said of what it leaves as it was.
_TRAITS = {
    (_INIT, "he"): "He",
    (_INIT, "pca"): "PCA",
    (_INIT, "wrong_data"): "wrong data",
    (_INIT, "none"): "no encoder",
    (_FROZEN, 0): "trainable",
    (_CODES, "raw"): "",
    (_CODES, "standardised"): "standardised codes",
    (_CODES, "whitened"): "whitened codes",
    (_HEAD, "random"): "",
    (_HEAD, "zero"): "zero head",
    (_HEAD, "ridge"): "fitted head",
    (_MATCHED, 0): "",
    (_UNFREEZE, 0): "",
    (_READOUT, "none"): "",
    (_READOUT, "ridge"): "ridge read-out",
    (_READOUT, "logistic"): "logistic read-out",
    (_READOUT, "knn"): "nearest neighbours",
}
_SETTINGS = {
    (_CODES, "raw"): "",
    (_CODES, "standardised"): "on standardised codes",
    (_CODES, "whitened"): "on whitened codes",
    (_HEAD, "random"): "",
    (_HEAD, "zero"): "from a zero head",
    (_HEAD, "ridge"): "from a fitted head",
    (_MATCHED, 0): "",
    (_UNFREEZE, 0): "",
    (_READOUT, "none"): "",
    (_READOUT, "ridge"): "by ridge read-out",
    (_READOUT, "logistic"): "by logistic read-out",
    (_READOUT, "knn"): "by nearest neighbours",
}

_MOST_NAMED = 4  # arms in a sentence
_ABBREVIATIONS = {"auroc": "AUROC", "r2": "R²", "rmse": "RMSE", "mae": "MAE"}


def arm_name(point: Mapping[str, object]) -> str:
    """Returns an arm's name: between the original corners as one says it, otherwise its swept values."""
    parts = []
    for name, value in without_idle(point).items():
        trait = _trait(name, value) if set(CORNERS) <= set(point) else None
        parts.append(f"{brief(name, point)}={short(value)}" if trait is None else trait)
    return ", ".join(part for part in parts if part) or "all trials"


def arms(points: Sequence[Mapping[str, object]]) -> str:
    """Returns the names of several arms in words, or how many there are."""
    if len(points) > _MOST_NAMED:
        return f"{len(points)} arms"
    names = [arm_name(point) for point in points]
    return listed([f"({name})" if "," in name else name for name in names])


def capital(text: str) -> str:
    """Returns a text that begins with a capital letter."""
    return text[0].upper() + text[1:]


def _trait(name: str, value: object) -> str | None:
    if name == _FROZEN and value:
        return f"{value} frozen"
    if name == _MATCHED and value:
        return f"start matched to {short(value)}"
    if name == _UNFREEZE and value:
        return f"after {counted(value, 'update')} of the head"
    known = _known(_TRAITS, name, value)
    return str(value) if known is None and name == _INIT else known


def value_name(field: str, value: object) -> str:
    """Returns the name of an arm by the value of one field."""
    trait = _trait(field, value) if field in CORNERS else None
    return f"{brief(field)}={short(value)}" if trait is None else trait


def treatment(field: str, value: object, baseline: object) -> str:
    """Returns the name of a change from the baseline to a value of a field."""
    known = _known(_TREATMENTS, field, baseline, value)
    if known:
        return known
    if baseline == 0 and field == _FROZEN:
        return "freezing"
    if baseline == 0 and field == _MATCHED:
        return f"matching the first update to {short(value)}"
    return f"{brief(field)}={short(value)} instead of {short(baseline)}"


def comparison_name(compared: Comparison | BudgetCurve) -> str:
    """Returns the name of a comparison: its treatment, and where it was made."""
    change = treatment(compared.field, compared.treatment, compared.baseline)
    return f"{change} {setting(compared.shared)}".strip()


def setting(shared: Mapping[str, object]) -> str:
    """Returns where a comparison was made: the swept fields that both of its arms share."""
    parts = []
    for name, value in shared.items():
        if name == _FROZEN:
            parts.append(f"with {counted(value, 'layer')} frozen" if value else "with all layers trainable")
        elif name == "finetune.labels" and isinstance(value, int):
            parts.append(f"at {counted(value, 'label')}")
        elif name == _MATCHED and value:
            parts.append(f"with the first update matched to {short(value)}")
        elif name == _UNFREEZE and value:
            parts.append(f"after {counted(value, 'update')} of the head alone")
        else:
            known = _known(_SETTINGS, name, value)
            parts.append(f"at {brief(name, shared)}={short(value)}" if known is None else known)
    return " ".join(part for part in parts if part)


def _known(words: Mapping[tuple, str], *key: object) -> str | None:
    """Returns the word for a field and values; a swept tuple, which tables hold as a list, has none."""
    return words.get(key) if not any(isinstance(part, list) for part in key) else None


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


def short(value: object) -> str:
    """Returns a field's value in few characters."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def percent(level: float) -> str:
    """Returns a level as in ``98.75 %``."""
    return f"{100 * level:.4g} %"


def difference(found: Estimate, metric: str) -> str:
    """Returns a difference of a metric with its interval: of fractions in percentage points, of others as it is."""
    if metric_of(metric).is_fraction:
        text, ends = f"{100 * found.mean:+.1f} points", f"{100 * found.low:+.1f}, {100 * found.high:+.1f}"
    else:
        digits = ".3f" if metric_of(metric).high == 1 else ".3g"
        text, ends = f"{found.mean:+{digits}}", f"{found.low:+{digits}}, {found.high:+{digits}}"
    return f"{text} [{ends}]" if np.isfinite(found.low) else text


def value(number: float, metric: str, digits: int = 3) -> str:
    """Returns a value of a metric: of one that ends at 1 with some digits after the point, of others with one more."""
    return f"{number:.{digits}f}" if metric_of(metric).high == 1 else f"{number:.{digits + 1}g}"


def scale_of(metric: str) -> tuple[float, str]:
    """Returns by what a figure multiplies differences of a metric, and their unit in words."""
    return (100, "percentage points") if metric_of(metric).is_fraction else (1, metric_name(split_of(metric)[1]))


def sizes(least: float, most: float, metric: str) -> str:
    """Returns the sizes of differences of a metric, as in ``0.4 to 1.2 points``."""
    if metric_of(metric).is_fraction:
        return f"{' to '.join(dict.fromkeys(f'{100 * end:.1f}' for end in (least, most)))} points"
    return " to ".join(dict.fromkeys(f"{end:.3g}" for end in (least, most)))


def listed(parts: list[str]) -> str:
    """Returns an enumeration in words."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last

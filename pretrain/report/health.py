"""Faults of arms, in sentences that name the stage and the remedy."""

from collections.abc import Hashable, Sequence

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import get
from pretrain.report.names import arm_name, arms, capital, listed
from pretrain.study.health import Fault

_RATES = {"finetune": "finetune.optimizer.learning_rate"}
_OF_PRETRAINING = "pretrain.optimizer.learning_rate"
_RAW = {"linear": "linear models", "knn": "nearest neighbours", "trees": "boosted trees"}
_FAILED = ("did not train", "level", "reconstruction")


def lost(faults: Sequence[Fault], experiment: Experiment) -> str:
    """Returns a sentence on arms of which every trial diverged or collapsed; nothing where there is none."""
    whole = [fault for fault in faults if fault.is_whole and fault.kind in ("diverged", "collapsed")]
    return " ".join(_grouped(whole, experiment))


def failed(faults: Sequence[Fault], experiment: Experiment) -> str:
    """Returns sentences on pretraining that learned nothing, with which a verdict on it begins."""
    return " ".join(_grouped([fault for fault in faults if fault.kind in _FAILED], experiment))


def warnings(faults: Sequence[Fault], experiment: Experiment) -> list[str]:
    """Returns a sentence for each kind of fault but those that ``lost`` and ``failed`` name: the arms, the remedy."""
    is_linear = get(experiment, "pretrain.method.kind") == "pca"
    kept = [fault for fault in faults if not (fault.is_whole and fault.kind in ("diverged", "collapsed"))]
    kept = [fault for fault in kept if fault.kind not in _FAILED]
    return _grouped([fault for fault in kept if not (fault.kind == "components" and is_linear)], experiment)


def _grouped(faults: Sequence[Fault], experiment: Experiment) -> list[str]:
    """Returns a sentence for all findings of one kind and stage; and beside one baseline on raw inputs."""
    groups: dict[Hashable, list[Fault]] = {}
    for fault in faults:
        baseline = fault.baseline if fault.kind == "below raw inputs" else 0.0
        groups.setdefault((fault.kind, fault.stage, baseline, fault.level), []).append(fault)
    return [_sentence(group, experiment) for group in groups.values()]


def _sentence(group: Sequence[Fault], experiment: Experiment) -> str:
    first = group[0]
    who = arms([fault.arm.point for fault in group])
    n, of = sum(fault.n for fault in group), sum(fault.of for fault in group)
    some = f"Every trial of {who}" if n == of else f"{n:,} of {counted(of, 'trial')} of {who}"
    match first.kind:
        case "diverged":
            field = _RATES.get(first.stage, _OF_PRETRAINING)
            where = f" in {first.stage}" if first.stage else ""
            return f"{some} diverged{where}, at {_rates(group, field, experiment)}; lower {field}."
        case "collapsed":
            remedy = "train longer or at another rate, or compare another metric (--study.metric)"
            return f"{some} collapsed: the same is predicted of every example; {remedy}."
        case "failed":
            where = "; ".join(f"{arm_name(each.arm.point)}: {listed(list(map(str, each.seeds)))}" for each in group)
            return (
                f"{some} failed, near chance across a gap from the others (seeds of {where}), so that means over all "
                "seeds are of two things at once; train longer or at another rate."
            )
        case "at chance":
            best = sum(fault.baseline for fault in group) / len(group)
            values = {f"{fault.value:.3f}": None for fault in group}
            is_linear = all(fault.arm.point.get("finetune.encoder_init") == "none" for fault in group)
            remedy = "give more labels" if is_linear else "train longer, at another rate, or with more labels"
            are = "are" if len(group) > 1 else "is"
            return (
                f"{capital(who)} {are} no better than chance ({', '.join(values)}, where predicting the same of all "
                f"examples comes to {best:.3f}); {remedy}, or compare another metric (--study.metric)."
            )
        case "below raw inputs":
            shown = listed([f"{fault.value:.3f}" for fault in group])
            return (
                f"An encoder is below raw inputs: {_RAW[first.stage]} come to {first.baseline:.3f} on the same "
                f"rows, {who} to {shown}; set that beside any claim, or make the networks better (tune them, or train "
                "them longer)."
            )
        case "did not train":
            return (
                f"Pretraining of {who} learned nothing in {first.stage}: its error on validation rows ends at "
                f"{_mean(group, 'value')}, and was {_mean(group, 'baseline')} before the first update; train it longer "
                "or at another rate."
            )
        case "level":
            level = first.level
            is_at = "is at chance" if level.outcome == "at chance" else "collapsed"
            return (
                f"Pretraining of {who} {is_at} in {first.stage}: its {level.metric} on validation rows ends at "
                f"{_mean(group, 'value')}, where {level.like} come to {_mean(group, 'baseline')}; "
                f"{level.remedy}."
            )
        case "low rank":
            return (
                f"Codes of {who} collapsed to few dimensions in {first.stage}: their effective rank is "
                f"{_mean(group, 'value')}, and {_mean(group, 'baseline')} of the same encoder untrained; lower "
                "pretrain.optimizer.learning_rate, or pretrain for less long."
            )
        case "overfitted":
            return (
                f"Pretraining of {who} overfits in {first.stage}: its error on validation rows ends at "
                f"{_mean(group, 'value')}, and was {_mean(group, 'baseline')} at the lowest; set pretrain.stop to "
                "validation, or train a smaller encoder on more rows."
            )
        case "reconstruction":
            share = sum(fault.value for fault in group) / len(group)
            return (
                f"Pretraining of {who} reconstructs no better than the training inputs' mean (its error is {share:.0%} "
                "of the mean's); train it longer or at another rate, or scale the data (data.scaling)."
            )
        case "components":
            left, linear = (sum(getattr(fault, name) for fault in group) / len(group) for name in ("value", "baseline"))
            return (
                f"Pretraining of {who} leaves {left:.0%} of the inputs' variance, as many principal components "
                f"{linear:.0%}; if it is to reconstruct, train it longer or at another rate, or compare "
                "pretrain.method.kind pca."
            )
    share = sum(fault.value for fault in group) / len(group)
    return (
        f"{share:.0%} of the codes of {who} are the same for every example, as those of dead or saturated units are; "
        "lower the learning rates, or choose another activation."
    )


def _mean(group: Sequence[Fault], name: str) -> str:
    return f"{sum(getattr(fault, name) for fault in group) / len(group):.3g}"


def _rates(group: Sequence[Fault], field: str, experiment: Experiment) -> str:
    """Returns the learning rates of arms."""
    if field in experiment.study.tune:
        return "every learning rate of the grid"
    given = {fault.arm.point.get(field) for fault in group}
    rates = sorted(get(experiment, field) if rate is None else rate for rate in given)
    return f"learning rate {listed([f'{rate:g}' for rate in dict.fromkeys(rates)])}"

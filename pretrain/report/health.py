"""Faults of arms, in sentences that name the stage and the remedy."""

from collections.abc import Sequence

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import get
from pretrain.report.names import arms, capital, listed
from pretrain.study.health import Finding

_RATES = {"finetune": "finetune.optimizer.learning_rate"}
_OF_PRETRAINING = "pretrain.optimizer.learning_rate"


def lost(found: Sequence[Finding], experiment: Experiment) -> str:
    """Returns a sentence on arms of which every trial diverged or collapsed; nothing where there is none."""
    whole = [one for one in found if one.is_whole and one.kind in ("diverged", "collapsed")]
    return " ".join(_grouped(whole, experiment))


def warnings(found: Sequence[Finding], experiment: Experiment) -> list[str]:
    """Returns a sentence for each kind of finding but those that ``lost`` reports: the arms, and what to try."""
    is_linear = get(experiment, "pretrain.method.kind") == "pca"
    kept = [one for one in found if not (one.is_whole and one.kind in ("diverged", "collapsed"))]
    return _grouped([one for one in kept if not (one.kind == "components" and is_linear)], experiment)


def _grouped(found: Sequence[Finding], experiment: Experiment) -> list[str]:
    """Returns a sentence for all findings of one kind and stage."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        groups.setdefault((one.kind, one.stage), []).append(one)
    return [_sentence(group, experiment) for group in groups.values()]


def _sentence(group: Sequence[Finding], experiment: Experiment) -> str:
    first = group[0]
    who = arms([one.arm.point for one in group])
    n, of = sum(one.n for one in group), sum(one.of for one in group)
    some = f"Every trial of {who}" if n == of else f"{n:,} of {counted(of, 'trial')} of {who}"
    match first.kind:
        case "diverged":
            field = _RATES.get(first.stage, _OF_PRETRAINING)
            where = f" in {first.stage}" if first.stage else ""
            return f"{some} diverged{where}, at {_rates(group, field, experiment)}; lower {field}."
        case "collapsed":
            remedy = "train longer or at another rate, or compare another metric (--study.metric)"
            return f"{some} collapsed: the same is predicted of every example; {remedy}."
        case "at chance":
            mean, best = (sum(getattr(one, name) for one in group) / len(group) for name in ("value", "baseline"))
            return (
                f"{capital(who)} are no better than chance ({mean:.3f}, where predicting the same of all examples "
                f"comes to {best:.3f}); train longer, at another rate, or with more labels, or compare another metric "
                "(--study.metric)."
            )
        case "reconstruction":
            share = sum(one.value for one in group) / len(group)
            return (
                f"Pretraining of {who} reconstructs no better than the inputs' mean (its error is {share:.0%} of their "
                "variance); train it longer or at another rate, or scale the data (data.scaling)."
            )
        case "components":
            left, linear = (sum(getattr(one, name) for one in group) / len(group) for name in ("value", "baseline"))
            return (
                f"Pretraining of {who} leaves {left:.0%} of the inputs' variance, as many principal components "
                f"{linear:.0%}; if it is to reconstruct, train it longer or at another rate, or compare "
                "pretrain.method.kind pca."
            )
    share = sum(one.value for one in group) / len(group)
    return (
        f"{share:.0%} of the codes of {who} are the same for every example, as those of dead or saturated units are; "
        "lower the learning rates, or choose another activation."
    )


def _rates(group: Sequence[Finding], field: str, experiment: Experiment) -> str:
    """Returns the learning rates of arms."""
    if field in experiment.study.tune:
        return "every learning rate of the grid"
    given = {one.arm.point.get(field) for one in group}
    rates = sorted(get(experiment, field) if rate is None else rate for rate in given)
    return f"learning rate {listed([f'{rate:g}' for rate in dict.fromkeys(rates)])}"

"""How arms were tuned, in sentences."""

from collections.abc import Collection, Iterator
from typing import Any

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, replace
from pretrain.report.names import arms, brief, capital, listed, metric_name
from pretrain.study.answer import Answer
from pretrain.study.choice import TunedArm

_MOST_NAMED = 3  # warnings of edges
_MOST_LISTED = 9  # values of a field
_HYPERPARAMETERS = ("optimizer.learning_rate", "l2", "weight_decay")  # the ends of names of fields that one would tune


def basis(answer: Answer, experiment: Experiment) -> str:
    """Returns the metric, rows and settings by which arms were tuned, in a sentence."""
    fields = [brief(name) for name in experiment.study.tune]
    sizes = sorted({arm.n_settings for arm in answer.tuned})  # fewer where a field has no effect on an arm
    settings = counted(sizes[-1], "setting") if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} settings"
    rows = {
        "train": "no more validation rows than it has labels",
        "all": "all validation rows",
    }.get(experiment.study.tune_labels, f"{experiment.study.tune_labels} validation rows")
    return (
        f"Each arm is tuned alike: for each seed it chooses {listed(fields)} out of {settings} by "
        f"{metric_name(answer.tuned_by)} on {rows}; intervals hold the luck of choosing."
    )


def warnings(answer: Answer) -> list[str]:
    """Returns a sentence for each field whose best value lies on the edge of its grid, with the grid to run on with.

    And one where choices were made by other rows than they were to be, and one for each hyperparameter that is swept
    where one would tune it.
    """
    sentences = [*_not_tuned(answer)]
    by_edge: dict[tuple, list[TunedArm]] = {}
    for arm in answer.tuned:
        for field in arm.fields:
            further = tuple(value for value in field.further if _is_valid(field.field, value))
            if field.edge and further:
                by_edge.setdefault((field.field, field.edge, field.values, further), []).append(arm)
    if answer.n_by_all:
        sentences.append(
            f"{counted(answer.n_by_all, 'choice')} of settings by all validation rows: on those that were to choose, "
            f"{metric_name(answer.tuned_by)} has no value, or no predictions were kept."
        )
    for (field, side, values, further), tuned in list(by_edge.items())[:_MOST_NAMED]:
        grid = _grid({*values, *further})
        sentences.append(
            f"{capital(arms([arm.point for arm in tuned]))} {'choose' if len(tuned) > 1 else 'chooses'} the "
            f"{side} {field} of the grid most; the best may lie beyond it: --tune {field}={grid}."
        )
    return sentences


def _not_tuned(answer: Answer) -> Iterator[str]:
    """Yields, for each hyperparameter at several values of which arms are compared, how to compare tuned arms."""
    swept: dict[str, set[Any]] = {}
    for comparison in answer.comparisons:
        for field, value in comparison.shared.items():
            if field.endswith(_HYPERPARAMETERS) and value is not None:
                swept.setdefault(field, set()).add(value)
    for field, values in swept.items():
        if len(values) > 1:
            grid = _grid(values) if len(values) <= _MOST_LISTED else "the same values"
            yield (
                f"Arms are compared at each of {len(values)} values of {brief(field)}. --tune {field}={grid} instead "
                "of --sweep compares each arm at its own best value, and trains nothing again."
            )


def _grid(values: Collection[Any]) -> str:
    """Returns the values of an axis as on a command line."""
    return ",".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in sorted(values))


def _is_valid(field: str, value: object) -> bool:
    try:
        replace(Experiment(), field, value)
    except ConfigError:
        return False
    return True


def untuned(answer: Answer, verdicts: str) -> str:
    """Returns the untuned verdicts of the same comparisons, where one differs; nothing otherwise."""
    tuned = {repr((each.treatment, each.shared)): each.verdict for each in answer.comparisons}
    untuned = {repr((each.treatment, each.shared)): each.verdict for each in answer.untuned}
    differ = any(tuned.get(place, verdict) != verdict for place, verdict in untuned.items())
    return f"Untuned, at the config's own setting for all arms: {verdicts}" if differ else ""

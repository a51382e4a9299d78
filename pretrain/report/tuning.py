"""How arms were tuned, in sentences."""

from pretrain.config import Experiment
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, replace
from pretrain.report.names import arms, brief, capital, listed, metric_name
from pretrain.study.answer import Answer
from pretrain.study.choice import TunedArm

_MOST_NAMED = 3  # warnings of edges


def basis(answer: Answer, experiment: Experiment) -> str:
    """Returns by what arms were tuned, in a sentence."""
    n, fields = answer.tuned[0].n_settings, [brief(name) for name in experiment.study.tune]
    rows = {
        "train": "no more validation rows than it has labels",
        "all": "all validation rows",
    }.get(experiment.study.tune_labels, f"{experiment.study.tune_labels} validation rows")
    return (
        f"Each arm is tuned alike: for each seed it chooses {listed(fields)} out of {counted(n, 'setting')} by "
        f"{metric_name(answer.tuned_by)} on {rows}; intervals hold the luck of choosing."
    )


def warnings(answer: Answer) -> list[str]:
    """Returns a sentence for each field whose best value lies on the edge of its grid, with the grid to run on with.

    And one where choices were made by other rows than they were to be.
    """
    by_edge: dict[tuple, list[TunedArm]] = {}
    for arm in answer.tuned:
        for one in arm.fields:
            further = tuple(value for value in one.further if _is_valid(one.field, value))
            if one.edge and further:
                by_edge.setdefault((one.field, one.edge, one.values, further), []).append(arm)
    found = []
    if answer.n_by_all:
        found.append(
            f"{counted(answer.n_by_all, 'choice')} of settings by all validation rows: on those that were to choose, "
            f"{metric_name(answer.tuned_by)} has no value, or no predictions were kept."
        )
    for (field, side, values, further), tuned in list(by_edge.items())[:_MOST_NAMED]:
        wider = sorted({*values, *further})
        grid = ",".join(f"{value:.4g}" if isinstance(value, float) else str(value) for value in wider)
        found.append(
            f"{capital(arms([arm.point for arm in tuned]))} {'choose' if len(tuned) > 1 else 'chooses'} the "
            f"{side} {field} of the grid most; the best may lie beyond it: --tune {field}={grid}."
        )
    return found


def _is_valid(field: str, value: object) -> bool:
    try:
        replace(Experiment(), field, value)
    except ConfigError:
        return False
    return True


def untuned(answer: Answer, verdicts: str) -> str:
    """Returns what the same comparisons show untuned, where a verdict differs; nothing otherwise.

    Args:
      answer: of tuned arms.
      verdicts: of the untuned comparisons, in words.
    """
    by_place = {repr((one.treatment, one.shared)): one.verdict for one in answer.comparisons}
    differ = any(by_place.get(repr((one.treatment, one.shared)), one.verdict) != one.verdict for one in answer.untuned)
    return f"Untuned, at the config's own setting for all arms: {verdicts}" if differ else ""

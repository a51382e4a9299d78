"""Rankings that disagree, in sentences."""

from collections.abc import Iterator

from pretrain.config.counts import counted
from pretrain.config.metrics import split_of
from pretrain.report.names import arm_name, arms, brief, difference, listed, metric_name, setting
from pretrain.study.answer import Answer
from pretrain.study.rankings import PretextChoice, Reversal

_MOST_NAMED = 2  # choices


def warnings(answer: Answer) -> list[str]:
    """Returns a sentence for each pretext error that chooses badly, and one on probes that rank otherwise."""
    bad = [each for each in answer.choices if each.is_worse(answer.level)]
    return [*map(_choice, bad[:_MOST_NAMED]), *_reversed(answer.reversals)]


def _choice(choice: PretextChoice) -> str:
    name, among = metric_name(split_of(choice.metric)[1]), listed([brief(field) for field in choice.fields])
    of = f" of ({arm_name(choice.setting)})" if choice.setting else ""
    correlation = choice.correlation
    interval = f"{correlation.mean:+.2f} [{correlation.low:+.2f}, {correlation.high:+.2f}]"
    return (
        f"The {choice.error} of pretraining does not choose well among {choice.settings} settings of {among}{of}: its "
        f"rank correlation with {name} on validation rows is {interval}, and choosing by it changes {name} by "
        f"{difference(choice.change, choice.metric)} beside choosing by the latter ({counted(choice.seeds, 'seed')}); "
        "choose by the latter (--tune)."
    )


def _reversed(found: tuple[Reversal, ...]) -> Iterator[str]:
    if not found:
        return
    first, n = found[0], len(found)
    probe = first.probe.get("finetune.readout")
    by = f"the read-out {probe}" if probe not in (None, "none") else f"fine-tuning {setting(first.probe)}"
    pair = f"{arms([first.first])} is better than {arms([first.second])}"
    more = f" (the clearest of {n} of {counted(first.pairs, 'pair')})" if n > 1 else ""
    probed, tuned = (difference(each, first.metric) for each in (first.probed, first.tuned))
    yield (
        f"Probes and fine-tuning rank pretrainings differently{more}: by {by}, {pair} by {probed}, and fine-tuned as a "
        f"whole by {tuned} ({counted(first.seeds, 'seed')}); choose a pretraining by the use that it is for."
    )

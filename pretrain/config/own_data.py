"""Defaults that follow the data, for a question about data of one's own: budgets, widths, noise, splits, metric."""

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from pretrain.config.caps import Size, capped
from pretrain.config.counts import counted
from pretrain.config.fields import ConfigError, fields, with_values
from pretrain.config.fitting import Fitted, values_of
from pretrain.config.fitting import budgets_of as sizes_of
from pretrain.config.kinds import TaskKind

_MOST_ROWS = 20_000  # of a budget, and of those held out for validation and for the test
_HELD_OUT = 0.2  # of the rows with a label, each
_SHARES = (1.0, 0.1, 0.01)  # of the rows with a label
_FEWEST = {"classification": 10, "multilabel": 10, "regression": 20}  # rows of a budget, a class or in all
_WIDTHS = (16, 300)  # least and most units of the lowest layer
_UPDATES = 4  # an epoch of the smallest budget, at least
_WAYS = {  # beside an experiment's own, by the form of a row
    "images": ("contrastive", "redundancy", "masked"),
    "series": ("contrastive", "masked"),
    "volumes": ("contrastive", "masked"),
    "columns": ("contrastive", "masked", "vime"),
}
_OF_VIEWS = ("contrastive", "redundancy")  # which series of unlike lengths have none of
_INIT = "finetune.encoder_init"
_FREQUENT = 0.8  # share of the most frequent class, from which on accuracy says little


class Facts(NamedTuple):
    """What is known of data before they are cut and scaled."""

    n_labelled: int  # training rows with a label, once others are held out
    n_examples: int  # training rows, with a label or without
    n_values: int  # of a row
    form: str  # of a row: columns, series, images or volumes
    has_test: bool  # rows of its own
    task: TaskKind
    class_shares: tuple[float, ...] = ()  # of the labels
    n_validation: int = 0  # rows
    cuts_validation: bool = True  # from training rows
    is_padded: bool = False  # whether series are of unlike lengths


def held_out(before: Fitted, chosen: Collection[str], n_labelled: int) -> Fitted:
    """Returns an experiment that holds out a share of the rows with a label, or of very many a fixed number."""
    value = _HELD_OUT if _HELD_OUT * n_labelled <= _MOST_ROWS else _MOST_ROWS
    made = before.changed("data.validation", chosen, _constant(value), f"{n_labelled:,} rows have a label")
    return made.changed("data.test", chosen, _constant(value), f"{n_labelled:,} rows have a label")


def fitted(before: Fitted, chosen: Collection[str], facts: Facts, *others: Facts) -> Fitted:
    """Returns an experiment whose defaults follow the data; of several sets, budgets are shares of each.

    Args:
      before: the experiment.
      chosen: fields that stay as they are.
      facts: of its data.
      others: of its other sets.
    """
    first, budgets, made = facts, budgets_of(facts, *others), before
    facts = _together(first, *others)
    metrics = {_metric(each) for each in (first, *others)}
    metric = metrics.pop() if len(metrics) == 1 else "balanced_accuracy"
    is_cut_once = facts.has_test or bool(before.experiment.data.time)  # later rows are tested, whatever the seed
    for name, value, reason in (
        ("data.splits", "fixed" if is_cut_once else "fresh", "test rows are cut off, for each seed others"),
        ("pretrain.method.corruption", "masking" if facts.form == "columns" else "none", "rows are columns"),
        ("encoder.layers", _layers(facts), f"a row has {counted(facts.n_values, 'value')}"),
        ("study.metric", metric, "classes are of very unlike sizes"),
    ):
        if name in fields(made.experiment):  # the noise is of some methods
            made = made.changed(name, chosen, _constant(value), reason)
    made = made.replaced("finetune.labels", chosen, budgets, f"{facts.n_labelled:,} training rows have a label")
    least = min(sizes_of(made.experiment, facts.n_labelled))
    reason = f"the smallest budget is {least:,} labels"
    made = made.changed("finetune.batch_size", chosen, _at_most(least // _UPDATES), reason)
    reason = f"pretraining reads {facts.n_examples:,} rows"
    made = made.changed("pretrain.batch_size", chosen, _at_most(facts.n_examples // _UPDATES), reason)
    if facts.task == "regression":
        made = made.changed("finetune.readout", chosen, lambda kind: "ridge" if kind == "logistic" else kind, "numbers")
    largest = max((first, *others), key=lambda each: each.n_examples * each.n_values)
    return capped(made, chosen, Size(*(getattr(largest, name) for name in Size._fields)))


def asked(before: Fitted, chosen: Collection[str], n_labelled: int, is_of_several: bool = False) -> Fitted:
    """Returns an experiment whose question is of its largest budget, once budgets fit the smallest of all cuts.

    Args:
      before: the experiment.
      chosen: fields that stay as they are.
      n_labelled: rows with a label of the smallest cut.
      is_of_several: whether it has several sets, so that budgets are named as they are swept, not by their size.
    """
    swept, sizes = values_of(before.experiment, "finetune.labels"), sizes_of(before.experiment, n_labelled)
    largest = max(range(len(sizes)), key=sizes.__getitem__)
    family = (f"finetune.labels={(swept if is_of_several else sizes)[largest]}",) if len(swept) > 1 else ()
    return before.changed("study.family", chosen, _constant(family), "the question is of the largest budget")


def with_ways(before: Fitted, *facts: Facts) -> Fitted:
    """Returns an experiment that pretrains in each way that fits the rows of all its sets, beside its own.

    Raises:
      ConfigError: its ways are chosen already, by a sweep or layer by layer, or nothing is pretrained.
    """
    name = "pretrain.method.kind"
    experiment, own = before.experiment, before.experiment.pretrain.method.kind
    if name in experiment.per_layer or any(name in grid for grid in experiment.sweep):
        remedy = f"has no effect where {name} is swept or given per layer; leave one of the two out"
        raise ConfigError("ways", True, remedy)
    if "pretrained" not in values_of(experiment, _INIT):
        raise ConfigError("ways", True, f"has no effect where {_INIT} is pretrained nowhere; leave it out")
    fit = [set(_WAYS[each.form]).difference(_OF_VIEWS if each.is_padded else ()) for each in facts]
    ways = (own, *(way for way in _WAYS[facts[0].form] if way != own and all(way in each for each in fit)))
    grids: list[dict[str, tuple[Any, ...]]] = []
    for grid in experiment.sweep or ({},):
        if "pretrained" not in grid.get(_INIT, (experiment.finetune.encoder_init,)):
            grids.append(grid)
            continue
        others = {field: values for field, values in grid.items() if not field.startswith("pretrain.method.")}
        # Fields of a method are swept with that method alone.
        grids += [{name: ways, **grid}] if others == grid else [{name: (own,), **grid}, {name: ways[1:], **others}]
    line = f"{name}: {', '.join(ways)}, the ways that fit {facts[0].form} (ways)"
    # Whichever of them validation chooses, its interval holds.
    changes = {"sweep": tuple(grids), "ways": False, "study.intervals": "simultaneous"}
    return Fitted(with_values(experiment, changes), (*before.notes, line))


def _at_most(most: int) -> Callable[[int], int]:
    return lambda size: max(1, min(size, most))


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _together(first: Facts, *others: Facts) -> Facts:
    """Returns the facts that defaults for several sets follow: the fewest rows, and the most values of a row."""
    every = (first, *others)
    return first._replace(
        n_labelled=min(each.n_labelled for each in every),
        n_examples=min(each.n_examples for each in every),
        n_values=max(each.n_values for each in every),
        form=next((each.form for each in every if each.form != "columns"), "columns"),
        has_test=any(each.has_test for each in every),
    )


def budgets_of(facts: Facts, *others: Facts) -> tuple[int | float, ...]:
    """Returns label budgets, the largest first: all rows with a label, a tenth, a hundredth, as far as they suffice.

    Of several sets they are shares of each, 0 for all, as far as they suffice for all.
    """
    if others:
        known = [len(budgets_of(each)) for each in (facts, *others)]
        return (0, *_SHARES[1 : min(known)])
    largest = min(facts.n_labelled, _MOST_ROWS)
    fewest = _FEWEST[facts.task] * max(1, len(facts.class_shares))
    sizes = (round(share * largest) for share in _SHARES)
    return tuple(dict.fromkeys(size for number, size in enumerate(sizes) if not number or size >= fewest))


def _layers(facts: Facts) -> tuple[int, int]:
    """Returns two widths: of images and of many values the usual ones, of few values twice as many and as many."""
    least, most = _WIDTHS
    width = min(max(2 * facts.n_values, least), most) if facts.form == "columns" else most
    return width, width // 2


def _metric(facts: Facts) -> str:
    """Returns the metric to compare: accuracy says little where one class holds most rows."""
    n = len(facts.class_shares)
    if n < 2 or max(facts.class_shares) <= _FREQUENT:
        return "auto"
    return "auroc" if n == 2 else "balanced_accuracy"

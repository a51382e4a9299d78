"""Defaults that do not fit a small set or a shallow encoder, fitted to it; fields that somebody chose stay.

A default is a field that nobody typed and that the config leaves at its class's value, or a value that a config sweeps.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any, NamedTuple

from pretrain.config.counts import counted
from pretrain.config.experiment import Experiment
from pretrain.config.fields import bare, defaults, fields, get, kind_of, section_classes, with_values
from pretrain.config.methods import MethodConfig

CAPPED = ("finetune.updates", "pretrain.updates")  # though a config sets them, where its defaults follow the data
_UPDATES = 8  # an epoch, where a batch is larger than all rows
_MOST_HELD_OUT = 0.5  # of the rows with a label, before validation rows are fewer
_HELD_OUT = 0.2  # of them, then
_Fit = Callable[[Any], Any]  # from a value to one that fits


class Fitted(NamedTuple):
    """An experiment whose defaults fit, its checks still to be made, and a line for each that was changed."""

    experiment: Experiment
    notes: tuple[str, ...] = ()

    def changed(self, name: str, chosen: Collection[str], fit: _Fit, reason: str) -> "Fitted":
        """Returns it with a field, or its swept values, changed to fitting ones, if nobody chose them."""
        if name in chosen:
            return self
        experiment, notes = self.experiment, list(self.notes)
        grids = []
        for grid in experiment.sweep:
            values = tuple(dict.fromkeys(map(fit, grid[name]))) if name in grid else ()
            grids.append({**grid, name: values} if name in grid else grid)
            notes += [_line(name, grid[name], values, reason)] if values and values != tuple(grid[name]) else []
        value = get(experiment, name)
        fitted = fit(value)
        if fitted == value and tuple(grids) == experiment.sweep:
            return self
        if fitted != value:
            is_swept = bool(grids) and all(name in grid for grid in grids)
            notes += [] if is_swept else [_line(name, (value,), (fitted,), reason)]
        changes = {"sweep": tuple(grids), name: fitted}
        return Fitted(with_values(experiment, changes), tuple(dict.fromkeys(notes)))

    def replaced(self, name: str, chosen: Collection[str], values: tuple[Any, ...], reason: str) -> "Fitted":
        """Returns it with other values of a swept field, or with a single value unswept, if nobody chose them."""
        before = tuple(values_of(self.experiment, name))
        if name in chosen or not any(name in grid for grid in self.experiment.sweep):
            return self
        others = {name: values} if len(values) > 1 else {}
        grids = [
            {**{field: axis for field, axis in grid.items() if field != name}, **others} if name in grid else grid
            for grid in self.experiment.sweep
        ]
        changed = with_values(self.experiment, {"sweep": tuple(grids), name: values[0]})
        lines = [_line(name, before, values, reason)] if values != before else []
        return Fitted(changed, (*self.notes, *lines))


def chosen(config: Experiment, given: Collection[str]) -> frozenset[str]:
    """Returns the fields that somebody chose.

    Args:
      config: as a file makes it, before options.
      given: names of options and of axes on the command line.
    """
    default = bare(Experiment, defaults(Experiment))
    known = fields(default)
    written = {name for name in fields(config) if name not in known or get(config, name) != get(default, name)}
    free = {"sweep", "per_layer", *(CAPPED if config.defaults == "data" else ())}
    return frozenset({*given, *(written - free)})


def to_depth(fitted: Fitted, chosen: Collection[str], depth: int) -> Fitted:
    """Fits fields that count layers to the shallowest encoder of an experiment."""
    reason = f"the encoder has {counted(depth, 'layer')}"

    def all_of(value: Any) -> Any:
        return "all" if value != "all" and value > depth else value

    fitted = fitted.changed("finetune.frozen_layers", chosen, all_of, reason)
    return fitted.changed("finetune.fresh_layers", chosen, lambda value: min(value, depth), reason)


def to_labels(fitted: Fitted, chosen: Collection[str], n_labelled: int | None = None) -> Fitted:
    """Fits the batches of fine-tuning to the smallest labelled subset; shares count once the rows are known."""
    budgets = [labels for labels in values_of(fitted.experiment, "finetune.labels") if labels and n_labelled is None]
    budgets = budgets_of(fitted.experiment, n_labelled) if n_labelled else [n for n in budgets if isinstance(n, int)]
    if not budgets or "none" not in values_of(fitted.experiment, "finetune.readout"):
        return fitted
    return fitted.changed("finetune.batch_size", chosen, _batch_of(min(budgets)), f"{min(budgets):,} labels")


def to_rows(fitted: Fitted, chosen: Collection[str], n_examples: int, n_labelled: int) -> Fitted:
    """Fits numbers of labels, batches and updates to the training rows.

    Args:
      fitted: the experiment.
      chosen: fields that stay as they are.
      n_examples: rows that pretraining reads.
      n_labelled: rows with a label.
    """
    reason = f"{n_labelled:,} training rows have a label"
    fitted = fitted.changed("finetune.labels", chosen, lambda value: min(value, n_labelled), reason)
    fitted = to_labels(fitted, chosen, n_labelled)
    experiment = fitted.experiment
    kinds = values_of(experiment, "pretrain.method.kind")
    methods: Iterable[Any] = (each for each in section_classes(MethodConfig) if kind_of(each) in kinds)
    reads_labels = any(method.reads_labels for method in methods)
    n = min([n_examples, *(budgets_of(experiment, n_labelled) if reads_labels else [])])
    fitted = fitted.changed("pretrain.batch_size", chosen, _batch_of(n), f"pretraining reads {n:,} rows")
    updates = min(_n_updates(point.settings.finetune, n_labelled) for point in fitted.experiment.points)

    def halfway(value: int) -> int:
        return updates // 2 if 0 < updates <= value else value

    return fitted.changed("finetune.unfreeze_at", chosen, halfway, f"fine-tuning makes {updates:,} updates")


def to_held_out(fitted: Fitted, chosen: Collection[str], n_labelled: int) -> Fitted:
    """Fits the number of validation rows to the rows with a label, from which they are held out."""

    def share(value: int | float) -> int | float:
        return max(1, round(_HELD_OUT * n_labelled)) if value > _MOST_HELD_OUT * n_labelled else value

    return fitted.changed("data.validation", chosen, share, f"{n_labelled:,} rows with a label are not test rows")


def _batch_of(n: int) -> _Fit:
    return lambda value: value if value <= n else max(1, n // _UPDATES)


def values_of(experiment: Experiment, name: str) -> list[Any]:
    """Returns the values that a field has at the points of an experiment, which need not be built for it."""
    grids = experiment.sweep or ({},)
    return list(dict.fromkeys(value for grid in grids for value in grid.get(name, (get(experiment, name),))))


def budgets_of(experiment: Experiment, n_labelled: int) -> list[int]:
    """Returns the sizes of an experiment's labelled subsets of so many rows with a label."""
    values = values_of(experiment, "finetune.labels")
    return [with_values(experiment, {"finetune.labels": labels}).finetune.n_labels(n_labelled) for labels in values]


def _n_updates(finetune: Any, n_labelled: int) -> int:
    return finetune.updates or finetune.epochs * (finetune.n_labels(n_labelled) // finetune.batch_size)


def _line(name: str, old: tuple[Any, ...], new: tuple[Any, ...], reason: str) -> str:
    before, after = (", ".join(map(str, values)) for values in (old, new))
    return f"{name}: {after} in the place of the default {before}, for {reason}"

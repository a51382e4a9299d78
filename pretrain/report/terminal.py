"""A run's result in the terminal: the verdict, then the table, then why."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from pretrain.config import Experiment, invocation
from pretrain.config.metrics import CHANCE, MAJORITY, metric_of, split_of
from pretrain.report import cells, gaps, names, variation, verdicts, words
from pretrain.report.figures import trained_metric
from pretrain.report.short_names import named_shortly
from pretrain.report.why import factor_names
from pretrain.study.answer import Answer, main_arms
from pretrain.study.arms import Arm, distinct, distinguished
from pretrain.study.curves import Curves
from pretrain.study.factorial import Factorial
from pretrain.study.statistics import Estimate

BATCHES = (1, 5, 20)
_MOST_ARMS = 12
_MOST_PARAGRAPHS = 2
_TRAINED, _VALIDATION = "post_update_", "validation_"  # beginnings of names of metrics
_HEADINGS = {_TRAINED: "trained\nbatch {}", _VALIDATION: "validation\nafter {}"}
# Batches and metrics with a column, from a wide console to a narrow one.
_LAYOUTS = (
    (BATCHES, (_TRAINED, _VALIDATION)),
    (BATCHES[::2], (_TRAINED, _VALIDATION)),
    (BATCHES[::2], (_VALIDATION,)),
    (BATCHES[-1:], (_VALIDATION,)),
    ((), ()),
)


def show(
    answer: Answer, trials: pa.Table, curves: pa.Table, console: Console, experiment: Experiment, run_dir: str
) -> None:
    """Prints the verdict, a row an arm, a dozen at most, the start of the explanation, and the basis."""
    with named_shortly(experiment):
        _show(answer, trials, curves, console, experiment, run_dir)


def _show(
    answer: Answer, trials: pa.Table, curves: pa.Table, console: Console, experiment: Experiment, run_dir: str
) -> None:
    console.print(f"{words.headline(answer, experiment)}\n", soft_wrap=True, style="bold")
    for name, text in cells.cells(answer, experiment).items():
        console.print(f"{name + ':':13}{text}", soft_wrap=True)
    console.print()
    for line in words.warnings(answer, experiment):
        console.print(f"{line}\n", soft_wrap=True, style="yellow")
    shown, of_run = main_arms(answer, _MOST_ARMS), Curves(curves)
    drawn, result = _metric(of_run), split_of(answer.metric)[1]
    also = "" if drawn == result else f"; {names.metric_name(answer.metric)} at the end"
    over = "trials" if any(arm.repeats for arm in shown) else "seeds"
    console.print(
        f"{drawn.capitalize()}, mean ± standard deviation over {over}{also}{_chance(trials, answer.metric)}:\n"
    )
    console.print(_arm_table(shown, of_run, console, answer.metric))
    if len(shown) < (n := len(distinct(answer.arms))):
        hidden = f"{len(shown)} of {n} arms; {invocation.command('table', run_dir)} shows all"
        console.print(hidden, style="dim", soft_wrap=True)
    if line := verdicts.speed(answer.comparisons):
        console.print(f"\n{line}", soft_wrap=True)
    for factorial in answer.factorials:
        if len(factorial.factors) > 2:
            console.print()
            console.print(_share_table(factorial))
    paragraphs = words.explanation(answer)
    for text in paragraphs[:_MOST_PARAGRAPHS]:
        console.print(f"\n{text}", soft_wrap=True)
    if len(paragraphs) > _MOST_PARAGRAPHS:
        console.print(f"\n{len(paragraphs) - _MOST_PARAGRAPHS} more in the report", style="dim")
    for line in variation.sentences(answer):
        console.print(f"\n{line}", soft_wrap=True)
    console.print(f"\n{words.basis(answer, experiment)}", soft_wrap=True, style="dim")


def _chance(trials: pa.Table, metric: str) -> str:
    """Returns the compared metric where the same is predicted of every example, mean over trials, if it has such."""
    name = MAJORITY if metric == "test_accuracy" and MAJORITY in trials.column_names else f"{metric}{CHANCE}"
    if name not in trials.column_names or trials[name].null_count:
        return ""
    whose = "of the most frequent class" if name == MAJORITY else "at chance"
    return f"; {whose}, {names.value(trials[name].to_numpy().mean(), metric)}"


def _metric(curves: Curves) -> str:
    return trained_metric(curves).removeprefix(_TRAINED)


def _arm_table(shown: Sequence[Arm], curves: Curves, console: Console, result: str) -> Table:
    """Returns a row an arm: a column a swept field, and of the measured ones as many as the console has room for."""
    unbounded = console.options.update(width=10_000)
    for batches, metrics in _LAYOUTS:
        table = _laid_out(shown, curves, batches, metrics, result)
        if Measurement.get(console, unbounded, table).maximum <= console.width:
            break
    return table


def _laid_out(
    shown: Sequence[Arm],
    curves: Curves,
    batches: Sequence[int],
    splits: Sequence[str],
    result: str,
) -> Table:
    table, drawn = Table(box=None, pad_edge=False, header_style="bold"), _metric(curves)
    fields = list(dict.fromkeys(field for arm in shown for field in arm.point))
    for field in fields:
        table.add_column(names.brief(field, fields), no_wrap=True, overflow="ellipsis")
    measured = {
        (split, batch): [curves.values(arm.trial_ids, split + drawn, [batch])[:, 0] for arm in shown]
        for split in splits
        for batch in batches
    }
    measured = {place: arms for place, arms in measured.items() if any(np.isfinite(values).any() for values in arms)}
    for split, batch in measured:
        table.add_column(_HEADINGS[split].format(batch), justify="right", no_wrap=True)
    heading = names.metric_name(result)
    table.add_column(heading.removesuffix(" accuracy").replace(" ", "\n", 1), justify="right", no_wrap=True)
    table.add_column("seeds", justify="right", no_wrap=True)
    for number, arm in enumerate(shown):
        test = _mean_and_deviation(arm.results[result], 3, result)
        n = (
            f"{len(set(arm.seeds))}"
            + (f" x {len(set(arm.repeats))}" if arm.repeats else "")
            + (f" ({arm.n_diverged} diverged)" if arm.n_diverged else "")
            + (f" ({arm.n_collapsed} collapsed)" if arm.n_collapsed else "")
        )
        point = distinguished(arm.point)
        values = [names.cell(field, point.get(field)) for field in fields]
        table.add_row(*values, *(_mean_and_deviation(arms[number], 2) for arms in measured.values()), test, n)
    return table


def _share_table(factorial: Factorial) -> Table:
    """Returns how each metric's gap is split; a column a metric, so that it fits."""
    rows = list(gaps.shown_causes(factorial).items())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("share of the gap, mean and interval", max_width=30)
    for metric, _ in rows:
        table.add_column(names.metric_name(metric).replace("validation accuracy ", "validation\n"), justify="right")
    lines = [("the gap", [cause.parts.gap for _, cause in rows])]
    for field, name in factor_names(factorial).items():
        lines.append((name, [cause.parts.shares[field] for _, cause in rows]))
    for name, shares in lines:
        table.add_row(name, *(_share(share) for share in shares))
    return table


def _share(share: Estimate) -> str:
    interval = f"\n{share.low:+.3f} {share.high:+.3f}" if np.isfinite(share.low) else ""
    return f"{share.mean:+.3f}{interval}"


def _mean_and_deviation(values: Sequence[float], digits: int, metric: str = "test_accuracy") -> str:
    """Returns accuracies and the like as in ``.88 ±.01``, others in as many digits as are read."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return "–"
    if metric_of(metric).high != 1:
        deviation = f" ±{values.std(ddof=1):.2g}" if len(values) > 1 else ""
        return f"{values.mean():.{digits + 1}g}{deviation}"
    mean = f"{values.mean():.{digits}f}".removeprefix("0")
    return mean + (f" ±{values.std(ddof=1):.{digits}f}".replace("±0", "±") if len(values) > 1 else "")

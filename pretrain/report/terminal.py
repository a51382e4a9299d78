"""A run's result in the terminal: the verdict, then the table, then why."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pretrain.report import gaps, names, words
from pretrain.report.why import factor_names
from pretrain.study.answer import Answer, main_arms
from pretrain.study.arms import Arm, curve_values, trial_values
from pretrain.study.factorial import Factorial
from pretrain.study.statistics import Estimate

BATCHES = (1, 5, 20)
_MOST_ARMS = 24


def show(answer: Answer, trials: pa.Table, curves: pa.Table, console: Console) -> None:
    """Prints the verdict, a row an arm, and what explains the result."""
    verdict = words.verdict(answer.comparisons)
    if verdict:
        console.print(f"{verdict}\n", soft_wrap=True, highlight=False, markup=False, style="bold")
    shown = main_arms(answer, _MOST_ARMS)
    console.print(_arm_table(shown, trials, curves))
    if len(shown) < len(answer.arms):
        console.print(f"{len(shown)} of {len(answer.arms)} arms; launch.py table and report.html show all", style="dim")
    for found in answer.factorials:
        if len(found.factors) > 2:
            console.print()
            console.print(_share_table(found))
    for text in words.explanation(answer):
        console.print(f"\n{text}", soft_wrap=True, highlight=False, markup=False)


def _arm_table(shown: Sequence[Arm], trials: pa.Table, curves: pa.Table) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("accuracy, mean ± standard deviation", max_width=40)
    for heading, word in ("trained", "batch"), ("validation", "after"):
        for batch in BATCHES:
            table.add_column(f"{heading}\n{word} {batch}", justify="right")
    table.add_column("test", justify="right")
    table.add_column("seeds", justify="right")
    for arm in shown:
        columns = [
            curve_values(curves, arm, metric, BATCHES) for metric in ("post_update_accuracy", "validation_accuracy")
        ]
        cells = [_mean_and_deviation(column, 2) for column in np.concatenate(columns, axis=1).T]
        test = _mean_and_deviation(trial_values(trials, arm, "test_accuracy"), 3)
        n = (
            f"{len(set(arm.seeds))}"
            + (f" x {len(set(arm.repeats))}" if arm.repeats else "")
            + (f" ({arm.n_diverged} diverged)" if arm.n_diverged else "")
        )
        table.add_row(names.arm_name(arm.point), *cells, test, n)
    return table


def _share_table(found: Factorial) -> Table:
    """Returns how each metric's gap is split; a column a metric, so that it fits."""
    rows = list(gaps.told(found).items())
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("share of the gap, mean and interval", max_width=30)
    for metric, _ in rows:
        table.add_column(names.metric_name(metric).replace("validation accuracy ", "validation\n"), justify="right")
    lines = [("the gap", [cause.parts.gap for _, cause in rows])]
    for field, name in factor_names(found).items():
        lines.append((name, [cause.parts.shares[field] for _, cause in rows]))
    for name, shares in lines:
        table.add_row(name, *(_share(share) for share in shares))
    return table


def _share(share: Estimate) -> str:
    interval = f"\n{share.low:+.3f} {share.high:+.3f}" if np.isfinite(share.low) else ""
    return f"{share.mean:+.3f}{interval}"


def _mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """Returns accuracies as in ``.88 ±.01``."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return "–"
    mean = f"{values.mean():.{digits}f}".removeprefix("0")
    return mean + (f" ±{values.std(ddof=1):.{digits}f}".replace("±0", "±") if len(values) > 1 else "")

"""A run's result in the terminal: the verdict, then the table, then why."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pretrain.study import words
from pretrain.study.answer import Answer
from pretrain.study.arms import curve_values, trial_values

BATCHES = (1, 5, 20)


def show(answer: Answer, trials: pa.Table, curves: pa.Table, console: Console) -> None:
    """Prints the verdict, a row an arm, and what explains the result."""
    verdict = words.verdict(answer.comparisons)
    if verdict:
        console.print(f"{verdict}\n", soft_wrap=True, highlight=False, markup=False, style="bold")
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("accuracy, mean ± standard deviation", max_width=40)
    for heading, word in ("trained", "batch"), ("validation", "after"):
        for batch in BATCHES:
            table.add_column(f"{heading}\n{word} {batch}", justify="right")
    table.add_column("test", justify="right")
    table.add_column("seeds", justify="right")
    for arm in answer.arms:
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
        table.add_row(words.arm_name(arm.point), *cells, test, n)
    console.print(table)
    console.print(f"\n{words.explanation(answer)}", soft_wrap=True, highlight=False, markup=False)


def _mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """Returns accuracies as in ``.88 ±.01``."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return "–"
    mean = f"{values.mean():.{digits}f}".removeprefix("0")
    return mean + (f" ±{values.std(ddof=1):.{digits}f}".replace("±0", "±") if len(values) > 1 else "")

"""The result, for people: a table in the terminal and the answer in a sentence."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from pretrain.study.statistics import (
    Arm,
    Attribution,
    arms,
    attribute,
    by_seed,
    curve_values,
    estimate,
    four_corners,
    trial_values,
)
from pretrain.study.words import arm_name

BATCHES = (1, 5, 20)
_FACTORS = ("pretraining", "freezing")


def show(trials: pa.Table, curves: pa.Table, console: Console) -> None:
    """Prints a row an arm and the sentence that answers the question."""
    found = arms(trials)
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left")
    table.add_column("accuracy, mean ± standard deviation", max_width=40)
    for heading, word in ("trained", "batch"), ("validation", "after"):
        for batch in BATCHES:
            table.add_column(f"{heading}\n{word} {batch}", justify="right")
    table.add_column("test", justify="right")
    table.add_column("seeds", justify="right")
    for arm in found:
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
        table.add_row(arm_name(arm.point), *cells, test, n)
    console.print(table)
    console.print(f"\n{answer(trials, curves)}", soft_wrap=True, highlight=False)


def answer(trials: pa.Table, curves: pa.Table) -> str:
    """Returns one sentence that says what the trials show; every word of it follows from their numbers."""
    found = arms(trials)
    corners = four_corners(found)
    if corners:
        return _corner_answer(trials, curves, corners)
    sound = [arm for arm in found if arm.trial_ids]
    if not sound:
        return "Every trial diverged; lower the learning rates."
    best = max(sound, key=lambda arm: np.mean(trial_values(trials, arm, "validation_accuracy")))
    test = estimate(by_seed(trial_values(trials, best, "test_accuracy"), best))
    margin = f" ± {test.high - test.mean:.3f}" if np.isfinite(test.high) else ""
    n = len(set(best.seeds))
    return f"Best on validation is {arm_name(best.point)}; it tests at {test.mean:.3f}{margin} (n = {n} seeds)."


def _corner_answer(trials: pa.Table, curves: pa.Table, corners: dict[tuple[bool, bool], Arm]) -> str:
    after_first, tests = {}, {}
    for key, arm in corners.items():
        after_first[key] = by_seed(curve_values(curves, arm, "post_update_accuracy", [1])[:, 0], arm)
        tests[key] = by_seed(trial_values(trials, arm, "test_accuracy"), arm)
    start = attribute(after_first, _FACTORS)
    end = estimate(tests[True, True] - tests[False, False])
    levels = [np.mean(after_first[key]) for key in ((True, True), (False, False))]
    ends = [np.mean(tests[key]) for key in ((True, True), (False, False))]
    n = len(set(corners[True, True].seeds))
    if n < 2:
        return (
            f"One seed settles nothing: after batch 1 the pretrained, frozen network is at {levels[0]:.2f} and the He, "
            f"trainable one at {levels[1]:.2f}; run more with --seeds."
        )
    return (
        f"{_cause(start)}: after batch 1 the pretrained, frozen network is at {levels[0]:.2f} and the He, trainable "
        f"one at {levels[1]:.2f}, a gap of {start.gap.mean:+.2f} of which freezing makes {start.parts['freezing']} and "
        f"pretraining {start.parts['pretraining']}; in the end the former tests at {ends[0]:.3f} and the latter at "
        f"{ends[1]:.3f}, {_end(end)} ({end}; {n} seeds, 95 % intervals)."
    )


def _cause(start: Attribution) -> str:
    """Says what makes the pretrained, frozen network start slowly, if anything does."""
    if start.gap.high >= 0:
        return "No slow start" if start.gap.low <= 0 else "The opposite of a slow start"
    slows = [name for name in _FACTORS if start.parts[name].high < 0]
    if slows == ["freezing"]:
        return "Freezing the encoder, not pretraining it, makes the slow start"
    if slows == ["pretraining"]:
        return "Pretraining the encoder, not freezing it, makes the slow start"
    return "Pretraining and freezing both make the slow start" if slows else "What makes the slow start stays open"


def _end(end) -> str:
    if end.low > 0:
        return "better"
    return "worse" if end.high < 0 else "not told apart"


def _mean_and_deviation(values: Sequence[float], digits: int) -> str:
    """Returns accuracies as in ``.88 ±.01``."""
    values = np.asarray(values, float)
    if not len(values) or np.isnan(values).any():
        return "–"
    mean = f"{values.mean():.{digits}f}".removeprefix("0")
    return mean + (f" ±{values.std(ddof=1):.{digits}f}".replace("±0", "±") if len(values) > 1 else "")

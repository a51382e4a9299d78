"""Gaps between corners of factorials, as figures and tables: their shares, and diagnostics of updates."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from pretrain.report.drawing import COLOURS, INK, Drawing, canvas, legend, panels, style, title, written
from pretrain.report.listings import Listing
from pretrain.report.names import arm_name, metric_name, percent
from pretrain.report.why import factor_names, seeds
from pretrain.study.arms import Arm, by_seed
from pretrain.study.curves import Curves
from pretrain.study.factorial import Cause, Factorial

# Diagnostics that span orders of magnitude.
_LOGARITHMIC = ("logit_change", "condition_number", "update_size/", "gradient_norm/")
_DIAGNOSTICS = (*_LOGARITHMIC, "effective_rank", "initial_alignment")


def parts(factorials: Sequence[Factorial], level: float) -> Iterator[Drawing | Listing]:
    """Yields the figure and the tables of each factorial; numbered are those of as many factors as one before."""
    times: Counter[int] = Counter()
    for factorial in factorials:
        n = len(factorial.factors)
        times[n] += 1
        name = ("shares" if n == 2 else f"shares_of_{n}") + (f"_{times[n]}" if times[n] > 1 else "")
        yield Drawing(name, shares(factorial, level), *_share_words(factorial))
        yield share_listing(factorial, level, name)
        if n > 2:
            yield interaction_listing(factorial, level, name.replace("shares", "interactions"))


def _share_words(factorial: Factorial) -> tuple[str, str]:
    """Returns the caption of the figure of shares, and its text for readers who do not see it."""
    first, last = (arm_name(arm.point) for arm in (factorial.first, factorial.last))
    caption = (
        f"How much each change between {first} and {last} makes of the gap between these networks (Shapley "
        "values; with their signs they add up to the gap, the diamond), from the first batch to the test. A bar whose "
        f"interval leaves zero out makes a difference.{_rows(factorial)}"
    )
    called, changes = factor_names(factorial), []
    for metric, cause in shown_causes(factorial).items():
        effects = ", ".join(f"{called[field]} {share.mean:+.3f}" for field, share in cause.parts.shares.items())
        changes.append(f"{metric_name(metric)}: {effects}")
    return caption, f"Shares of each change in the gap. {'; '.join(changes)}"


def _rows(factorial: Factorial) -> str:
    """Returns which intervals are for new rows."""
    if not factorial.causes[factorial.end].parts.is_for_new_rows:
        return " Intervals are over seeds, on these held-out rows."
    return f" Intervals of {metric_name(factorial.end)} are for new rows like these, the others over seeds."


def shares(factorial: Factorial, level: float):
    """Draws, metric by metric, the shares of the factors that make up the gap, and the gap as a diamond."""
    names, causes = factor_names(factorial), shown_causes(factorial)
    height = 0.8 / len(names)
    figure, axes = canvas(1.4 + 0.17 * len(names) * len(causes) + 0.2 * len(causes))
    for row, cause in enumerate(causes.values()):
        for index, (field, name) in enumerate(names.items()):
            share, place = cause.parts.shares[field], row + height * (index - (len(names) - 1) / 2)
            bar = {"height": 0.85 * height, "color": COLOURS[index], "alpha": 0.85}
            axes.barh(place, share.mean, **bar, label=None if row else written(name))
            if np.isfinite(share.low):
                axes.plot([share.low, share.high], [place, place], color=INK, linewidth=1.1)
        label = "the gap they add up to" if not row else None
        axes.plot([cause.parts.gap.mean], [row], "D", color=INK, markersize=5, markerfacecolor="none", label=label)
    axes.set_yticks(range(len(causes)), [written(metric_name(name), 22) for name in causes])
    axes.set_ylim(len(causes) - 0.5, -0.5)
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set(xlabel="share of the gap")
    title(figure, f"What makes the gap, with {percent(level)} intervals")
    legend(figure, axes)
    return figure


def diagnostics(curves: Curves, arms: Sequence[Arm]) -> Drawing:
    """Draws the diagnostics of updates and codes, a panel each: mean over seeds, arm by arm."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    names = diagnosed(curves)
    figure, all_axes = panels(len(names), 1.75, 0.5)
    for axes, name in zip(all_axes, names, strict=True):
        steps = np.unique(np.concatenate([updates for updates, _ in curves.of(name).values()]))
        for index, arm in enumerate(arms):
            values = by_seed(curves.values(arm.trial_ids, name, steps), arm)
            measured = np.isfinite(values).all(axis=0) if len(values) else np.zeros(0, bool)
            if not measured.any():
                continue  # frozen layers are not updated
            mean, label = values[:, measured].mean(axis=0), written(arm_name(arm.point))
            axes.plot(steps[measured], mean, label=label, **style(index, marker="o", markersize=3))
        axes.set(xscale="log", xticks=steps, xticklabels=map(str, steps))
        axes.minorticks_off()
        if name.startswith(_LOGARITHMIC) and any((line.get_ydata() > 0).any() for line in axes.lines):
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 3)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(NullFormatter())
        else:
            axes.set_ylim(bottom=0)
        axes.set_title(written(metric_name(name), 30), fontsize=9)
    title(figure, "Updates and codes, by update: mean over seeds")
    legend(figure, max(all_axes, key=lambda axes: len(axes.lines)))
    caption = (
        "What each update does and to what: change of the logits on its batch, gradient and relative length of the "
        "update layer by layer, and of the codes after it, their effective rank, condition number and alignment with "
        "those before training (1: the same but for rotation and scale). Compare heights at update 1, where the curves "
        "of accuracy part."
    )
    alt = f"Diagnostics against the number of the update, a panel each: {'; '.join(map(metric_name, names))}"
    return Drawing("diagnostics", figure, caption, alt)


def diagnosed(curves: Curves) -> list[str]:
    """Returns the names of the diagnostics that curves hold, in the order of their subjects."""
    return [name for start in _DIAGNOSTICS for name in sorted(curves.metrics) if name.startswith(start)]


def shown_causes(factorial: Factorial) -> dict[str, Cause]:
    """Returns the causes that are shown: all of two factors, and of more those on held-out rows."""
    few = len(factorial.factors) == 2
    return {name: cause for name, cause in factorial.causes.items() if few or not name.startswith("post_update_")}


def share_listing(factorial: Factorial, level: float, name: str) -> Listing:
    """Returns how each metric's gap is split, with intervals; of two factors also their interaction."""
    called, rows = factor_names(factorial), []
    both = tuple(called) if len(called) == 2 else None
    for metric, cause in shown_causes(factorial).items():
        parts = [cause.parts.gap, *(cause.parts.shares[field] for field in called)]
        parts += [cause.parts.interactions[both]] if both else []
        rows.append((metric_name(metric), f"{cause.first:.3f}", f"{cause.last:.3f}", *map(str, parts)))
    first, last = (arm_name(arm.point) for arm in (factorial.first, factorial.last))
    caption = (
        f"Between {first} and {last}, over {seeds(factorial)}: the gap, and the share of each change in it "
        f"(Shapley values, which add up to the gap), with {percent(level)} intervals.{_rows(factorial)}"
    )
    caption += " The last column is what both do beyond the sum of each alone." if both else ""
    headings = ("metric", "from", "to", "gap", *called.values(), *(["together"] if both else []))
    return Listing(name, caption, headings, rows, "l" + "r" * (len(headings) - 1))


def interaction_listing(factorial: Factorial, level: float, name: str) -> Listing:
    """Returns the interactions of pairs of changes: their effect together less the sum of each alone."""
    names, causes = factor_names(factorial), shown_causes(factorial)
    pairs = next(iter(causes.values())).parts.interactions
    rows = [
        (
            " × ".join(names[field] for field in pair),
            *(str(cause.parts.interactions[pair]) for cause in causes.values()),
        )
        for pair in pairs
    ]
    caption = (
        "What two changes do together beyond the sum of what each does alone, averaged over the states of the others "
        f"(Shapley interaction indices, Grabisch and Roubens, 1999), with {percent(level)} intervals. Where one leaves "
        f"zero out, the share of either change depends on the other.{_rows(factorial)}"
    )
    headings = ("changes", *map(metric_name, causes))
    return Listing(name, caption, headings, rows, "l" + "r" * (len(headings) - 1))

"""Where the variation of differences over seeds comes from, in sentences and as a table."""

import numpy as np

from pretrain.config.counts import counted
from pretrain.report import names
from pretrain.report.listings import Listing
from pretrain.report.names import listed
from pretrain.study.answer import Answer
from pretrain.study.variation import ENOUGH, ROWS, Share, Variation

_MOST = 4  # comparisons in sentences
_TOO_FEW = "fewer than two seeds trained in all trials, redrawn ones included"
_SOURCES = {
    "labels": "the label subset",
    "head": "the head",
    "batches": "batch order",
    "split": "the split of the data",
    "rows": "test rows",
}
_ROWS = (
    "Test rows are drawn anew by variance components, without training; where all seeds share them, other rows would "
    "add their share to that variance. "
)
_NEXT = {
    "datasets": "It is settled on these data: other datasets are what is open.",
    "rows": "Test rows make most of what is open: add rows.",
    "labels": "Add labels, of which a larger subset varies less, or seeds, each with a subset of its own.",
    "seeds": "Add seeds.",
}


def sentences(answer: Answer) -> list[str]:
    """Returns where the variation of each of the first comparisons comes from, and what to add: a text each."""
    sentences = [_sentence(each) for each in answer.variation[:_MOST]]
    if not answer.unsplit:
        return sentences
    whose = names.comparison_name(answer.unsplit[0])
    if (n := len(answer.unsplit)) > 1:
        whose = counted(n, "comparison")
    return [*sentences, f"Where the variation of {whose} comes from is not known: {_TOO_FEW}."]


def listing(answer: Answer) -> Listing:
    """Returns the parts of each source in the variation of differences."""
    rows = []
    for each in answer.variation:
        scale, _ = names.scale_of(each.metric)
        for share in each.shares:
            estimate = share.deviation
            deviation = f"{scale * estimate.mean:.2g}"
            if np.isfinite(estimate.high):
                deviation += f" [{scale * estimate.low:.2g}, {scale * estimate.high:.2g}]"
            cells = _name(share), deviation, _percent(share)
            rows.append((names.comparison_name(each), *cells, str(each.n)))
    rows += [(names.comparison_name(each), "not known", "", "", "") for each in answer.unsplit]
    _, unit = names.scale_of(answer.metric)
    is_of_rows = any(share.source == ROWS for each in answer.variation for share in each.shares)
    caption = (
        "Each source drawn anew by itself, with all other draws as they were: the deviation of a difference that it "
        "makes, and its share in the variance over seeds. Sources that act together count in each, so shares may add "
        f"up to more than 100 %. {_ROWS if is_of_rows else ''}{' '.join(sentences(answer))}"
    )
    headings = ("comparison", "source", f"deviation ({unit})", "share", "seeds")
    return Listing("variation", caption, headings, rows, "llrrr")


def _sentence(each: Variation) -> str:
    deviation = names.sizes(each.deviation, each.deviation, each.metric)
    start = f"The difference of {names.comparison_name(each)} varies over seeds with a deviation of {deviation}"
    parts = [f"{_name(share)} {_percent(share)}" for share in each.shares]
    made = f"; redrawn alone, of its variance {listed(parts)}" if parts else ""
    rough = f" (orders of magnitude, at {counted(each.n, 'seed')})" if parts and each.n < ENOUGH else ""
    fixed = " All seeds have the same labelled rows." if "labels" in each.fixed else ""
    return f"{start}{made}{rough}.{fixed} {_NEXT[each.next]}"


def _name(share: Share) -> str:
    return _SOURCES.get(share.source, share.source)


def _percent(share: Share) -> str:
    """Returns a share with its interval, if it has one."""
    ends = f" [{100 * share.share.low:.0f}, {100 * share.share.high:.0f}]" if np.isfinite(share.share.high) else ""
    return f"{100 * share.share.mean:.0f} %{ends}"

"""What may harm an answer: leaks between splits and of targets, and oddities of labels and names, as findings."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pretrain.config.settings import DataConfig
from pretrain.data import codes, copies, giveaways, neighbours, oddities, of_targets, segments
from pretrain.data.findings import Finding
from pretrain.data.reading import Source
from pretrain.data.splits import Cut
from pretrain.data.targets import is_missing, strata


def examined(source: Source) -> Source:
    """Returns a source with the order of its rows, which is the same for all cuts; none where keys cut rows."""
    if source.order is not None or source.groups is not None or source.times is not None:
        return source
    return source._replace(order=neighbours.order(source.inputs["train"], strata(source.labels["train"])))


def find(
    config: DataConfig,
    source: Source,
    cut: Cut,
    rows: Mapping[str, np.ndarray],
    pool: np.ndarray | None,
    labels: Mapping[str, np.ndarray],
) -> Iterator[Finding]:
    """Yields the findings on a cut.

    Args:
      config: the data's.
      source: as ``examined`` returns it.
      cut: of its rows.
      rows: [N, ...] of train, validation and test, before they are scaled.
      pool: likewise, of unlabelled arrays.
      labels: by split.
    """
    if source.task == "multilabel":
        yield from of_targets.without_positive(labels["test"], source.output_names)
    if source.task == "classification":
        yield from oddities.of_labels(labels, source.output_names)
    yield from oddities.of_left_alone(source.left_alone, config.group)
    if source.order is not None:
        if cut.validation is not None or cut.test is not None:
            is_drawn = any(isinstance(held_out, np.ndarray) for held_out in (cut.validation, cut.test))
            yield from neighbours.findings(source.order, is_drawn)
        if not source.columns and not source.order.shift:
            yield from segments.find(rows["train"], rows["test"])
    found = copies.find({**rows, **({} if pool is None else {"unlabelled": pool})}, is_missing(labels["train"]))
    is_read = config.pretrain_on != "train" and config.unlabelled != 0
    yield from found if is_read else without_pool(found)
    if rows["train"].ndim == 2:  # columns
        of_training = rows["train"], labels["train"], source.task, source.columns, config.target or "the target"
        yield from giveaways.found(*of_training)
        yield from codes.found(*of_training)


def without_pool(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yields findings but those on copies in a pool, where no pretraining reads one."""
    return (finding for finding in findings if not finding.kind.endswith(copies.IN_POOL))

"""What may harm an answer: leaks between splits and of targets, and oddities of labels and names, as findings."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from pretrain.config.settings import DataConfig
from pretrain.data import codes, copies, giveaways, made, neighbours, oddities, of_targets, segments, suspects
from pretrain.data.findings import Finding
from pretrain.data.reading import Source
from pretrain.data.splits import Cut
from pretrain.data.targets import is_missing, strata


@np.errstate(invalid="ignore")  # as of ``load``
def examined(source: Source, config: DataConfig) -> Source:
    """Returns a source with findings that are the same for all cuts, and the order of its rows where no keys cut them.

    A column is judged once, on all rows: among many cuts there is one in which a good column makes no error.
    """
    if source.is_examined:
        return source
    rows, labels = source.inputs["train"], source.labels["train"]
    found = source.findings
    if rows.ndim == 2:  # columns
        of_training = rows, labels, source.task, source.columns, config.target or "the target"
        found = (*found, *giveaways.found(*of_training), *codes.found(*of_training))
        numbering = {name for each in found for name in each.figures.get("errors", ())}
        found = (*found, *suspects.found(rows, source.columns, numbering))
    has_keys = source.groups is not None or source.times is not None
    order = None if has_keys else neighbours.order(rows, strata(labels))
    return source._replace(findings=found, order=order, is_examined=True)


def find(
    config: DataConfig,
    source: Source,
    cut: Cut,
    rows: Mapping[str, np.ndarray],
    pool: np.ndarray | None,
    labels: Mapping[str, np.ndarray],
) -> Iterator[Finding]:
    """Yields the findings on a cut."""
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
    if config.name in made.SIZES:
        found = map(_by_recipe, found)
    is_read = config.pretrain_on != "train" and config.unlabelled != 0
    yield from found if is_read else without_pool(found)


def _by_recipe(finding: Finding) -> Finding:
    """Returns a finding on copies that belong to a published set."""
    line = f"{finding.sentence.partition(' too')[0]} too, as the set's published recipe draws rows alike by chance"
    return finding._replace(sentence=line, severity="note", remedy="")


def without_pool(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yields findings but those on copies in a pool, where no pretraining reads one."""
    return (finding for finding in findings if not finding.kind.endswith(copies.IN_POOL))

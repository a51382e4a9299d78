"""An experiment and its data, brought together: defaults fitted to the rows that there are, and datasets loaded."""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from pretrain import data
from pretrain.config import DataConfig, Experiment, Settings, fitting, metrics, own_data
from pretrain.config.counts import some
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.paths import path_of
from pretrain.data import Dataset, splits
from pretrain.data.findings import Finding, notes
from pretrain.data.labels import NONE
from pretrain.data.loading import Reader, configs, form_of, rows_of
from pretrain.data.targets import is_missing
from pretrain.plan import modules, of_checkpoint, own_layers, sizes, stages
from pretrain.plan.stages import n_labels


class Loaded(NamedTuple):
    """An experiment that fits its data, and these."""

    experiment: Experiment  # with absolute paths
    datasets: Mapping[DataConfig, Dataset]
    findings: tuple[Finding, ...]  # in the data, and defaults that were fitted to them


def load(experiment: Experiment, chosen: Collection[str] | None = None, read: Reader | None = None) -> Loaded:
    """Loads the data of an experiment, and fits to them the fields that nobody chose.

    Args:
      experiment: what to run.
      chosen: fields to leave as they are; by default all.
      read: of sources that no file holds.

    Raises:
      ConfigError: data are not there or do not fit, or fields that somebody chose do not fit them; a line for each
        fault.
    """
    read = read or data.reader()
    fitted, unfitted, faults = fitting.Fitted(experiment), Faults(), Faults()
    datasets = dict[DataConfig, Dataset]()
    if chosen is not None:
        encoders = {point.settings.encoder: point.settings for point in experiment.points}
        depth = min(len(modules.build(settings).layers) for settings in encoders.values())
        fitted = fitting.to_depth(fitted, chosen, depth)
        sources = [rows_of(read(config)) for config in configs(experiment.whole)]
        n_known = [int((rows.labels != NONE).sum()) for rows in sources if not rows.has_validation]
        if n_known and experiment.defaults == "data":
            fitted = own_data.held_out(fitted, chosen, min(n_known))
        if n_known:
            fitted = fitting.to_held_out(fitted, chosen, min(n_known))
        if experiment.defaults == "data":
            with unfitted.noted():  # loading finds the same fault, and others
                fitted = own_data.fitted(fitted, chosen, *(_facts(each, read) for each in _sets(fitted.experiment)))
    if experiment.ways:
        with unfitted.noted():
            fitted = own_data.with_ways(fitted, *(_facts(each, read) for each in _sets(fitted.experiment)))
    with faults.noted():
        datasets = data.load_all(fitted.experiment.whole, read)
    with faults.noted():
        _check_tasks(fitted.experiment, read)
    if chosen is not None and datasets:
        # Of the smallest cut, where each seed has its own.
        whole = fitted.experiment.whole
        settings = [at for point in whole.points for at in point.settings.at_seeds(whole.seeds)]
        n_labelled = min(datasets[at.finetuning_data].n_labelled for at in settings)
        n_examples = min(len(datasets[at.pretraining_data].train.inputs) for at in settings)
        fitted = fitting.to_rows(fitted, chosen, n_examples, n_labelled)
        if experiment.defaults == "data":
            fitted = own_data.asked(fitted, chosen, n_labelled, len(_sets(fitted.experiment)) > 1)
    for point in fitted.experiment.points if faults and datasets else ():  # else the plan checks them
        with faults.noted():
            sizes.check(point.settings.at_seed(0), datasets)
    Faults({str(fault): fault for fault in faults or unfitted}.values()).check()
    if fitted.experiment is not experiment:
        fitted.experiment.__post_init__()
    places = {field: str(path_of(field, getattr(experiment, field))) for field in ("run_dir", "store")}
    located = fitted.experiment.with_others(places)
    return Loaded(located, datasets, (*_findings(located, datasets, chosen), *notes(fitted.notes, "default")))


def _sets(experiment: Experiment) -> list[DataConfig]:
    """Returns the data of fine-tuning, once each set."""
    return list(stages.sets_of(point.settings for point in experiment.points).values())


def _facts(config: DataConfig, read: Reader) -> own_data.Facts:
    """Returns what is known of data before they are cut and scaled."""
    source = read(config)
    rows = rows_of(source)
    labels = source.labels["train"]
    known = labels[~is_missing(labels)]
    sizes = splits.sizes(rows, config)
    n_held_out, n_validation = sum(sizes), sizes[0] or len(source.labels.get("validation", ()))
    n_labelled = int((rows.labels != NONE).sum()) - n_held_out
    n_examples = len(labels) - n_held_out + len(source.inputs.get("unlabelled", ()))
    counts = np.unique(known, return_counts=True)[1] if source.task == "classification" else np.zeros(0)
    n_values, form = source.inputs["train"][0].size, form_of(source, config)
    shares = tuple((counts / max(len(known), 1)).tolist())
    return own_data.Facts(
        n_labelled,
        n_examples,
        n_values,
        form,
        rows.has_test,
        source.task,
        shares,
        n_validation,
        not rows.has_validation,
        source.padded > 0,
    )


def _check_tasks(experiment: Experiment, read: Reader) -> None:
    """Checks that all trials predict the same kind of targets, and that the metric is one of them.

    Raises:
      ConfigError: they do not, or it is not.
    """
    sources = {point.settings.at_seed(0).finetuning_data for point in experiment.points}
    tasks = {read(source).task: source.name for source in sources}
    if len(tasks) > 1:
        kinds = " and ".join(f"{task} ({name})" for task, name in sorted(tasks.items()))
        raise ConfigError("data.task", experiment.data.task, f"differs between data, {kinds}; run them apart")
    metrics.check_task(experiment.study.metric, tasks)


def _of_all_cuts(findings: Collection[Finding]) -> list[Finding]:
    """Returns one finding of each kind, a doubt if there is one: their figures differ from cut to cut."""

    def key(each: Finding) -> tuple[str, ...]:
        return each.data, each.kind, re.sub(r"\d[\d,.]*", "", each.sentence) if each.kind == "reading" else ""

    places = {place: number for number, place in enumerate(dict.fromkeys(map(key, findings)))}
    found: dict[tuple[str, ...], Finding] = {}
    for finding in sorted(findings, key=lambda each: each.severity != "doubt"):
        found.setdefault(key(finding), finding)
    return sorted(found.values(), key=lambda each: places[key(each)])


def _findings(
    experiment: Experiment, datasets: Mapping[DataConfig, Dataset], chosen: Collection[str] | None
) -> Iterator[Finding]:
    """Yields the findings in data, on budgets smaller than the number of classes, on own layers and on checkpoints."""
    found = [finding for dataset in datasets.values() for finding in dataset.findings]
    if any(config.splits == "fresh" for config in datasets):
        found = _of_all_cuts(found)
    yield from {str(finding): finding for finding in found}.values()
    budgets, layers = {}, dict[str, Finding]()
    for point in experiment.points:
        dataset = datasets[point.settings.at_seed(0).finetuning_data]
        labels, n_classes = n_labels(point.settings, dataset), len(dataset.output_names)
        if finding := _unbalanced(point.settings, dataset, labels):
            budgets[str(finding)] = finding
        layers |= {str(finding): finding for finding in own_layers.findings(point.settings, dataset)}
        if dataset.task == "classification" and labels < n_classes:
            line = f"finetune.labels: {labels:,} are fewer than the {n_classes:,} classes; some have no labelled row"
            budgets[line] = Finding("fewer labels than classes", line, figures={"labels": labels})
    at_first = (point.settings.at_seed(0) for point in experiment.points)
    of_weights = {str(finding): finding for finding in of_checkpoint.findings(at_first, datasets, chosen)}
    yield from (*budgets.values(), *layers.values(), *of_weights.values())


def _unbalanced(settings: Settings, dataset: Dataset, labels: int) -> Finding | None:
    """Returns the finding that a balanced subset cannot be, with the rows of each class; None where it can."""
    if settings.finetune.label_subset != "balanced" or dataset.task != "classification":
        return None
    there = np.bincount(dataset.known_labels, minlength=len(dataset.output_names)).tolist()
    counts, share = dict(zip(dataset.output_names, there, strict=True)), labels // len(there)
    few = [f"{n:,} of {name}" for name, n in counts.items() if n < share]
    if not few or labels > sum(there):
        return None
    line = f"finetune.label_subset: of {labels:,} labels each class would have {share:,}, and there are {some(few, 5)}"
    figures = {"labels": labels, "counts": counts}
    return Finding("classes smaller than their share", f"{line}; other classes fill up", figures=figures)

"""Loads datasets: reads, splits, scales and examines a source."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from pretrain.config import Experiment
from pretrain.config.digests import sha256_of_arrays
from pretrain.config.fields import ConfigError, Faults
from pretrain.config.kinds import TaskKind
from pretrain.config.settings import DataConfig
from pretrain.data import forms, keys, leaks, reading, scaling, splits
from pretrain.data.dataset import Dataset, Fingerprints, Origin, Split, Units
from pretrain.data.findings import Finding, notes
from pretrain.data.pool import check_pool, pretrained, scaled_by
from pretrain.data.raw import Raw, luma
from pretrain.data.reading import Source
from pretrain.data.targets import is_missing, strata

_HELD_OUT = ("validation", "test")
_FEW = 0.01  # of the held-out rows, whose classes move no verdict
Reader = Callable[[DataConfig], Source]


def reader() -> Reader:
    """Returns a reader of sources that reads each once."""
    sources: dict[tuple, Source] = {}

    def read(config: DataConfig) -> Source:
        key = reading.key(config)
        if key not in sources:
            sources[key] = reading.read(config)
            if config.name != "mnist":
                sources[key] = leaks.examined(sources[key], config)
        return sources[key]

    return read


def load_all(experiment: Experiment, read: Reader | None = None) -> dict[DataConfig, Dataset]:
    """Loads every dataset of an experiment's trials, in pretraining too, once each.

    Raises:
      ConfigError: as ``load`` does; a line for each fault of any dataset.
    """
    read, datasets, faults = read or reader(), {}, []
    for config in configs(experiment):
        try:
            datasets[config] = load(config, read)
        except ConfigError as error:
            faults.append(error)
    if faults:
        raise ConfigError.of_all(faults)
    settings = [at for point in experiment.points for at in point.settings.at_seeds(experiment.seeds)]
    read_by_pretraining = {at.pretraining_data for at in settings if at.finetune.is_pretrained}
    for config in datasets.keys() - read_by_pretraining:
        datasets[config] = datasets[config]._replace(findings=tuple(leaks.without_pool(datasets[config].findings)))
    return datasets


def configs(experiment: Experiment) -> list[DataConfig]:
    """Returns the data of an experiment's trials, fine-tuning's first, each once."""
    wanted: dict[DataConfig, None] = {}
    for point in experiment.points:
        for at in point.settings.at_seeds(experiment.seeds):
            wanted |= dict.fromkeys((at.finetuning_data, at.pretraining_data))
    return list(wanted)


@np.errstate(invalid="ignore")  # of NaN of any bits, as damaged files have them
def load(config: DataConfig, read: Reader = reading.read) -> Dataset:
    """Loads, splits and scales the dataset that a config names.

    Raises:
      ConfigError: the dataset is not there, is damaged or does not fit, or a held-out split takes all rows; a line for
        each fault.
    """
    source = read(config)
    is_searched = config.name != "mnist" and source.is_searched
    if is_searched:
        source = leaks.examined(source, config)
    cut = splits.cut(rows_of(source), config)
    labels, units, faults = _cut(source.labels, cut), None, Faults()
    with faults.noted():
        given = _cut(source.inputs, cut)
        raw = _raw(given, source, config)
    if source.task == "regression":
        with faults.noted():
            units = _units(config, labels["train"], source.output_names)
            labels = {split: units.standardised(array) for split, array in labels.items()}
    with faults.noted():
        check_pool(config, labels["train"], len(source.inputs.get("unlabelled", ())))
    faults.check()
    pool = raw.pop("unlabelled", None)
    raw_rows = Raw.of(given["train"], raw["train"], form_of(source, config), source.padded, config.greyscale)
    training, pool_findings = scaled_by(config, raw["train"], labels["train"], pool, source.columns)
    held_out = [raw["validation"], raw["test"]]
    fitted = scaling.fit(training, held_out, config.scaling, source.columns, source.padded > 0)
    del training
    inputs = {split: fitted.scaling.applied(array) for split, array in raw.items()}
    inputs["train"], pretrained_labels, pool_notes = pretrained(config, inputs["train"], labels["train"], pool, fitted)
    scaled_as = (*fitted.notes, *pool_notes, *_scale_notes(raw["train"], fitted))
    findings = [
        *source.findings,
        *notes((*_read_as(config, source, raw["train"]), *cut.notes, *scaled_as)),
        *_weighed(fitted.findings, source.task, sum(len(labels[split]) for split in _HELD_OUT)),
        *pool_findings,
    ]
    if is_searched:
        findings += leaks.find(config, source, cut, raw, pool, labels)
    if config.shuffled_pixels:  # each pixel over all images, differently, the same for all seeds
        inputs = {split: np.random.default_rng(0).permuted(array, axis=0) for split, array in inputs.items()}
    train = Split(inputs["train"], pretrained_labels)
    validation, test = (Split(inputs[split], labels[split]) for split in ("validation", "test"))
    labelled = np.flatnonzero(~is_missing(train.labels)).astype(np.int32)
    shape = raw["train"].shape[1:] if raw["train"].ndim > 2 else train.inputs.shape[1:]
    return Dataset(
        train,
        validation,
        test,
        tuple(shape),
        source.task,
        source.output_names,
        units,
        Fingerprints(
            sha256_of_arrays(train.inputs, validation.inputs),
            # With the units of stored predictions.
            sha256_of_arrays(train.labels, validation.labels, *(units or ())),
            sha256_of_arrays(*test),
        ),
        None if len(labelled) == len(train.labels) else labelled,
        fitted.interval,
        fitted.scaling,
        tuple(finding._replace(data=config.name) for finding in findings),
        source.records,
        source.task == "multilabel" and any(np.isnan(array[~is_missing(array)]).any() for array in labels.values()),
        source.files,
        _origins(source, cut),
        raw_rows,
    )


def _origins(source: Source, cut: splits.Cut) -> dict[str, Origin]:
    """Returns the rows of held-out splits that were cut off, each without a group as a group of its own."""
    places = np.arange(len(source.labels["train"]))
    groups = source.groups
    if groups is not None:
        groups = np.where(groups == keys.NONE, keys.NONE - 1 - places, groups)
    cuts = {"validation": cut.validation, "test": cut.test}
    return {
        split: Origin(places[index], None if groups is None else groups[index])
        for split, index in cuts.items()
        if index is not None
    }


def form_of(source: Source, config: DataConfig) -> forms.Form:
    """Returns the form of a source's rows, which is the same for all cuts.

    Raises:
      ConfigError: rows cannot have the form that a config gives.
    """
    return "columns" if source.columns else forms.form_of(source.inputs["train"], config.inputs, source.padded)


def rows_of(source: Source) -> splits.Rows:
    """Returns the key of the cut of a source."""
    has_validation, has_test = ("validation" in source.labels, "test" in source.labels)
    return splits.Rows(strata(source.labels["train"]), has_validation, has_test, source.groups, source.times)


def _read_as(config: DataConfig, source: Source, train: np.ndarray) -> list[str]:
    """Returns the form that rows were read as, in words; nothing of packaged ones and of tables, which have columns."""
    if config.name == "mnist" or source.columns:
        return []
    return forms.lines(form_of(source, config), source.inputs["train"], train, source.padded)


def _weighed(findings: Iterable[Finding], task: TaskKind, n_held_out: int) -> Iterator[Finding]:
    """Yields findings on extreme inputs of held-out rows: notes where few rows are right or wrong, and no more."""
    for finding in findings:
        is_light = task != "regression" and finding.figures["values"] < _FEW * n_held_out
        yield finding._replace(severity="note", remedy="") if is_light else finding


def _units(config: DataConfig, train: np.ndarray, names: tuple[str, ...]) -> Units:
    present = train[~is_missing(train)].astype(np.float64)
    units = Units(present.mean(axis=0), present.std(axis=0))
    if not (units.deviation > 0).all():
        name = names[int(np.argmin(units.deviation > 0))]
        raise ConfigError("data.name", config.name, f"has {name} of one value in all training rows; take another cut")
    return units


def _cut(arrays: Mapping[str, np.ndarray], cut: splits.Cut) -> dict[str, np.ndarray]:
    """Returns the arrays of all splits, of which some are cut from the training rows."""
    indices = {"train": cut.train, "validation": cut.validation, "test": cut.test}
    held_out = {split: arrays["train"][index] for split, index in indices.items() if index is not None}
    return {**arrays, **held_out}


def _raw(given: Mapping[str, np.ndarray], source: Source, config: DataConfig) -> dict[str, np.ndarray]:
    """Returns the inputs of each split before they are scaled; images have a channel, and are grey where asked."""
    arrays = forms.shaped(given, form_of(source, config), source.padded)
    if config.greyscale:
        if arrays["train"].ndim != 4 or arrays["train"].shape[-1] not in (1, 3):
            remedy = f"is for images of 1 or 3 channels, not for {arrays['train'].shape[1:]} an example; leave it out"
            raise ConfigError("data.greyscale", True, remedy)
        arrays = {split: luma(array) for split, array in arrays.items()}
    if config.scaling == "none":
        is_bytes = arrays["train"].dtype == np.uint8
        return {split: array.astype(np.float32) for split, array in arrays.items()} if is_bytes else arrays
    if config.scaling == "auto" and forms.are_small(arrays["train"]):
        return {split: array.astype(np.float32) for split, array in arrays.items()}
    if config.scaling in ("auto", "unit") and not source.columns:
        as_bytes = scaling.as_bytes(arrays.values())
        if as_bytes is not None:
            return dict(zip(arrays, as_bytes, strict=True))
    return arrays


def _scale_notes(train: np.ndarray, fitted: scaling.FittedScaling) -> list[str]:
    if fitted.scaling.method != "standardise":
        return []
    each = "channel by channel" if train.ndim > 2 else "column by column"
    return [f"inputs are standardised, {each} (data.scaling)"]

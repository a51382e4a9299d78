"""Rows without a label: which of them pretrain, and whether they decide the scale."""

import numpy as np

from pretrain.config.fields import ConfigError
from pretrain.config.settings import DataConfig
from pretrain.data import population, scaling
from pretrain.data.findings import Finding
from pretrain.data.labels import NONE
from pretrain.data.scaling import Column
from pretrain.data.targets import is_missing


def scaled_by(
    config: DataConfig, train: np.ndarray, labels: np.ndarray, pool: np.ndarray | None, columns: tuple[Column, ...]
) -> tuple[list[np.ndarray], list[Finding]]:
    """Returns the rows that decide scales, fills and categories, and a finding if those without a label differ.

    If all do, an unlabelled pool of another population decides what fine-tuning reads, its baseline too.
    """
    everything = [array for array in (train, pool) if array is not None]
    missing = is_missing(labels)
    if (train.dtype == np.uint8 and config.scaling in ("auto", "unit")) or (pool is None and not missing.any()):
        return everything, []  # bytes are over 255
    labelled = train[~missing] if missing.any() else train
    unlabelled = [array for array in (train[missing] if missing.any() else None, pool) if array is not None]
    found = population.difference([labelled], unlabelled)
    by_train = config.scale_from == "train" or (config.scale_from == "auto" and found is not None)
    if found is None:
        return [labelled] if by_train else everything, []
    by = "the training rows with a label alone" if by_train else "all of them"
    line = (
        f"the {sum(map(len, unlabelled)):,} rows without a label are of another population than the {len(labelled):,} "
        f"with one: {found.described([column.name for column in columns])}; {by} decide the scale (data.scale_from)"
    )
    figures = {"columns": len(found.columns), "of": found.compared, "statistic": found.statistic, "p": found.p}
    doubt = Finding("an unlabelled pool of another population", line, "doubt", figures=figures)
    return [labelled] if by_train else everything, [doubt]


def check_pool(config: DataConfig, labels: np.ndarray, n_pool: int) -> None:
    """Checks that there are as many rows without a label as a config asks for, and some to pretrain on.

    Raises:
      ConfigError: there are not.
    """
    n_without = int(is_missing(labels).sum()) + n_pool
    if config.unlabelled != "all" and config.unlabelled > n_without:
        remedy = f"is more than the {n_without:,} training rows without a label; lower it"
        raise ConfigError("data.unlabelled", config.unlabelled, remedy)
    if config.pretrain_on == "unlabelled" and not (n_without and config.unlabelled):
        remedy = "leaves nothing to pretrain on, for all training rows have a label; set it to both"
        if n_without:
            remedy = "leaves nothing to pretrain on beside data.unlabelled 0; raise that, or set it to both"
        raise ConfigError("data.pretrain_on", config.pretrain_on, remedy)


def pretrained(
    config: DataConfig, train: np.ndarray, labels: np.ndarray, pool: np.ndarray | None, fitted: scaling.FittedScaling
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Returns the training rows [N, D] and labels [N] that a config asks for, the unlabelled arrays' rows last.

    ``data.unlabelled`` rows without a label are drawn; a larger number includes the rows of a smaller one.
    """
    if pool is not None:
        train = np.concatenate([train, fitted.scaling.applied(pool)])
        none = np.full((len(pool), *labels.shape[1:]), NONE if labels.ndim == 1 else np.nan, labels.dtype)
        labels = np.concatenate([labels, none])
    missing = is_missing(labels)
    without, lines = np.flatnonzero(missing), []
    if len(without):
        lines.append(f"{len(without):,} of {len(labels):,} training rows have no label; they pretrain only")
    drawn = without
    if config.unlabelled != "all":
        drawn = np.random.default_rng(config.cut).permutation(without)[: config.unlabelled]
    is_read = ~missing if config.pretrain_on != "unlabelled" else np.zeros(len(labels), bool)
    if config.pretrain_on != "train":
        is_read[drawn] = True
    if is_read.all():
        return train, labels, lines  # without a copy
    return train[is_read], labels[is_read], lines

"""Codes of test rows on a plane, by the best network of each kind."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pretrain.data import Dataset
from pretrain.runs.looks_file import Plane
from pretrain.study.arms import Arm
from pretrain.study.looks import Source, chosen

if TYPE_CHECKING:
    from pretrain.learn.layers import Params
    from pretrain.learn.stack import Stack

MOST_ROWS = 2000
_FEWEST = 3  # rows


def planes(source: Source, metric: str, arms: Mapping[str, Arm]) -> list[Plane]:
    """Returns the codes of at most 2,000 test rows on their first two principal components, for an arm of each kind.

    The network is the arm's best on validation rows, as ``Run.model`` gives it.
    """
    found = []
    for kind, arm in arms.items():
        trial, seed = chosen(arm, metric)
        dataset = source.dataset(trial)
        n = len(dataset.test.inputs)
        rows = np.sort(np.random.default_rng(0).permutation(n)[:MOST_ROWS])
        codes = codes_of(source, trial, dataset.test.inputs[rows])
        if len(rows) < _FEWEST or not np.isfinite(codes).all():
            continue
        points, shares = on_plane(codes)
        targets, names = _targets(dataset, rows)
        is_classes = int(dataset.task == "classification")
        of_codes = codes.shape[1], n
        found.append(Plane(trial, seed, kind, points, targets, names, is_classes, shares, *of_codes))
    return found


def on_plane(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns codes [N, D] on their first two principal components, [N, 2] float32, and their shares of variance [2].

    Of codes with one value the second is zero.
    """
    from sklearn.decomposition import PCA

    n = min(2, *codes.shape)
    points, shares = np.zeros((len(codes), 2), np.float32), np.zeros(2)
    if np.ptp(codes, axis=0).any():
        fitted = PCA(n, random_state=0)
        points[:, :n] = fitted.fit_transform(codes.astype(np.float64))
        shares[:n] = fitted.explained_variance_ratio_
    return points, shares


def codes_of(source: Source, trial: str, inputs: np.ndarray) -> np.ndarray:
    """Returns a network's codes of inputs as datasets hold them: [N, D] float32."""
    from pretrain.models import forward

    stack, params = network(source, trial)
    codes = forward.codes(forward.outside_of_loops(stack), len(stack.layers), params, inputs)
    return np.asarray(codes).reshape(len(inputs), -1)


def network(source: Source, trial: str) -> tuple["Stack", "Params"]:
    """Returns the network that a trial left.

    Raises:
      ConfigError: layers of the user's own are not as they were.
      StoreError: parameters cannot be restored.
      TransferError: layers have other parameters than those that were trained.
    """
    from pretrain.data import inputs_file
    from pretrain.learn.transfer import copied
    from pretrain.models import stored

    store, stage = source.store, source.stages[trial]["finetune"]
    settings, dataset = source.settings(trial), source.dataset(trial)
    inputs = inputs_file.inputs_of(settings.finetuning_data, dataset)
    is_own = any(word.kind == "own" for word in settings.words)
    if is_own and not source.is_known:  # code may have changed, which ``load`` finds out
        model = stored.load(store, [stored.Ending(stage, settings, inputs)], trial)
        return model.stack, model.members[0].params
    stack = stored.network(settings, inputs)
    params = {side: each for side, each in store.params(stage).items() if side in stored.SIDES}
    copied(stored.encoder_shapes(stack), params.get("encoder", {}))
    return stack, {"encoder": params.get("encoder", {})}


def _targets(dataset: Dataset, rows: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns class numbers, or the first label or number of each row, and the names of these."""
    labels = dataset.test.labels[rows]
    if dataset.task == "classification":
        return np.where(labels < 0, np.nan, labels), dataset.output_names
    if dataset.units:
        labels = dataset.units.restored(labels)
    return labels[:, 0].astype(float), dataset.output_names[:1]

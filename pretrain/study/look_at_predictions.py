"""Confusion and calibration of a run's arms, from stored predictions of test rows."""

from collections.abc import Sequence

import numpy as np

from pretrain.runs.looks_file import Calibrated, Confused
from pretrain.study.arms import Arm
from pretrain.study.looks import Source

MOST_CLASSES = 20  # of a picture; of more classes the most confused pairs are a table
MOST_PAIRS = 20
N_BINS = 15  # of probabilities, at most (Guo et al., 2017)
_FEWEST = 20  # rows a bin, where there are as many


def confused(source: Source, arms: Sequence[Arm]) -> list[Confused]:
    """Returns how each arm confuses classes; nothing where targets are no classes."""
    from sklearn.metrics import confusion_matrix

    found = []
    for arm in arms:
        dataset = source.dataset(arm.trial_ids[0])
        if dataset.task != "classification":
            return []
        names, n = dataset.output_names, len(dataset.output_names)
        stored = [source.predictions(trial) for trial in arm.trial_ids]
        truth, predicted = (np.concatenate([each[part] for each in stored]) for part in ("targets", "classes"))
        known = truth >= 0
        truth, predicted = truth[known].astype(int), predicted[known].astype(int)
        counts, pairs = np.zeros((0, 0), int), np.zeros((0, 4), int)
        if n <= MOST_CLASSES:
            counts = confusion_matrix(truth, predicted, labels=range(n))
        else:
            pairs = _pairs(truth, predicted, n)
        found.append(Confused(arm.trial_ids, names, counts, pairs))
    return found


def _pairs(truth: np.ndarray, predicted: np.ndarray, n: int) -> np.ndarray:
    """Returns the pairs of classes that are confused most often, of n, and in how many of how many rows: [P, 4]."""
    is_wrong, support = truth != predicted, np.bincount(truth, minlength=n)
    codes, counts = np.unique(truth[is_wrong] * n + predicted[is_wrong], return_counts=True)
    first = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    return np.stack([codes[first] // n, codes[first] % n, counts[first], support[codes[first] // n]], axis=1)


def calibrated(source: Source, arms: Sequence[Arm]) -> list[Calibrated]:
    """Returns how often what each arm gives a probability is so; nothing of numbers, and of scores that are none."""
    found = []
    for arm in arms:
        task = source.dataset(arm.trial_ids[0]).task
        if task == "regression" or not all(map(source.has_probabilities, arm.trial_ids)):
            continue
        given = [probabilities(source.predictions(trial), task) for trial in arm.trial_ids]
        fewest = min(len(chances) for chances, _ in given)
        n = max(1, min(N_BINS, fewest // _FEWEST))
        if fewest:
            found.append(Calibrated(arm.trial_ids, np.stack([_binned(*each, n) for each in given]), task))
    return found


def probabilities(stored: dict[str, np.ndarray], task: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns probabilities and whether each is so, of the predicted classes, or of all known labels: [M] float64."""
    scores, targets = stored["scores"], stored["targets"]
    if task == "classification":
        known = targets >= 0
        classes = stored["classes"].astype(int)
        chances = np.exp(np.minimum(scores[np.arange(len(scores)), classes].astype(float), 0.0))
        return chances[known], (classes == targets)[known]
    known = ~np.isnan(targets)
    return sigmoid(scores[known].astype(float)), targets[known] > 0


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Returns the probabilities of logits."""
    from scipy.special import expit

    return expit(logits)


def _binned(chances: np.ndarray, are_so: np.ndarray, n: int) -> np.ndarray:
    """Returns the mean probability, the share that is so, and the rows of n bins of as many rows each: [n, 3]."""
    parts = np.array_split(np.argsort(chances, kind="stable"), n)
    return np.array([(chances[part].mean(), are_so[part].mean(), len(part)) for part in parts])

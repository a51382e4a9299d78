"""A file for each method, and the dictionary that finds them by the kind of their config."""

from collections.abc import Mapping

from pretrain.learn.method import Method
from pretrain.learn.methods import (
    autoencoder,
    contrastive,
    finetuning,
    linear,
    logistic,
    neighbours,
    pca,
    rbm,
    redundancy,
    ridge,
    supervised,
    trees,
    variance,
    weights,
)

METHODS: Mapping[str, Method] = {
    "autoencoder": autoencoder.METHOD,
    "rbm": rbm.METHOD,
    "supervised": supervised.METHOD,
    "pca": pca.METHOD,
    "contrastive": contrastive.METHOD,
    "redundancy": redundancy.METHOD,
    "variance": variance.METHOD,
    "finetuning": finetuning.METHOD,
    "ridge": ridge.METHOD,
    "logistic": logistic.METHOD,
    "linear": linear.METHOD,
    "knn": neighbours.METHOD,
    "trees": trees.METHOD,
    "weights": weights.METHOD,
}

"""A file for each method, and the dictionary that finds them by the kind of their config."""

from collections.abc import Mapping

from pretrain.learn.method import Method
from pretrain.learn.methods import autoencoder, finetuning, logistic, neighbours, pca, rbm, ridge, supervised

METHODS: Mapping[str, Method] = {
    "autoencoder": autoencoder.METHOD,
    "rbm": rbm.METHOD,
    "supervised": supervised.METHOD,
    "pca": pca.METHOD,
    "finetuning": finetuning.METHOD,
    "ridge": ridge.METHOD,
    "logistic": logistic.METHOD,
    "knn": neighbours.METHOD,
}

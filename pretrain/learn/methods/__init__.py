"""A file for each method, and the dictionary that finds them by their kind."""

from collections.abc import Mapping

from pretrain.config.fields import kind_of
from pretrain.config.method import Method as Config
from pretrain.learn.method import Method
from pretrain.learn.methods import (
    autoencoder,
    contrastive,
    finetuning,
    linear,
    logistic,
    masked,
    neighbours,
    pca,
    rbm,
    redundancy,
    ridge,
    supervised,
    teacher,
    trees,
    variance,
    vime,
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
    "teacher": teacher.METHOD,
    "masked": masked.METHOD,
    "vime": vime.METHOD,
    "finetuning": finetuning.METHOD,
    "ridge": ridge.METHOD,
    "logistic": logistic.METHOD,
    "linear": linear.METHOD,
    "knn": neighbours.METHOD,
    "trees": trees.METHOD,
    "weights": weights.METHOD,
}


def method_of(config: Config) -> Method:
    """Returns the method of a config: the package's of its kind, or the one that a file of the user's defines."""
    return config.record or METHODS[kind_of(type(config))]

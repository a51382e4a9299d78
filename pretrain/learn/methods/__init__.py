"""A file for each method, and the dictionary that finds them by their config class."""

from collections.abc import Mapping

from pretrain.config import methods as configs
from pretrain.learn.method import Method
from pretrain.learn.methods import autoencoder, finetuning, logistic, neighbours, pca, rbm, ridge, supervised

METHODS: Mapping[type, Method] = {
    configs.AutoencoderConfig: autoencoder.METHOD,
    configs.RbmConfig: rbm.METHOD,
    configs.SupervisedConfig: supervised.METHOD,
    configs.PcaConfig: pca.METHOD,
    configs.FinetuningConfig: finetuning.METHOD,
    configs.RidgeConfig: ridge.METHOD,
    configs.LogisticConfig: logistic.METHOD,
    configs.NeighboursConfig: neighbours.METHOD,
}

"""Estimators of scikit-learn: a pretrained encoder, and a classifier and a regressor on one.

An estimator is one arm and one seed of an experiment, trained as a run trains it, on arrays in memory.
"""

from pretrain.sklearn.encoder import PretrainedEncoder
from pretrain.sklearn.predictors import PretrainedClassifier, PretrainedRegressor

__all__ = ["PretrainedClassifier", "PretrainedEncoder", "PretrainedRegressor"]

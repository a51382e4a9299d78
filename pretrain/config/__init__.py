"""What an experiment is, in frozen dataclasses; imports no JAX, so that mistakes are told at once."""

from pretrain.config.experiment import EngineConfig, Experiment, StudyConfig, SweptValue, from_json, to_json
from pretrain.config.settings import (
    DataConfig,
    EncoderConfig,
    FinetuneConfig,
    ObjectiveConfig,
    OptimizerConfig,
    PretrainConfig,
)

__all__ = [
    "DataConfig",
    "EncoderConfig",
    "EngineConfig",
    "Experiment",
    "FinetuneConfig",
    "ObjectiveConfig",
    "OptimizerConfig",
    "PretrainConfig",
    "StudyConfig",
    "SweptValue",
    "from_json",
    "to_json",
]

"""Experiments as frozen dataclasses; imports no JAX, so that mistakes are reported at once."""

from pretrain.config.experiment import EngineConfig, Experiment, Point, StudyConfig, from_json, to_json
from pretrain.config.methods import (
    AutoencoderConfig,
    ContrastiveConfig,
    MaskedConfig,
    PcaConfig,
    RbmConfig,
    RedundancyConfig,
    SupervisedConfig,
    TeacherConfig,
    VarianceConfig,
    VimeConfig,
)
from pretrain.config.optimizers import AdamConfig, AdamWConfig, SgdConfig
from pretrain.config.settings import (
    DataConfig,
    EncoderConfig,
    FinetuneConfig,
    PretrainConfig,
    Settings,
    SweptValue,
)

__all__ = [
    "AdamConfig",
    "AdamWConfig",
    "AutoencoderConfig",
    "ContrastiveConfig",
    "DataConfig",
    "EncoderConfig",
    "EngineConfig",
    "Experiment",
    "FinetuneConfig",
    "MaskedConfig",
    "PcaConfig",
    "Point",
    "PretrainConfig",
    "RbmConfig",
    "RedundancyConfig",
    "Settings",
    "SgdConfig",
    "StudyConfig",
    "SupervisedConfig",
    "SweptValue",
    "TeacherConfig",
    "VarianceConfig",
    "VimeConfig",
    "from_json",
    "to_json",
]

"""Does unsupervised pretraining help a network, by how much, at which label budgets, and why.

``run(experiment)`` runs one as ``python launch.py`` does; ``load_run(path)`` gives a run's tables and answer;
``judge(frame, …)`` judges results of any other program likewise.
``list_runs(folder)`` lists runs; ``load_model(path)`` gives a network of a run, or of an exported folder, to encode and
predict rows to come. ``load_params(path, trial_id, stage)`` gives the parameters after any stage, ``load_inputs(path)``
what turns rows to inputs of its encoders, and ``load_samples(path)`` filters and reconstructions.
"""

import importlib
from typing import Any

_PLACES = {
    "pretrain.config": (
        *("AdamConfig", "AdamWConfig", "AutoencoderConfig", "DataConfig", "EncoderConfig", "EngineConfig"),
        *("Experiment", "FinetuneConfig", "PcaConfig", "PretrainConfig", "RbmConfig", "SgdConfig", "StudyConfig"),
        "SupervisedConfig",
    ),
    "pretrain.judging": ("judge",),
    "pretrain.library": ("run",),
    "pretrain.runs.listing": ("list_runs",),
    "pretrain.study.from_store": ("load_model", "load_params"),
    "pretrain.study.results": ("load_inputs", "load_run", "load_samples"),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib import metadata

        try:
            return metadata.version("pretrain")
        except metadata.PackageNotFoundError:  # a clone that is not installed
            return "0+unknown"
    # Not imported until used: whoever only reads a config need not wait for tables, nor for JAX.
    if name in _MODULES:
        return getattr(importlib.import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

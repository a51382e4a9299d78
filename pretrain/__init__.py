"""Does unsupervised pretraining help a network, by how much, at which label budgets, and why.

``load_run(path)`` gives a run's tables, ``load_params(path, trial_id, stage)`` the parameters after any stage,
``load_inputs(path)`` what turns rows to inputs of its encoders, and ``load_samples(path)`` filters and reconstructions.
"""

from typing import Any

__all__ = ["load_inputs", "load_params", "load_run", "load_samples"]


def __getattr__(name: str) -> Any:
    # Not imported until used: whoever only reads a config need not wait for tables.
    if name in __all__:
        from pretrain.study import results

        return getattr(results, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

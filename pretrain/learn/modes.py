"""Modes of a module: evaluation, by running averages and without draws, and training.

A module names its mode by an argument of ``__call__``, as ``train: bool = False``. Its running statistics are those of
its collection ``batch_stats``, which stand under this name beside its parameters; no optimizer sees them. It draws by
the stream ``dropout``.
"""

import inspect
from collections.abc import Mapping
from typing import Any, cast

import flax.linen as nn
import jax
from jaxtyping import Float, Key

from pretrain.learn.annotations import Array

# Arguments of a module that name its mode, and their values in training.
SWITCHES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
STATISTICS = "batch_stats"
DRAWS = "dropout"
_MODE = "in training"  # no name of a parameter


@jax.tree_util.register_static
class Training:
    """The training mode of a module while a loss is differentiated: its key, and its statistics after the batch.

    It stands beside the module's parameters, and is no leaf among them. Each application draws anew, and moves the
    statistics on.
    """

    def __init__(self, key: Key[Array, ""]):
        self.key, self.n_applied, self.statistics = key, 0, cast(Any, None)


def switch_of(module: nn.Module) -> str | None:
    """Returns the argument by which a module gets its mode; None where it has none, or a field has set it."""
    if not getattr(module, "has_mode", True):  # of this package's, as it is normalised
        return None
    call = getattr(module, "nnx_class", type(module)).__call__  # of a module of nnx, which linen wraps
    arguments = inspect.signature(call).parameters
    return next((name for name in SWITCHES if name in arguments and vars(module).get(name) is None), None)


def mode_of(module: nn.Module, in_training: bool) -> dict[str, Any]:
    """Returns the arguments that put a module in a mode."""
    switch = switch_of(module)
    return {switch: SWITCHES[switch] == in_training} if switch else {}


def initial(module: nn.Module, key: Key[Array, ""], inputs: Any) -> dict[str, Any]:
    """Returns a module's first collections."""
    keys = {"params": key, DRAWS: key} if switch_of(module) else key  # of nnx, dropout asks for its stream by then
    return dict(module.init(keys, inputs, **mode_of(module, in_training=False)))


def joined(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a module's parameters, with its running statistics beside them where it has any."""
    statistics = {STATISTICS: variables[STATISTICS]} if STATISTICS in variables else {}
    return {**variables.get("params", {}), **statistics}


def apply(module: nn.Module, params: dict[str, Any], inputs: Float[Array, "rows ..."]) -> Float[Array, "rows ..."]:
    """Returns a module's outputs for a batch, in evaluation but where ``in_training`` has put it in training."""
    mode: Training | None = params.get(_MODE)
    if mode is None:
        return cast(jax.Array, evaluated(module, params, inputs))
    if mode.statistics is not None:
        params = {**params, STATISTICS: mode.statistics}
    outputs, mode.statistics = trained(module, params, inputs, jax.random.fold_in(mode.key, mode.n_applied))
    mode.n_applied += 1
    return outputs


def evaluated(module: nn.Module, params: Mapping[str, Any], inputs: Any) -> Any:
    """Returns a module's outputs in evaluation."""
    return module.apply(_variables(params), inputs, **mode_of(module, in_training=False))


def trained(module: nn.Module, params: Mapping[str, Any], inputs: Any, key: Key[Array, ""]) -> tuple[Any, Any]:
    """Returns a module's outputs in training, and its statistics after the batch; None where it has none."""
    mode = mode_of(module, in_training=True)
    outputs, changed = module.apply(_variables(params), inputs, rngs={DRAWS: key}, mutable=[STATISTICS], **mode)
    return outputs, changed.get(STATISTICS)


def _variables(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a module's collections: the other way of ``joined``."""
    own = {"params": {name: each for name, each in params.items() if name not in (STATISTICS, _MODE)}}
    return {**own, **({STATISTICS: params[STATISTICS]} if STATISTICS in params else {})}


def in_training(params: dict[str, Any], keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Returns parameters whose modules are in training where they have keys, by side and layer."""
    made = dict(params)
    for side, layers in keys.items():
        own = made.get(side, {})
        made[side] = {**own, **{name: {**own.get(name, {}), _MODE: Training(key)} for name, key in layers.items()}}
    return made


def statistics_after(params: dict[str, Any], keys: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Returns the statistics of modules in training after a batch, by side and layer; None where there are none.

    Raises:
      ValueError: a module was not applied.
    """
    found: dict[str, Any] = {}
    for side, name in ((side, name) for side, layers in keys.items() for name in layers):
        mode: Training = params[side][name][_MODE]
        if not mode.n_applied:
            raise ValueError(f"the loss does not apply {side}/{name} by pretrain.learn.layers.encode or apply")
        if mode.statistics is not None:
            found.setdefault(side, {})[name] = {STATISTICS: mode.statistics}
    return found or None

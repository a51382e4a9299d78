"""The parts of a method, which the rest of the program uses without knowing the method by name."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import flax.linen as nn
import jax
import numpy as np

from pretrain.config.method import Method as Config
from pretrain.learn import pytrees
from pretrain.learn.layers import Params
from pretrain.learn.metrics import Batch, Metrics, Splits
from pretrain.learn.stack import Companions
from pretrain.learn.stage import StageConfig, Static
from pretrain.learn.tasks import Task
from pretrain.learn.train import Step, TrainState, Values


class Results(NamedTuple):
    """Results of a stage, of its parameters."""

    values: Values  # scalars, by the names of columns of the table of trials
    predictions: dict[str, jax.Array]  # on held-out splits [N, ...], as test_scores; none of pretraining
    variation: jax.Array | None = None  # of predictions: see ``results.variation``


class Init(Protocol):
    """Returns the state before the first update; of a closed form, what it fits, with values to report as its carry.

    The parent's parameters are those of the stage before, None without one; ``examples.labelled`` are the rows of the
    labelled subset where the method reads labels.
    """

    def __call__(
        self, static: Static, config: StageConfig, seed: jax.Array, parent: Params | None, examples: Splits
    ) -> TrainState: ...


class Update(Protocol):
    """Makes one update from a batch; returns the state after it, and values by name that become curves.

    Layers that draw, or have running averages, are in training in its first ``train_step``, and have to be in one.
    """

    def __call__(
        self,
        static: Static,
        config: StageConfig,
        state: TrainState,
        batch: Batch,
        seed: jax.Array,
        step: Step,
    ) -> tuple[TrainState, Values]: ...


class Measure(Protocol):
    """Returns metrics of held-out examples, summed over a batch, as numerators and denominators."""

    def __call__(
        self, static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array
    ) -> Metrics: ...


class Finish(Protocol):
    """Returns the results of the parameters that a stage keeps, of which ``static`` holds the stack alone."""

    def __call__(self, static: Static, params: Params, examples: Splits) -> Results: ...


# From seed, labelled and validation examples to parameters that join those of ``init``, and values to report, all on
# the host. No trace shows it: a stage is named by its definition, and by the versions of the packages it calls.
Fit = Callable[[Static, StageConfig, np.ndarray, Batch, Batch], tuple[Params, dict[str, float]]]


class Beside(Protocol):
    """Returns the modules trained beside the topmost of some layers, which reads examples of a shape."""

    def __call__(
        self, config: Any, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task
    ) -> Companions: ...


def no_companions(config: Any, layers: Sequence[nn.Module], example: tuple[int, ...], task: Task) -> Companions:
    """Returns nothing to be trained beside a layer."""
    return ()


def no_update(
    static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array, step: Step
) -> tuple[TrainState, Values]:
    """Raises, since a closed form, whose default this is, makes no update."""
    raise NotImplementedError("a closed form makes no update")


def no_measure(static: Static, config: StageConfig, state: TrainState, batch: Batch, seed: jax.Array) -> Metrics:
    """Raises, since a closed form, whose default this is, has no update to follow by a measurement."""
    raise NotImplementedError("a closed form has no update to follow")


class Method(NamedTuple):
    """What layers, or a whole network, are trained for: four free functions of one trial, and the modules they need.

    A closed form makes no update: its ``init`` fits, or leaves that to ``fit``, a function of the host, which is given
    the labelled subset and the validation examples as a head reads them. ``init`` then has parameters of the same
    shapes, and values of the same names.
    """

    init: Init
    finish: Finish
    update: Update = no_update
    measure: Measure = no_measure
    companions: Beside = no_companions
    held_out: str = "loss"  # the metric of ``measure`` by which training may end early
    fit: Fit | None = None
    packages: tuple[str, ...] = ()  # that ``fit`` calls
    # From the number of validation examples to the time on a core of what no count of operations shows (seconds).
    seconds: Callable[[Static, int], float] | None = None
    config: type[Config] = Config  # of a file of the user's: its fields and facts

    def register(self, config: type) -> None:
        """Makes the config class of a kind that names it a pytree."""
        pytrees.register_class(config)

    def __repr__(self) -> str:
        """Returns its functions by name, without addresses, in which processes differ."""
        functions = [(part.__module__, getattr(part, "__qualname__", part)) for part in self if callable(part)]
        return f"Method({', '.join(f'{module}.{name}' for module, name in functions)})"

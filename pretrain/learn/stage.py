"""A stage, one unit of training: a method, the rows it reads, its length, and the schedule of its measurements.

A stage is a record of what is static; it is hashable, so it keys compiled programs. Its numbers arrive in a config, a
pytree whose skeleton the stage holds.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from pretrain.config.own_views import OwnView
from pretrain.learn.randomness import Purpose, batch_rows, key_for
from pretrain.learn.stack import Stack, stack_shapes


class StageConfig(NamedTuple):
    """Configs that decide the arithmetic of a stage besides its static record: a pytree of numbers."""

    method: Any  # of pretrain.config.methods, or a FinetuneConfig
    l2: Any = 0.0  # of kernels in training
    optimizer: Any = None  # of pretrain.config.optimizers; None of a method in closed form


class Choices(NamedTuple):
    """Choices that decide the start of a trial's last stage; no update reads them."""

    encoder_init: str = "pretrained"
    fresh_layers: int = 0  # from the top down
    head_init: str = "random"
    codes: str = "raw"  # as the head reads them
    first_update: str = "free"  # or "matched", in its effect on the outputs


class Subset(NamedTuple):
    """The labelled subset."""

    size: int
    method: str = "first"  # as ``randomness.label_subset``
    n_classes: int = 0


class Rows(NamedTuple):
    """The examples that batches are drawn from."""

    n: int  # unlabelled ones, or those of the labelled subset
    batch_size: int = 1
    sampling: str = "epoch"
    purpose: Purpose = Purpose.PRETRAIN_BATCHES
    place: int = 0  # among the stages that draw batches
    subset: Subset | None = None  # None where all training examples are read

    def of_update(self, seed: jax.Array | int, index: jax.Array | int) -> jax.Array:
        """Returns the rows of an update's batch, a function of seed and update alone: [batch_size] int32."""
        return batch_rows(key_for(seed, self.purpose, self.place), index, self.n, self.batch_size, self.sampling)


class Layout(NamedTuple):
    """Shape of an example, whose values stacks of dense layers are given flattened."""

    shape: tuple[int, ...]
    groups: tuple[int, ...] = ()  # of columns, the number of each one's group, as of one category
    own: tuple[OwnView, ...] = ()  # views of the user's


class Static(NamedTuple):
    """The static part of a method, which its functions receive."""

    stack: Stack
    rows: Rows = Rows(0)
    trained: tuple[str, ...] = ()  # paths of the parameters in training, sorted
    n_updates: int = 0  # 0 of a closed form
    steps_before: int = 0  # updates that Adam counts as made
    place: int = 0  # among the stages that draw noise and samples
    choices: Any = None  # Choices, for ``init`` alone; of pretraining where layers in training are given, not fresh
    layout: Layout | None = None  # of methods that read rows in their own shape

    @property
    def groups(self) -> tuple[int, ...]:
        """Of columns that the lowest layer in training reads, the number of each one's group; none of codes."""
        return self.layout.groups if self.layout and not self.stack.start else ()


class Schedule(NamedTuple):
    """The updates after which something is measured."""

    every: int = 0  # and after the last; 0 is never
    at: tuple[int, ...] = ()

    def mask(self, n_updates: int) -> np.ndarray:
        """Returns whether each update is followed by a measurement: [n_updates] bool."""
        updates = np.arange(1, n_updates + 1)
        is_due = np.isin(updates, self.at)
        return is_due | (updates % self.every == 0) | (updates == n_updates) if self.every else is_due


ALWAYS = Schedule(every=1)


@dataclasses.dataclass(frozen=True)
class Stage:
    """The static part of a stage."""

    name: str  # as in pretrain/0 or finetune
    method: Any  # the record of its functions, a ``learn.method.Method``
    static: Static
    config: StageConfig  # its skeleton: without numbers
    inherits: tuple[str, ...] = ()  # sides of its parent's parameters that it reads, sorted
    reads: tuple[str, ...] = ("images",)  # parts of a dataset that name it, of images, labels and test, sorted
    validation: Schedule = ALWAYS
    measured: tuple[tuple[str, Schedule], ...] = ()  # beginnings of names of metrics that not every update measures
    patience: int = 0  # measurements without improvement after which training ends; 0 never ends it early
    watch: tuple[str, ...] = ()  # of codes of validation rows, at each measurement: see ``watching``
    is_seeded_by_source: bool = False  # whether each source of variation has a seed of its own

    @property
    def stack(self) -> Stack:
        return self.static.stack

    @property
    def rows(self) -> Rows:
        return self.static.rows

    @property
    def n_updates(self) -> int:
        return self.static.n_updates

    @property
    def updating(self) -> "Stage":
        """The stage without what no update reads, so that stages that start otherwise share their updates' program."""
        static = self.static._replace(choices=None, rows=self.rows._replace(subset=None))
        return dataclasses.replace(self, name="", static=static, reads=(), measured=())

    @property
    def n_validations(self) -> int:
        """How many updates are followed by a measurement of held-out examples."""
        return int(self.validation.mask(self.n_updates).sum())

    @property
    def shapes(self) -> Any:
        """The shapes of the parameters that a stage of pretraining leaves."""
        return stack_shapes(self.stack)

    def mask(self, metric: str) -> np.ndarray:
        """Returns whether each update is followed by a measurement of a metric; one step of a closed form: [steps]."""
        schedules = (("validation_", self.validation), *self.measured) if self.n_updates else ()
        due = next((schedule for beginning, schedule in schedules if metric.startswith(beginning)), ALWAYS)
        return due.mask(self.n_updates or 1)

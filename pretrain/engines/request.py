"""Requests to engines."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from rich.console import Console

from pretrain.config import DataConfig, Experiment
from pretrain.data import Dataset
from pretrain.plan.plan import Plan
from pretrain.store.store import Store


class Request(NamedTuple):
    """A plan whose stages are to be in a store."""

    experiment: Experiment
    plan: Plan
    datasets: Mapping[DataConfig, Dataset]
    store: Store
    console: Console  # for progress
    stop: Callable[[], bool]  # says whether to stop
    note: Callable[[str], None] = lambda work: None  # is given the pack and the step that it comes to

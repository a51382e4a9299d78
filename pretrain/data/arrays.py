"""Arrays as they are in a source, whatever its format."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pretrain.data.columns import Record
from pretrain.data.files import State
from pretrain.data.findings import Finding
from pretrain.data.scaling import Column


class Arrays(NamedTuple):
    """Arrays by canonical name, with what their source says of them."""

    by_name: Mapping[str, np.ndarray]  # by canonical name
    called: Mapping[str, str]  # by canonical name, the source's
    class_names: tuple[str, ...] = ()
    columns: tuple[Column, ...] = ()
    groups: np.ndarray | None = None  # [N] int, as ``keys.groups`` has them
    times: np.ndarray | None = None  # [N] int, as ``keys.times`` has them
    left_alone: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    records: tuple[Record, ...] = ()
    files: Sequence[State] = ()  # as they were when they were read

"""A job: one stage to be trained, with its numbers and seed."""

import dataclasses
from typing import NamedTuple

from pretrain.config import DataConfig
from pretrain.learn.layers import Params
from pretrain.learn.program import Program
from pretrain.learn.stage import Stage, StageConfig


class Origin(NamedTuple):
    """The place of a job in an experiment, from which another process derives it without a plan."""

    point: int  # of the experiment's points
    split: int  # seed of the data's split
    place: int  # among the stages of the point


@dataclasses.dataclass(frozen=True)
class Job:
    """One stage to be trained: the static stage, its numbers and seed, and the job it starts from."""

    id: str  # SHA-256 of all that decides the outcome
    settings_id: str  # the same without the program
    program: str  # its fingerprint
    content: str  # SHA-256 of its own settings and data
    stage: Stage
    config: StageConfig = dataclasses.field(hash=False)  # with numbers
    seed: int | tuple[int, ...]  # of all draws, or of each source of variation
    parent: str | None  # id
    parent_stage: Stage | None  # whose parameters are of the shapes that it starts from
    data: DataConfig
    depth: int  # stages before it
    traced: Program = dataclasses.field(hash=False)  # by which it is named, and its costs are counted
    course: str = ""  # SHA-256 of all that decides it but its length, seed and parent; empty where no state is kept
    weights: Params | None = dataclasses.field(default=None, hash=False, compare=False)  # beside a parent's
    weights_digest: str = ""  # of the checkpoint that they are of
    origin: Origin = dataclasses.field(default=Origin(0, 0, 0), hash=False, compare=False)  # one of those that it has

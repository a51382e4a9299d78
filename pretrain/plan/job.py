"""A job: one stage to be trained, with its numbers and seed."""

import dataclasses

from pretrain.config import DataConfig
from pretrain.learn.stage import Stage, StageConfig
from pretrain.learn.start import Choices


@dataclasses.dataclass(frozen=True)
class Job:
    """One stage to be trained: the static stage, its numbers and seed, and the job it starts from."""

    id: str  # SHA-256 of all that decides the outcome
    settings_id: str  # the same without the program
    program: str  # its fingerprint
    content: str  # SHA-256 of its own settings and data
    stage: Stage
    config: StageConfig = dataclasses.field(hash=False)  # with numbers
    seed: int
    parent: str | None  # id
    parent_stage: Stage | None
    data: DataConfig
    choices: Choices

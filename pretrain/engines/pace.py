"""How long jobs take, by which packs are cut: from what the store has noted, or else from their arithmetic.

Never from a clock while a run goes on, so that a run that is repeated is cut alike.
"""

import jax

from pretrain.plan import cost
from pretrain.plan.job import Job
from pretrain.plan.memory import Noted


def key(program: str, platform: str) -> tuple[str, str]:
    """Returns the key under which the seconds of a job of a program are noted, beside its temporaries."""
    return program, f"{platform} seconds"


class Pace:
    """The share of a pack of a good length that one job takes."""

    def __init__(self, noted: Noted, seconds: float, platform: str = ""):
        """Args: noted: figures of programs; seconds: of a pack; platform: of the workers, by default this process's."""
        self._noted, self._seconds, self._platform = noted, seconds, platform or jax.default_backend()

    def is_noted(self, job: Job) -> bool:
        """Returns whether a job like one has run with this store."""
        return key(job.program, self._platform) in self._noted

    def job_seconds(self, job: Job) -> float:
        """Returns the seconds of one job in a pack, compilation aside."""
        noted = self._noted.get(key(job.program, self._platform))
        return noted if noted is not None else cost.job_seconds(job.traced, cost.flop_rate())

    def __call__(self, job: Job) -> float:
        return self.job_seconds(job) / self._seconds

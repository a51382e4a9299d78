"""Messages of packs to workers: JSON with each job's place in the experiment, and the packs that hold its parents.

A worker derives the jobs of its pack, and no others, from the same experiment. A job that it derives otherwise than the
launcher did, as code or data were altered meanwhile, is refused by its id.
"""

import dataclasses
import functools
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from pretrain import data
from pretrain.config import DataConfig, Experiment
from pretrain.data import Dataset
from pretrain.plan.job import Job, Origin
from pretrain.plan.named import Fingerprint, NamedStages, job_of
from pretrain.plan.plan import Pack
from pretrain.store.store import Store


class AlteredError(Exception):
    """A job that a worker derives otherwise than its launcher; the message names the data that may have changed."""


def message(pack: Pack, store: Store, experiment: str) -> dict[str, Any]:
    """Returns a pack's message.

    Args:
      pack: to be done.
      store: which holds the parents that are not made by another pack of the queue.
      experiment: the name under which the worker finds the experiment.
    """
    opens = sorted({store.pack_of(job.parent) for job in pack.left if job.parent} - {None})
    parts = [[_described(job) for job in part.jobs] for part in (pack, *pack.passed)]
    return {"experiment": experiment, "parts": parts, "opens": opens}


def ids_of(content: Mapping[str, Any]) -> list[str]:
    """Returns the ids of the jobs whose outcomes the pack of a message leaves."""
    return [job["id"] for part in content["parts"] for job in part]


def _described(job: Job) -> dict[str, Any]:
    own = {"id": job.id, "settings": job.settings_id, "parent": job.parent, "seed": job.seed, "origin": job.origin}
    return {**own, "course": job.course} if job.course else own


class Deriver:
    """Derives the packs of messages of one experiment, and keeps data and stages for the next."""

    def __init__(self, experiment: Experiment, fingerprint: Fingerprint):
        self.datasets: Mapping[DataConfig, Dataset] = _Datasets()
        self._named = NamedStages(self.datasets, fingerprint, keeps_states=False)
        points = experiment.points
        self._staged = functools.lru_cache(maxsize=4096)(
            lambda point, split: self._named(points[point].settings.at_seed(split))
        )

    def pack(self, content: Mapping[str, Any], left_out: Collection[str]) -> Pack | None:
        """Returns the pack of a message without lanes that are left out; None where none is left.

        Args:
          content: the message.
          left_out: ids of jobs of the pack itself that cannot be done; a shorter one of the same lane goes with it.

        Raises:
          AlteredError: a job is not what its id says.
          ConfigError: the data are not there, or have other columns or rows.
        """
        kept = [lane for lane, job in enumerate(content["parts"][0]) if job["id"] not in left_out]
        if not kept:
            return None
        whole, *passed = ([self._job(part[lane]) for lane in kept] for part in content["parts"])
        shorter = tuple(Pack(jobs[0].stage, tuple(jobs)) for jobs in passed)
        return Pack(whole[0].stage, tuple(whole), shorter)

    def _job(self, described: Mapping[str, Any]) -> Job:
        origin, seed = Origin(*described["origin"]), described["seed"]
        staged = self._staged(origin.point, origin.split)
        named = staged[origin.place] if origin.place < len(staged) else None
        if named and not isinstance(seed, int):
            named = self._named.seeded_by_source(named, staged[: origin.place])
        seed = seed if isinstance(seed, int) else tuple(seed)
        if named is None:
            raise AlteredError(self._altered())
        before = staged[origin.place - 1].spec.stage if origin.place else None
        job = job_of(named, seed, described["parent"], before, described["settings"], origin)
        if job.id != described["id"]:
            raise AlteredError(self._altered())
        return dataclasses.replace(job, course=described.get("course", ""))

    def _altered(self) -> str:
        paths = {state.path for dataset in self.datasets.values() for state in dataset.files}
        named = ", ".join(sorted(paths or {config.name for config in self.datasets}))
        return f"{named}: was altered since the launcher read it, or code was; run the same command again"


class _Datasets(Mapping[DataConfig, Dataset]):
    """Datasets that are loaded when they are first asked for, from sources that are read once."""

    def __init__(self) -> None:
        self._read, self._loaded = data.reader(), dict[DataConfig, Dataset]()

    def __getitem__(self, config: DataConfig) -> Dataset:
        if config not in self._loaded:
            self._loaded[config] = data.load(config, self._read)
        return self._loaded[config]

    def __iter__(self) -> Iterator[DataConfig]:
        return iter(self._loaded)

    def __len__(self) -> int:
        return len(self._loaded)

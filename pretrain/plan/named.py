"""Stages by name: those of a point with the digests that name them, and the jobs of a trial's path."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from pretrain.config import DataConfig, Settings
from pretrain.config.digests import sha256, sha256_of_json
from pretrain.data import Dataset
from pretrain.learn.program import Program
from pretrain.learn.randomness import VariationSource
from pretrain.learn.stage import Stage
from pretrain.plan import courses, redraws, sizes, stages
from pretrain.plan.identity import traced_program
from pretrain.plan.job import Job, Origin
from pretrain.plan.stages import Spec

# From a stage, the stage before it and the dataset that it reads to the fingerprint of its program.
Fingerprint = Callable[[Spec, Stage | None, Dataset], str]


class Named(NamedTuple):
    """A stage of a point on its data, with the digests that name it."""

    spec: Spec
    content: str
    program: str
    traced: Program
    course: str  # see ``Job``


class NamedStages:
    """The stages of points, each named once for all points that share it."""

    def __init__(self, datasets: Mapping[DataConfig, Dataset], fingerprint: Fingerprint, keeps_states: bool):
        self._datasets, self._fingerprint, self._keeps_states = datasets, fingerprint, keeps_states
        self._fitting: set[Any] = set()  # structures of settings that fit the data
        self._pretraining: dict[Any, list[Named]] = {}
        self._last: dict[Any, Named] = {}
        self._by_source: dict[tuple[str, str, DataConfig], Named] = {}

    def __call__(self, settings: Settings) -> list[Named]:
        finetune, pretrain = settings.finetune, settings.pretrain
        shared = (settings.data, settings.encoder, tuple(settings.per_layer.items()))
        static = (*shared, jax.tree.structure(pretrain), jax.tree.structure(finetune))
        if static not in self._fitting:
            sizes.check(settings, self._datasets)
            self._fitting.add(static)
        weights = finetune.weights, finetune.weights_layout, finetune.weights_names, finetune.reference
        key = (*shared, pretrain, finetune.encoder_init, weights, finetune.labels, finetune.label_subset)
        if key not in self._pretraining:
            self._pretraining[key] = []
            for spec in stages.pretraining(settings, self._datasets):
                self._pretraining[key].append(self._named(spec, self._pretraining[key]))
        before = self._pretraining[key]
        if (own_key := (*shared, finetune)) not in self._last:
            self._last[own_key] = self._named(stages.last(settings, self._datasets), before)
        return [*before, self._last[own_key]]

    def redrawn(self, seeded: Sequence[tuple[Named, int]], source: VariationSource) -> list[tuple[Named, redraws.Seed]]:
        """Returns the stages of a point with their seeds where a source of variation is drawn anew."""
        made: list[tuple[Named, redraws.Seed]] = []
        for named, seed in seeded:
            drawn = redraws.redrawn(named.spec.stage, seed, source, self._datasets[named.spec.data].n_labelled)
            if not isinstance(drawn, int):
                named = self.seeded_by_source(named, [each for each, _ in made])
            made.append((named, drawn))
        return made

    def seeded_by_source(self, named: Named, before: Sequence[Named]) -> Named:
        """Returns a stage whose sources of variation have a seed each, after those before it."""
        if (key := (named.content, named.program, named.spec.data)) not in self._by_source:
            stage = dataclasses.replace(named.spec.stage, is_seeded_by_source=True)
            self._by_source[key] = self._named(named.spec._replace(stage=stage), before)
        return self._by_source[key]

    def _named(self, spec: Spec, before: Sequence[Named]) -> Named:
        asked = spec, spec.parent(before[-1].spec.stage if before else None), self._datasets[spec.data]
        course = courses.course(*asked, self._fingerprint) if self._keeps_states else ""
        return Named(spec, sha256_of_json(spec.content), self._fingerprint(*asked), traced_program(*asked), course)


def jobs_along(seeded: Iterable[tuple[Named, redraws.Seed]], jobs: dict[str, Job], point: int, split: int) -> list[Job]:
    """Returns the jobs of one trial, and adds them to those of others."""
    path: list[Job] = []
    for named, of_stage in seeded:
        before = path[-1] if path else None
        parent, parent_settings = (before.id, before.settings_id) if before else (None, None)
        own_id = job_id(named.content, of_stage, named.program, parent)
        if own_id not in jobs:
            settings_id = sha256(f"{named.content} {of_stage} {parent_settings}")
            origin, stage_before = Origin(point, split, len(path)), before.stage if before else None
            jobs[own_id] = job_of(named, of_stage, parent, stage_before, settings_id, origin)
        path.append(jobs[own_id])
    return path


def job_of(
    named: Named, seed: redraws.Seed, parent: str | None, before: Stage | None, settings_id: str, origin: Origin
) -> Job:
    """Returns the job of a stage with a seed, after a stage ``before`` it whose job is ``parent``."""
    spec, own_id = named.spec, job_id(named.content, seed, named.program, parent)
    start = spec.stage, spec.config, seed, parent, spec.parent(before), spec.data, origin.place, named.traced
    given = named.course, spec.weights, spec.content.get("weights", ""), origin
    return Job(own_id, settings_id, named.program, named.content, *start, *given)


def job_id(content: str, seed: redraws.Seed, program: str, parent: str | None) -> str:
    """Returns a stage's id, by all that decides its outcome."""
    return sha256(f"{content} {seed} {program} {parent}")

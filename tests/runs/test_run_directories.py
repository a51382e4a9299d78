"""Experiments run, interrupted, moved, copied and pruned in any order: tables stay true, held stages in place."""

import contextlib
import dataclasses
import shutil
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from pretrain.runs import holds, inventory, run_files
from pretrain.store import contents, sealed
from tests.runs.dying import killed_at

# Stages of two experiments, of which one is shared; a larger run of the first has more.
EXPERIMENTS = {"a": ("shared", "a/0", "a/1"), "b": ("shared", "b/0"), "more of a": ("shared", "a/0", "a/1", "a/2")}
PLACES = [f"{disk}/{name}" for disk in ("one", "two") for name in ("x", "y")][:3]


class Interrupted(Exception):
    """Training was stopped."""


def stage_ids(experiment):
    return [f"{experiment}: {stage}" if stage != "shared" else stage for stage in EXPERIMENTS[experiment]]


def stored(root):
    """The stages that a store holds."""
    return {stage for pack in root.glob("packs/*") for stage in sealed.read_manifest(pack)["stages"]}


def train(root, stage):
    name = stage.replace("/", "-").replace(" ", "-")
    content = {"kind": "finetune", "stages": [stage], "settings": ["a"], "programs": ["b"], "parents": [None]}

    def write(draft):
        for file in contents.FILES:
            (draft / file).write_text(stage)

    sealed.write(root / "packs" / name, root / "drafts", content, write)


def launch(run_dir, root, experiment, until=None):
    """A run, as running.py makes one, of stages that take no time; interrupted after so many."""
    ids = stage_ids(experiment)
    with run_files.occupied(run_dir), holds.held(root, run_dir, ids):
        for stage in ids[:until]:
            if stage not in stored(root):
                train(root, stage)
        if until is not None:
            raise Interrupted
        with run_files.draft(run_dir) as draft:
            (draft / "experiment.json").write_text(experiment)
            pq.write_table(pa.table({"stage_id": ids}), draft / "stages.parquet")
            (draft / f"{experiment}.svg").write_text(experiment)
            run_files.commit(draft, experiment, "")


@dataclasses.dataclass
class Directory:
    """What a run's directory should hold."""

    experiment: str | None = None  # of the files in it
    held: set[str] = dataclasses.field(default_factory=set)  # stages of these, and of experiments interrupted since
    noted: str | None = None  # the place that the store knows it by; none of a copy that the store has not met


class Directories(RuleBasedStateMachine):
    """Directories at some places, and a store."""

    def __init__(self):
        super().__init__()
        self.base = Path(tempfile.mkdtemp())
        self.root = self.base / "store"
        (self.root / "packs").mkdir(parents=True)
        self.at = {}
        for place in PLACES:
            (self.base / place).parent.mkdir(exist_ok=True)

    def teardown(self):
        shutil.rmtree(self.base)

    def path(self, place):
        return self.base / place

    def known(self, place):
        """The directory at a place, which its store has met there."""
        directory = self.at.setdefault(place, Directory())
        if directory.noted is None:  # a copy, for whose files the store may have forgotten stages
            directory.held = set(stage_ids(directory.experiment) if directory.experiment else []) & stored(self.root)
        directory.noted = place
        return directory

    @rule(place=st.sampled_from(PLACES), experiment=st.sampled_from(sorted(EXPERIMENTS)))
    def run(self, place, experiment):
        launch(self.path(place), self.root, experiment)
        self.at[place] = Directory(experiment, set(stage_ids(experiment)), place)

    @rule(place=st.sampled_from(PLACES), experiment=st.sampled_from(sorted(EXPERIMENTS)), until=st.integers(0, 3))
    def interrupt(self, place, experiment, until):
        directory = self.known(place)
        with contextlib.suppress(Interrupted):
            launch(self.path(place), self.root, experiment, until)
        directory.held |= set(stage_ids(experiment)[:until])

    @rule(place=st.sampled_from(PLACES), experiment=st.sampled_from(sorted(EXPERIMENTS)), n=st.integers(0, 60))
    def kill(self, place, experiment, n):
        before = self.at.get(place, Directory()).experiment
        with killed_at(n):
            launch(self.path(place), self.root, experiment)
        if self.path(place).is_dir():
            files = run_files.opened(self.path(place))
            found = files and files.experiment_id
            assert found in (before, experiment)
            if found == experiment:
                held = set(stage_ids(experiment)) if found != before else self.at[place].held & set(stage_ids(found))
                noted = place if found != before else self.at[place].noted
                self.at[place] = Directory(found, held, noted)
            else:
                self.at.setdefault(place, Directory())

    @rule(place=st.sampled_from(PLACES), to=st.sampled_from(PLACES), by_copy=st.booleans())
    def move(self, place, to, by_copy):
        if place in self.at and to not in self.at:
            if by_copy:  # as from disk to disk
                shutil.copytree(self.path(place), self.path(to))
                shutil.rmtree(self.path(place))
            else:
                self.path(place).rename(self.path(to))
            self.at[to] = self.at.pop(place)

    @rule(place=st.sampled_from(PLACES), to=st.sampled_from(PLACES))
    def copy(self, place, to):
        if place in self.at and to not in self.at:
            shutil.copytree(self.path(place), self.path(to))
            self.at[to] = Directory(self.at[place].experiment)

    @rule(place=st.sampled_from(PLACES))
    def meet(self, place):
        """Does what ``report`` and ``table`` do beside reading."""
        if place in self.at and self.at[place].experiment:
            self.known(place)
            holds.note_place(self.root, self.path(place))

    @rule(place=st.sampled_from(PLACES))
    def delete_and_forget(self, place):
        if place in self.at:
            directory = self.at.pop(place)
            shutil.rmtree(self.path(place))
            if directory.noted == place:
                holds.forget(self.root, [str(self.path(place))])
                for other in self.at.values():  # was there before, as the user has just said
                    other.noted = None if other.noted == place else other.noted

    @rule()
    def prune(self):
        _, faults = inventory.prune(self.root)
        assert faults == []

    @rule(disk=st.sampled_from(["one", "two"]))
    def prune_while_a_disk_is_not_mounted(self, disk):
        self.path(disk).rename(self.path("unmounted"))
        self.prune()
        self.path("unmounted").rename(self.path(disk))

    @invariant()
    def tables_are_true(self):
        for place, directory in self.at.items():
            files = run_files.opened(self.path(place))
            assert (files and files.experiment_id) == directory.experiment
            if files:
                assert files.faults() == []
                assert files.read("experiment.json").decode() == directory.experiment
                table = pq.read_table(pa.BufferReader(files.read("stages.parquet")))
                assert table["stage_id"].to_pylist() == stage_ids(directory.experiment)
                assert [path.stem for path in self.path(place).glob("*.svg")] == [directory.experiment]

    @invariant()
    def held_stages_are_in_place(self):
        notes, faults = holds.holds(self.root)
        assert faults == []
        there = stored(self.root) & {stage for hold in notes for stage in hold.stages}  # so that no prune can come
        for place, directory in self.at.items():
            if directory.noted:
                assert directory.held <= there, place


def interleave(n, steps):
    run_state_machine_as_test(
        Directories,
        settings=settings(
            max_examples=n, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def test_any_interleaving_keeps_tables_true_and_held_stages_in_place():
    interleave(30, 20)


@pytest.mark.slow
def test_500_interleavings_keep_tables_true_and_held_stages_in_place():
    interleave(500, 40)

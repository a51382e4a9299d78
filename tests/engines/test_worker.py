"""A worker in this process: what it reads and lists for each pack that it does."""

import dataclasses
import os
from pathlib import Path

import pytest

from pretrain import data
from pretrain.engines import remote, worker
from pretrain.engines.queue import Queue
from pretrain.engines.standing import Standing
from pretrain.plan import plan as planning
from pretrain.store import sealed
from pretrain.store.store import Store
from tests.small_sweep import CORNERS, FINGERPRINTS


@pytest.fixture
def filled(experiment, tmp_path, monkeypatch):
    """A queue of a small experiment, whose store holds nothing yet; its plan, and the store."""
    places = {"run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store")}
    made = experiment(sweep=(CORNERS,), encoder={"layers": (9, 6)}, seeds=3).with_others(places)
    made = dataclasses.replace(made, engine=dataclasses.replace(made.engine, cpus=1, memory=4))
    queue, store = Queue(tmp_path / "run" / "queue"), Store(tmp_path / "store", lambda line: None)
    queue.make()
    plan = planning.plan(made, data.load_all(made), FINGERPRINTS)
    monkeypatch.setattr(remote, "SECONDS", 1e-9)  # a pack for each trial
    remote._fill(queue, made, plan, store)
    return queue, plan, store


def test_a_worker_reads_the_manifests_of_parents_and_lists_no_store(filled, monkeypatch):
    queue, plan, store = filled
    read, listed, of_packs = [], [], {}
    read_manifest, result = sealed.read_manifest, worker._result

    def reading(path):
        read.append(path.name)
        return read_manifest(path)

    def listing(function):
        def noted(path=".", *rest):
            if not isinstance(path, int) and Path(path).is_relative_to(store.root):
                listed.append(Path(path).relative_to(store.root).as_posix())
            return function(path, *rest)

        return noted

    def doing(queue, claim, stop):
        read.clear(), listed.clear()
        done = result(queue, claim, stop)
        of_packs[claim.name] = claim, done["stored"], list(read), list(listed)
        return done

    monkeypatch.setattr(sealed, "read_manifest", reading)
    monkeypatch.setattr(worker, "_result", doing)
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, listing(getattr(os, name)))
    assert worker.work_on(queue.root, "one", 5) == worker.DONE
    monkeypatch.undo()
    assert Standing(queue).counts().done == len(of_packs) > 6 and queue.faults() == {}
    store.refresh()
    assert store.verified(plan.jobs) == plan.jobs.keys()
    n_read = 0
    for claim, stored, manifests, folders in of_packs.values():
        parents = {job["parent"] for part in claim.message["parts"] for job in part} - {None}
        wanted = {store.pack_of(parent) for parent in parents}
        assert sorted(manifests) == sorted([*wanted, *stored])  # and its own, when it is stored
        assert "packs" not in folders and "." not in folders
        assert folders.count("begun") <= 2  # for its own progress, which few packs have at a time
        n_read += len(wanted)
    assert n_read >= 6

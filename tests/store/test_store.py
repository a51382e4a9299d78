"""What is stored is complete, checked, and found again; what is damaged is named and runs again."""

import dataclasses
import json
import os
import re
import shutil
import socket
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from pretrain.execute import execute
from pretrain.learn.transfer import TransferError
from pretrain.plan.identity import versions
from pretrain.plan.plan import Pack, packs
from pretrain.store import sealed
from pretrain.store import store as store_module
from pretrain.store.store import Store, StoredAs, StoreError
from tests.small_sweep import unwatched


@pytest.fixture(scope="module")
def pack(corners):
    return packs(corners.jobs.values(), (), 1 << 30, 2)[0]


@pytest.fixture(scope="module")
def outcome(pack, dataset):
    return execute.run(pack, dataset, [None] * len(pack.jobs), unwatched)


@pytest.fixture(scope="module")
def saved(pack, outcome, tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    Store(root, fail).save(pack, outcome)
    return root


@pytest.fixture
def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


@pytest.fixture
def shapes(pack):
    return pack.stage.shapes


def fail(line):
    raise AssertionError(line)


def ids_of(pack):
    return [job.id for job in pack.jobs]


def pack_files(root):
    (path,) = (root / "packs").iterdir()
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_a_pack_comes_back_bit_for_bit(saved, pack, outcome, shapes, dataset):
    store = Store(saved, fail)
    assert store.verified(ids_of(pack)) == set(ids_of(pack))
    for lane, stage in enumerate(ids_of(pack)):
        restored = store.params(stage, shapes)
        jax.tree.map(
            np.testing.assert_array_equal, restored, jax.tree.map(lambda leaf, i=lane: leaf[i], outcome.params)
        )
        assert all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 for leaf in jax.tree.leaves(restored))
    for lane, record in enumerate(store.records(ids_of(pack))):
        assert record.is_finite and record.stopping is record.variation is None
        assert record.digests == {side: values[lane] for side, values in outcome.digests.items()} != {}
        assert record.results == {name: float(values[lane]) for name, values in outcome.results.items()}
        assert record.test == dataset.fingerprints.test


def test_curves_come_back_where_they_were_measured(saved, pack, outcome):
    reversed_ids = ids_of(pack)[::-1]
    for lane, table in zip(reversed(range(len(pack.jobs))), Store(saved, fail).curves(reversed_ids), strict=True):
        for name in outcome.curves:
            measured = pack.stage.mask(name)
            rows = table.filter(np.array([metric == name for metric in table["metric"].to_pylist()]))
            np.testing.assert_array_equal(rows["step"], np.flatnonzero(measured) + 1)
            np.testing.assert_array_equal(rows["value"], outcome.curves[name][lane][measured])


def test_nothing_is_found_of_what_was_not_stored(saved):
    assert Store(saved, fail).verified(["0" * 64]) == set()


def test_parameters_of_another_shape_or_type_are_refused(saved, pack):
    other = jax.tree.map(lambda leaf: leaf, pack.stage.shapes)
    other["encoder"]["layers_0"]["kernel"] = jax.ShapeDtypeStruct((36, 12), np.int32)
    with pytest.raises(TransferError, match=r"encoder/layers_0/kernel is float32\[36, 12\], wanted int32"):
        Store(saved, fail).params(pack.jobs[0].id, other)


def test_every_truncated_file_is_named_and_its_stages_are_forgotten(saved, pack, tmp_path):
    for number, file in enumerate(pack_files(saved)):
        root = shutil.copytree(saved, tmp_path / str(number))
        victim = root / file.relative_to(saved)
        victim.write_bytes(victim.read_bytes()[:-1])
        warnings = []
        assert Store(root, warnings.append).verified(ids_of(pack)) == set()
        assert len(warnings) == 1 and str(victim) in warnings[0]


def test_every_missing_file_is_named(saved, pack, tmp_path):
    for number, file in enumerate(pack_files(saved)):
        root = shutil.copytree(saved, tmp_path / str(number))
        victim = root / file.relative_to(saved)
        victim.unlink()
        warnings = []
        assert Store(root, warnings.append).verified(ids_of(pack)) == set()
        assert len(warnings) == 1 and str(victim) in warnings[0]


@pytest.mark.parametrize("n", [40, pytest.param(500, marks=pytest.mark.slow)])
def test_flipped_bits_are_named_and_healed_by_storing_again(n, saved, pack, outcome, tmp_path):
    rng = np.random.default_rng(0)
    root = shutil.copytree(saved, tmp_path / "store")
    for number in range(n):
        files = pack_files(root)
        victim = files[number % len(files)]
        content = bytearray(victim.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        victim.write_bytes(content)
        warnings = []
        store = Store(root, warnings.append)
        assert store.verified(ids_of(pack)) == set(), victim
        assert len(warnings) == 1 and str(victim) in warnings[0]
        store.save(pack, outcome)
        assert Store(root, fail).verified(ids_of(pack)) == set(ids_of(pack))


def test_a_pack_that_another_process_stored_meanwhile_is_kept_once(copy, pack, outcome):
    before = {file: file.stat().st_mtime_ns for file in pack_files(copy)}
    Store(copy, fail).save(pack, outcome)
    assert {file: file.stat().st_mtime_ns for file in pack_files(copy)} == before
    assert list((copy / "drafts").iterdir()) == []


def test_a_checkpoint_that_could_not_be_written_is_not_recorded(tmp_path, pack, outcome, monkeypatch):
    def failing(path, params):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(sealed, "save_arrays", failing)
    with pytest.raises(StoreError, match="No space left on device"):
        Store(tmp_path, fail).save(pack, outcome)
    assert Store(tmp_path, fail).verified(ids_of(pack)) == set()


def test_nothing_in_a_pack_can_execute(saved):
    suffixes = {file.suffix for file in pack_files(saved)}
    assert not suffixes & {".pkl", ".pickle", ".npy", ".py"}
    (path,) = (saved / "packs").iterdir()
    manifest = json.loads((path / "manifest.json").read_text())
    listed = {*manifest["files"], "manifest.json"}
    assert listed == {os.path.relpath(file, path) for file in pack_files(saved)}


def test_a_save_that_fails_while_it_is_under_way_is_not_recorded(tmp_path, pack, outcome, monkeypatch):
    from orbax.checkpoint import type_handlers

    async def failing(*arguments, **options):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(type_handlers.NumpyHandler, "serialize", failing)
    with pytest.raises(StoreError, match=r"params: orbax could not write it: .*Input/output error"):
        Store(tmp_path, fail).save(pack, outcome)
    assert Store(tmp_path, fail).verified(ids_of(pack)) == set()
    assert list((tmp_path / "packs").iterdir()) == [] and list((tmp_path / "drafts").iterdir()) == []


def test_a_checkpoint_of_another_structure_than_its_manifest_says_is_refused(copy, pack):
    store = Store(copy, fail)
    store.verified(ids_of(pack))
    (path,) = (copy / "packs").iterdir()
    store._manifests[path]["structure"]["encoder/layers_0/kernel"] = "int32[3, 36, 12]"
    with pytest.raises(StoreError, match="has other arrays than its manifest says"):
        store.params(pack.jobs[0].id)


def test_a_stage_that_is_stored_twice_survives_the_damage_of_one(copy, pack, outcome, shapes):
    single = Pack(pack.stage, pack.jobs[:1])
    store = Store(copy, fail)
    store.save(single, jax.tree.map(lambda leaf: leaf[:1] if hasattr(leaf, "shape") else leaf, outcome))
    victim = max((copy / "packs").glob("*/records.json"), key=lambda path: path.stat().st_size)
    victim.write_bytes(victim.read_bytes()[:-1])
    warnings = []
    store = Store(copy, warnings.append)
    assert store.verified(ids_of(pack)) == {pack.jobs[0].id}
    assert store.params(pack.jobs[0].id, shapes) and len(warnings) == 1


def of_another_program(pack):
    """A pack of the same settings, whose stages another program trains."""
    jobs = [dataclasses.replace(job, id=f"{number:064}", program="other") for number, job in enumerate(pack.jobs)]
    return Pack(pack.stage, tuple(jobs))


def test_stages_of_the_same_settings_are_found_whatever_program_made_them(copy, pack, outcome, monkeypatch):
    other = of_another_program(pack)
    before = Store(copy, fail)
    with monkeypatch.context() as patched:
        patched.setattr(store_module, "versions", lambda: {"jax": "0.0.1"})
        before.save(other, outcome)
    for store in (before, Store(copy, fail)):
        for mine, theirs in zip(pack.jobs, other.jobs, strict=True):
            assert mine.settings_id == theirs.settings_id
            known = StoredAs(mine.id, mine.program, versions()), StoredAs(theirs.id, "other", {"jax": "0.0.1"})
            assert sorted(store.with_settings(mine.settings_id)) == sorted(known)
    assert before.with_settings("0" * 64) == []


def test_damaged_stages_are_not_found_by_their_settings(copy, pack, outcome):
    other = of_another_program(pack)
    Store(copy, fail).save(other, outcome)
    store = Store(copy, lambda line: None)
    victim = next(
        path for path in (copy / "packs").iterdir() if other.jobs[0].id in (path / "manifest.json").read_text()
    )
    (victim / "records.json").write_text("")
    assert store.verified([*ids_of(pack), *ids_of(other)]) == set(ids_of(pack))
    for job in pack.jobs:
        assert [stored.id for stored in store.with_settings(job.settings_id)] == [job.id]


def test_a_reader_leaves_damage_where_it_is(copy, pack):
    victim = pack_files(copy)[0]
    victim.write_bytes(b"")
    before = sorted(copy.rglob("*"))
    warnings = []
    assert Store(copy, warnings.append, read_only=True).verified(ids_of(pack)) == set()
    assert str(victim) in warnings[0] and sorted(copy.rglob("*")) == before


def test_packs_of_another_format_are_left_alone(copy, pack, monkeypatch):
    monkeypatch.setattr(sealed, "FORMAT", sealed.FORMAT + 1)
    assert Store(copy, fail).verified(ids_of(pack)) == set()
    assert len(pack_files(copy)) > 4


def test_packs_that_another_process_stores_are_found(tmp_path, pack, outcome):
    first, second = Store(tmp_path, fail), Store(tmp_path, fail)
    first.save(pack, outcome)
    assert second.verified(ids_of(pack)) == set()
    second.refresh()
    assert second.verified(ids_of(pack)) == set(ids_of(pack))


def test_drafts_of_dead_processes_are_cleared_and_those_of_the_living_are_not(tmp_path):
    host = socket.gethostname()
    dead, alive, foreign = f"{host}@{2**22 + 1}@a", f"{host}@{os.getpid()}@b", "elsewhere@1@c"
    for name in (dead, alive, foreign):
        (tmp_path / "drafts" / name).mkdir(parents=True)
    Store(tmp_path, fail, read_only=True)
    assert len(list((tmp_path / "drafts").iterdir())) == 3
    Store(tmp_path, fail)
    assert {path.name for path in (tmp_path / "drafts").iterdir()} == {alive, foreign}


@pytest.fixture(scope="module")
def progress(pack, dataset):
    kept = []
    execute.run(pack, dataset, [None] * len(pack.jobs), lambda step, progress: kept.append(progress()))
    return kept[0]


def test_progress_comes_back_bit_for_bit_and_only_the_last(tmp_path, pack, progress):
    store = Store(tmp_path, fail)
    assert store.progress(pack) is None and store.in_training() == []
    store.save_progress(pack, progress._replace(step=3))
    store.save_progress(pack, progress._replace(step=12))
    again = Store(tmp_path, fail)
    found = again.progress(pack)
    assert (found.step, found.seconds) == (12, progress.seconds)
    jax.tree.map(np.testing.assert_array_equal, found.arrays, progress.arrays)
    assert again.in_training() == [tuple(ids_of(pack))] and len(list((tmp_path / "begun").iterdir())) == 1


def test_progress_goes_when_its_pack_is_stored(tmp_path, pack, progress, outcome):
    store = Store(tmp_path, fail)
    store.save_progress(pack, progress)
    store.save(pack, outcome)
    assert list((tmp_path / "begun").iterdir()) == [] and store.in_training() == []


def test_damaged_progress_is_named_and_forgotten(tmp_path, pack, progress):
    Store(tmp_path / "sound", fail).save_progress(pack, progress)
    files = [path.relative_to(tmp_path / "sound") for path in (tmp_path / "sound").rglob("*") if path.is_file()]
    for number, file in enumerate(files):
        root = shutil.copytree(tmp_path / "sound", tmp_path / str(number))
        victim = root / file
        victim.write_bytes(victim.read_bytes()[:-1])
        warnings = []
        assert Store(root, warnings.append).progress(pack) is None
        assert len(warnings) == 1 and str(victim) in warnings[0] and "begin again" in warnings[0]
        assert Store(root, fail).progress(pack) is None


@pytest.mark.parametrize("stored", [False, True])
def test_a_disk_without_room_is_named_before_orbax_meets_it(stored, pack, outcome, saved, tmp_path, monkeypatch):
    if stored:
        shutil.copytree(saved / "packs", tmp_path / "packs")
    store = Store(tmp_path, fail)
    disk = SimpleNamespace(f_bavail=10, f_frsize=4096, f_blocks=20)
    monkeypatch.setattr(sealed.os, "statvfs", lambda path: disk)
    monkeypatch.setattr(sealed, "_checkpointer", None)
    with pytest.raises(StoreError) as caught:
        store.save(pack, outcome)
    reported = str(caught.value)
    assert re.search(r"No space left on device: [\d.]+ MB are needed, 0.0 MB are free", reported)
    assert reported.endswith("; stages saved earlier are intact") == stored


def test_a_store_that_is_gone_is_not_called_intact(pack, outcome, saved, tmp_path, monkeypatch):
    store = Store(shutil.copytree(saved, tmp_path / "store"), fail)

    def lose(*_):
        shutil.rmtree(store.root)
        raise FileNotFoundError(2, "No such file or directory", str(store.root))

    monkeypatch.setattr(sealed, "save_arrays", lose)
    with pytest.raises(StoreError, match=r"store: No such file or directory$"):
        store.save(pack, outcome)

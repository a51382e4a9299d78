"""What is stored is complete, checked, and found again; what is damaged is named and runs again."""

import json
import os
import shutil

import jax
import numpy as np
import pytest

from pretrain.learn.transfer import TransferError, stack_shapes
from pretrain.sweep import execute
from pretrain.sweep import store as store_module
from pretrain.sweep.plan import packs
from pretrain.sweep.store import Store, StoreError


@pytest.fixture(scope="module")
def pack(corners):
    return packs(corners.jobs.values(), (), 1 << 30, 2)[0]


@pytest.fixture(scope="module")
def outcome(pack, dataset):
    return execute.run(pack, dataset, [None] * len(pack.jobs), lambda updates: None)


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
    return stack_shapes((pack.stage.image_size, *pack.stage.widths))


def fail(line):
    raise AssertionError(line)


def ids_of(pack):
    return [job.id for job in pack.jobs]


def pack_files(root):
    (path,) = (root / "packs").iterdir()
    return sorted(file for file in path.rglob("*") if file.is_file())


def test_a_pack_comes_back_bit_for_bit(saved, pack, outcome, shapes):
    store = Store(saved, fail)
    assert store.verified(ids_of(pack)) == set(ids_of(pack))
    for lane, stage in enumerate(ids_of(pack)):
        restored = store.params(stage, shapes)
        jax.tree.map(
            np.testing.assert_array_equal, restored, jax.tree.map(lambda leaf, i=lane: leaf[i], outcome.params)
        )
        assert all(isinstance(leaf, np.ndarray) and leaf.dtype == np.float32 for leaf in jax.tree.leaves(restored))
    for lane, record in enumerate(store.records(ids_of(pack))):
        assert record.status == "ok"
        assert record.results == {name: float(values[lane]) for name, values in outcome.results.items()}


def test_curves_come_back_where_they_were_measured(saved, pack, outcome):
    reversed_ids = ids_of(pack)[::-1]
    for lane, table in zip(reversed(range(len(pack.jobs))), Store(saved, fail).curves(reversed_ids), strict=True):
        for name, measured in pack.stage.measured().items():
            rows = table.filter(np.array([metric == name for metric in table["metric"].to_pylist()]))
            np.testing.assert_array_equal(rows["step"], np.flatnonzero(measured) + 1)
            np.testing.assert_array_equal(rows["value"], outcome.curves[name][lane][measured])


def test_nothing_is_found_of_what_was_not_stored(saved):
    assert Store(saved, fail).verified(["0" * 64]) == set()


def test_parameters_of_another_shape_or_type_are_refused(saved, pack):
    other = stack_shapes((pack.stage.image_size, *pack.stage.widths))
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


def test_flipped_bits_are_never_silent(saved, pack, tmp_path):
    rng = np.random.default_rng(0)
    files = pack_files(saved)
    for number in range(60):
        file = files[number % len(files)]
        root = shutil.copytree(saved, tmp_path / str(number))
        victim = root / file.relative_to(saved)
        content = bytearray(victim.read_bytes())
        content[rng.integers(len(content))] ^= 1 << rng.integers(8)
        victim.write_bytes(content)
        warnings = []
        assert Store(root, warnings.append).verified(ids_of(pack)) == set(), victim
        assert len(warnings) == 1 and str(victim) in warnings[0]


def test_a_forgotten_pack_can_be_stored_again(copy, pack, outcome):
    victim = pack_files(copy)[0]
    victim.write_bytes(b"")
    store = Store(copy, lambda line: None)
    assert store.verified(ids_of(pack)) == set()
    store.save(pack, outcome)
    assert Store(copy, fail).verified(ids_of(pack)) == set(ids_of(pack))


def test_a_pack_that_another_process_stored_meanwhile_is_kept_once(copy, pack, outcome):
    before = {file: file.stat().st_mtime_ns for file in pack_files(copy)}
    Store(copy, fail).save(pack, outcome)
    assert {file: file.stat().st_mtime_ns for file in pack_files(copy)} == before
    assert list((copy / "drafts").iterdir()) == []


def test_a_checkpoint_that_could_not_be_written_is_not_recorded(tmp_path, pack, outcome, monkeypatch):
    def failing(path, params):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(store_module, "_save_params", failing)
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

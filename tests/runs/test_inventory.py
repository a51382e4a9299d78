"""A store lists what it holds and who uses it, and prunes only what nobody does."""

import os
import socket

import pytest

from pretrain.commands import store as store_command
from pretrain.config.fields import ConfigError
from pretrain.execute import execute
from pretrain.plan.plan import Pack, packs
from pretrain.runs import holds, inventory
from pretrain.store.store import Store
from tests.small_sweep import unwatched


def fail(line):
    raise AssertionError(line)


@pytest.fixture(scope="module")
def stored(corners, dataset):
    """The two packs of one stage that two runs would cut it to, with their outcomes."""
    pack = packs(corners.jobs.values(), (), 1 << 30, 2)[0]
    halves = Pack(pack.stage, pack.jobs[:2]), Pack(pack.stage, pack.jobs[2:])
    return [(half, execute.run(half, dataset, [None] * len(half.jobs), unwatched)) for half in halves]


@pytest.fixture
def root(stored, tmp_path):
    """A store that a run in ``mine`` uses the first pack of."""
    store = Store(tmp_path / "store", fail)
    for half, outcome in stored:
        store.save(half, outcome)
    (tmp_path / "mine").mkdir()
    with holds.held(store.root, tmp_path / "mine", [job.id for job in stored[0][0].jobs]):
        pass
    return store.root


def ids(half):
    return {job.id for job in half.jobs}


def test_entries_list_stages_sizes_and_users(root, stored, tmp_path):
    first, second = sorted(inventory.entries(root, verify=True), key=lambda entry: not entry.runs)
    assert (set(first.stages), set(second.stages)) == tuple(ids(half) for half, _ in stored)
    assert first.runs == (str(tmp_path / "mine"),) and second.unused
    assert first.kind == "pretrain/0" and not first.fault
    assert first.n_bytes == sum(file.stat().st_size for file in first.path.rglob("*") if file.is_file())


def test_prune_deletes_what_no_run_uses_and_nothing_else(root, stored):
    ((left,), faults) = inventory.prune(root)
    assert set(left.stages) == ids(stored[1][0]) and faults == []
    assert Store(root, fail).verified(ids(stored[0][0]) | ids(stored[1][0])) == ids(stored[0][0])
    assert inventory.prune(root) == ([], [])


def test_a_run_whose_directory_is_not_there_holds_its_stages_until_it_is_forgotten(root, stored, tmp_path, capsys):
    store, directory = ["--store", str(root)], tmp_path / "mine"
    with pytest.raises(ConfigError, match=r"^forget: '.*mine' is still there; delete it first"):
        store_command.main([*store, "--forget", str(directory)])
    directory.rename(tmp_path / "away")
    for command in (["--prune"], []):
        assert store_command.main([*store, *command]) == 0
        line = f"{directory}: 2 stages, held though the directory is not there; if it is gone for good, release them by"
        assert f"{line} --forget {directory}\n" in capsys.readouterr().out
    assert Store(root, fail).verified(ids(stored[0][0])) == ids(stored[0][0])
    directory.mkdir()
    assert store_command.main(store) == 0 and "held for another directory that was there" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="none of the runs"):
        store_command.main([*store, "--forget", str(directory), "--forget", "mein"])
    assert len(holds.holds(root)[0]) == 1
    assert store_command.main([*store, "--forget", str(directory), "--prune"]) == 0
    assert list((root / "packs").iterdir()) == [] and holds.holds(root) == ([], [])


def test_left_over_directories_are_pruned_and_drafts_of_the_living_are_not(root, stored):
    dead, alive = (root / "drafts" / f"{socket.gethostname()}@{pid}@x" for pid in (2**22 + 1, os.getpid()))
    old = root / "programs" / "older"
    for path in (dead, alive, old, root / "damaged" / "pack-1"):
        path.mkdir(parents=True)
    assert {entry.kind for entry in inventory.prune(root)[0]} == {
        "pretrain/0",
        "damaged",
        "abandoned draft",
        "stale programs",
    }
    assert alive.exists() and not dead.exists() and not old.exists()


def test_a_note_that_cannot_be_read_is_named_and_holds_all_stages_back(root, stored, tmp_path, capsys):
    (note,) = (root / "runs").iterdir()
    whole = note.read_text()
    flipped = whole.replace(stored[0][0].jobs[0].id, stored[0][0].jobs[0].id[::-1])
    (root / "damaged" / "pack-1").mkdir(parents=True)
    for text in ("", "[]", "{}", '{"run_dir": 3, "stages": 4}', "null", whole[:-9], flipped):
        assert text != whole
        note.write_text(text)
        assert store_command.main(["--store", str(root), "--prune"]) == 1
        reported = capsys.readouterr()
        remedy = "so no stage is pruned; run its run's command again, or delete it"
        assert reported.err == f"{note}: cannot be read, {remedy}\n"
    assert len(list((root / "packs").iterdir())) == 2 and not list((root / "damaged").iterdir())
    with holds.held(root, tmp_path / "mine", ids(stored[0][0])):
        pass
    assert note.read_text() == whole and len(inventory.prune(root)[0]) == 1


def test_what_cannot_be_deleted_is_named_and_not_counted(root, stored, monkeypatch, capsys):
    (victim,) = (entry.path for entry in inventory.entries(root) if entry.unused)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path / "records.json"))

    monkeypatch.setattr(inventory.shutil, "rmtree", refuse)
    assert store_command.main(["--store", str(root), "--prune"]) == 1
    reported = capsys.readouterr()
    assert reported.err == f"{victim / 'records.json'}: cannot be deleted (Permission denied)\n"
    assert reported.out.startswith("deleted 0 directories, 0 bytes\n")


def test_the_command_lists_verifies_and_prunes(root, stored, capsys):
    assert store_command.main(["--store", str(root), "--verify"]) == 0
    page = capsys.readouterr().out
    assert "pretrain/0" in page and "every file of 2 directories is as it was written" in page
    victim = next((root / "packs").glob("*/records.json"))
    victim.write_bytes(victim.read_bytes()[:-1])
    assert store_command.main(["--store", str(root)]) == 0
    capsys.readouterr()
    assert store_command.main(["--store", str(root), "--verify"]) == 1
    assert capsys.readouterr().err == f"{victim}: fails its checksum\n"
    assert victim.exists()
    assert store_command.main(["--store", str(root), "--prune"]) == 0
    assert "deleted 1 directory," in capsys.readouterr().out


@pytest.mark.parametrize("argv", [["--store", "nowhere"], ["--stor", "x"], ["x"], ["--store"], ["--verify", "yes"]])
def test_mistakes_are_reported_in_one_line(argv, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as error:
        store_command.main(argv)
    assert len(str(error.value).splitlines()) == 1

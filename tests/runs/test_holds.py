"""Stages of a run stay held wherever its directory is moved, and a copy holds its own."""

import shutil

import pytest

from pretrain.config.fields import ConfigError
from pretrain.runs import holds, inventory, run_files
from tests.runs.test_run_directories import launch, stage_ids


@pytest.fixture
def root(tmp_path):
    """A store, in which a run of experiment a in ``run`` has put stages."""
    root = tmp_path / "store"
    (root / "packs").mkdir(parents=True)
    launch(tmp_path / "run", root, "a")
    return root


def held(root):
    notes, faults = holds.holds(root)
    assert faults == []
    return {hold.run_dir.name: (set(hold.stages), hold.is_there) for hold in notes}


A, B = set(stage_ids("a")), set(stage_ids("b"))


def test_a_run_holds_both_experiments_until_the_second_has_taken_its_place(root, tmp_path):
    with run_files.occupied(tmp_path / "run"), holds.held(root, tmp_path / "run", B):
        assert held(root) == {"run": (A | B, True)}
    assert held(root) == {"run": (B, True)}


def test_a_run_that_fails_leaves_the_files_before_held(root, tmp_path):
    with pytest.raises(RuntimeError), holds.held(root, tmp_path / "run", B):
        raise RuntimeError
    assert held(root) == {"run": (A | B, True)}


def test_a_moved_directory_holds_its_stages_and_is_noted_where_it_is_met(root, tmp_path):
    (tmp_path / "run").rename(tmp_path / "away")
    assert held(root) == {"run": (A, False)}
    holds.note_place(root, tmp_path / "away")
    assert held(root) == {"away": (A, True)}


def test_a_copy_holds_its_own_even_if_it_is_met_after_the_original_was_moved(root, tmp_path):
    shutil.copytree(tmp_path / "run", tmp_path / "copy")
    (tmp_path / "run").rename(tmp_path / "away")
    launch(tmp_path / "copy", root, "b")
    assert held(root) == {"run": (A, False), "copy": (B, True)}
    holds.note_place(root, tmp_path / "away")
    assert held(root) == {"away": (A, True), "copy": (B, True)}


def test_a_copy_in_the_place_of_the_original_holds_its_own(root, tmp_path):
    (tmp_path / "run").rename(tmp_path / "away")
    shutil.copytree(tmp_path / "away", tmp_path / "run")
    launch(tmp_path / "run", root, "b")
    holds.note_place(root, tmp_path / "away")
    assert held(root) == {"away": (A, True), "run": (B, True)}


def test_a_copy_that_takes_the_inode_of_what_was_deleted_holds_its_own(root, tmp_path):
    """As after a move from disk to disk and back, which the store has not met."""
    shutil.copytree(tmp_path / "run", tmp_path / "away")
    file = tmp_path / "run" / ".run.json"
    before = file.stat()
    file.write_bytes(file.read_bytes())
    assert file.stat().st_ino == before.st_ino and file.stat().st_ctime_ns > before.st_ctime_ns
    launch(tmp_path / "run", root, "b")
    assert set().union(*(hold.stages for hold in holds.holds(root)[0])) == A | B
    holds.note_place(root, tmp_path / "away")
    assert held(root)["away"] == (A, True)


def test_a_directory_that_is_met_where_it_was_is_not_noted_again(root, tmp_path):
    (note,) = (root / "runs").iterdir()
    before = note.stat().st_ino
    holds.note_place(root, tmp_path / "run")
    assert note.stat().st_ino == before and list((root / "runs").iterdir()) == [note]


@pytest.mark.parametrize("gone", ["note", "id", "damaged note", "damaged id"])
def test_a_note_or_an_id_that_is_lost_is_made_again_from_the_tables(gone, root, tmp_path):
    (note,) = (root / "runs").iterdir()
    victim = note if "note" in gone else tmp_path / "run" / ".run.json"
    victim.write_bytes(victim.read_bytes()[:-1]) if "damaged" in gone else victim.unlink()
    holds.note_place(root, tmp_path / "run")
    assert (A, True) in [(set(hold.stages), hold.is_there) for hold in holds.holds(root)[0]]


def test_every_bit_of_a_note_counts(root):
    (note,) = (root / "runs").iterdir()
    whole = note.read_bytes()
    for place in range(len(whole)):
        note.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert holds.holds(root)[0] == [] and len(holds.holds(root)[1]) == 1


def test_a_flipped_bit_of_an_id_releases_nothing(root, tmp_path):
    """Neither prune, nor whoever forgets the directory by mistake, takes the stages of tables that stand there."""
    file, (note,) = tmp_path / "run" / ".run.json", (root / "runs").iterdir()
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert held(root) == {"run": (A, True)}
        with pytest.raises(ConfigError, match="is still there"):
            holds.forget(root, [str(tmp_path / "run")])
        assert inventory.prune(root) == ([], []), place
    launch(tmp_path / "run", root, "b")  # which gives the directory another id
    assert {name for hold in holds.holds(root)[0] for name in hold.stages} == A | B and note.exists()
    holds.note_place(root, tmp_path / "run")
    assert [(hold.is_there, set(hold.stages)) for hold in holds.holds(root)[0] if hold.note != note] == [(True, B)]


def test_a_store_that_is_gone_is_not_made_by_meeting_a_run(root, tmp_path):
    shutil.rmtree(root)
    holds.note_place(root, tmp_path / "run")
    assert not root.exists()


def test_a_store_that_cannot_be_written_costs_nothing(root, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "run").rename(tmp_path / "away")
    monkeypatch.setattr(holds.manifests, "write", refuse)
    holds.note_place(root, tmp_path / "away")
    assert held(root) == {"run": (A, False)}


def test_a_run_is_forgotten_where_its_directory_was_and_one_that_is_there_is_not(root, tmp_path):
    with pytest.raises(ConfigError, match="is still there"):
        holds.forget(root, [str(tmp_path / "run")])
    (tmp_path / "run").rename(tmp_path / "away")
    launch(tmp_path / "run", root, "b")
    holds.forget(root, [str(tmp_path / "run")])
    assert held(root) == {"run": (B, True)}
    with pytest.raises(ConfigError, match="none of the runs"):
        holds.forget(root, ["run"])

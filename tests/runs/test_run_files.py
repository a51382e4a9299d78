"""The files of a run are of one experiment, whatever is killed and when; what is damaged is named."""

import contextlib
import itertools
import json
import random
import shutil
import threading

import pytest

from pretrain.config.fields import ConfigError
from pretrain.runs import run_files
from pretrain.store import lock, manifests
from pretrain.store.manifests import DamageError
from tests.runs.dying import killed_at

OLD = {"trials.parquet": b"old", "figures/a.svg": b"old", "figures/old.svg": b"old", "events/one/x": b"old"}
NEW = {
    "trials.parquet": b"new",
    "figures/a.svg": b"new",
    "figures/new.svg": b"new",
    "tables/a.tex": b"new",
    "z": b"new",
}
MINE = {"figures/mine.svg": b"mine", "notes.txt": b"mine"}


def put(run_dir, files, keep=None):
    """Writes files as those of a run, whose experiment's id is the content of the first."""
    with run_files.occupied(run_dir), run_files.draft(run_dir) as draft:
        for name, content in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_bytes(content)
        run_files.commit(draft, next(iter(files.values())).decode(), "2 x cpu", keep)


def loaded(run_dir):
    return run_files.read(run_dir, lambda files: {name: files.read(name) for name in files.checksums})


def on_disk(run_dir):
    """All files of a directory but its lock, its manifest and the user's."""
    found = {file.relative_to(run_dir).as_posix(): file for file in run_dir.rglob("*") if file.is_file()}
    return {name: file.read_bytes() for name, file in found.items() if name not in {".lock", "manifest.json", *MINE}}


@pytest.fixture
def run(tmp_path):
    put(tmp_path / "run", OLD)
    for name, content in MINE.items():
        (tmp_path / "run" / name).write_bytes(content)
    return tmp_path / "run"


def test_new_files_take_the_place_of_the_old_and_leave_the_users_alone(run):
    assert loaded(run) == on_disk(run) == OLD
    put(run, NEW)
    assert loaded(run) == on_disk(run) == NEW
    assert all((run / name).read_bytes() == content for name, content in MINE.items())
    assert not (run / "events").exists() and not list(run.glob(".draft*")) and not list(run.glob(".complete*"))


def test_files_may_stay_beside_new_ones(run):
    keep = {name: checksum for name, checksum in run_files.opened(run).checksums.items() if "figures" not in name}
    put(run, {"figures/new.svg": b"new"}, keep)
    kept = {"trials.parquet": b"old", "events/one/x": b"old", "figures/new.svg": b"new"}
    assert loaded(run) == on_disk(run) == kept


def test_a_kill_at_any_change_leaves_the_old_files_or_the_new_ones(run, tmp_path):
    seen = []
    for n in itertools.count():
        copy = shutil.copytree(run, tmp_path / f"killed-{n}")
        done = False
        with killed_at(n) as made:
            put(copy, NEW)
            done = True
        # Whoever reads next finishes the moves, and may be killed in turn.
        for again in itertools.count():
            through = shutil.copytree(copy, tmp_path / f"killed-{n}-{again}")
            with killed_at(again) as then:
                loaded(through)
            assert loaded(through) == {key: value for key, value in on_disk(through).items() if key[0] != "."}
            shutil.rmtree(through)
            if len(then) < again:
                break
        found = loaded(copy)
        assert found in (OLD, NEW)
        seen.append(found == NEW)
        assert all((copy / name).read_bytes() == content for name, content in MINE.items())
        put(copy, NEW)
        assert loaded(copy) == on_disk(copy) == NEW
        if done:
            break
    assert seen == sorted(seen) and len(made) > 15 and not seen[0] and seen[-1]


def test_a_directory_that_cannot_be_written_is_read_through_what_is_committed(run, monkeypatch):
    for n in itertools.count():
        with killed_at(n):
            put(run, NEW)
        if (run / ".complete").exists():
            break

    def refuse(run_dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(lock, "held", refuse)
    assert loaded(run) == NEW and (run / ".complete" / "manifest.json").exists()
    assert (run / "trials.parquet").read_bytes() == b"old"
    monkeypatch.undo()
    assert loaded(run) == NEW == on_disk(run)


def test_readers_see_one_experiment_while_another_takes_its_place(run):
    seen, stop = set(), threading.Event()

    def read():
        while not stop.is_set():
            found = loaded(run)
            assert found in (OLD, NEW)
            seen.add(found == NEW)

    faults = []
    threads = [threading.Thread(target=lambda: faults.append(_raised(read))) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for turn in range(4000):
            if turn >= 40 and len(seen) == 2:
                break
            with contextlib.suppress(ConfigError):  # a reader holds the lock for a moment
                put(run, OLD if turn % 2 else NEW)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert faults == [None, None] and seen == {True, False}


def _raised(function):
    try:
        function()
    except BaseException as error:
        return error


def damages(content, random):
    """Content cut, doubled, emptied and with a bit flipped."""
    place, bit = random.randrange(len(content)), 1 << random.randrange(8)
    flipped = content[:place] + bytes([content[place] ^ bit]) + content[place + 1 :]
    return [content[: len(content) // 2], content * 2, b"", flipped]


@pytest.mark.parametrize("name", [*sorted(OLD), "manifest.json"])
def test_every_damage_is_named_with_the_remedy(name, run):
    file = run / name
    whole = file.read_bytes()
    for content in damages(whole, random.Random(1)):
        file.write_bytes(content)
        with pytest.raises(DamageError, match=f"^{file}: .*{run_files.REMEDY}$") as caught:
            loaded(run)
        assert "\n" not in str(caught.value)
        reported = []
        assert run_files.sound(run, reported.append) is None
        assert [line.partition(": ")[0] for line in reported] == [str(file)] and reported[0].endswith(
            "it is made again"
        )
    file.unlink()
    with pytest.raises(DamageError, match=f"^{file}: missing"):
        loaded(run)


def test_every_bit_of_a_manifest_counts(run):
    file = run / "manifest.json"
    whole = file.read_bytes()
    for place in range(len(whole)):
        file.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        with pytest.raises(DamageError):
            run_files.opened(run)


def test_damage_to_what_is_committed_is_named_and_the_next_run_goes_on_from_what_is_in_place(run):
    with killed_at(0):
        put(run, NEW)
    put(run.parent / "other", NEW)
    shutil.copytree(run.parent / "other", run / ".complete")
    (run / ".complete" / "manifest.json").write_text("{")
    with pytest.raises(DamageError, match=r"\.complete/manifest\.json: damaged"):
        loaded(run)
    with run_files.occupied(run):
        assert loaded(run) == OLD


def test_a_manifest_of_another_version_is_named(run):
    content = manifests.read(run / "manifest.json")
    manifests.write(run / "manifest.json", {**content, "format": 2})
    with pytest.raises(DamageError, match="or of another version"):
        run_files.opened(run)
    assert json.loads((run / "manifest.json").read_text())["format"] == 2


def test_a_directory_is_occupied_by_one_at_a_time(run):
    with run_files.occupied(run), pytest.raises(ConfigError, match="is in use by process"), run_files.occupied(run):
        pass

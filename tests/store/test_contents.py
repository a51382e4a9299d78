"""Packs that somebody sealed again around other content are named and run again; a store's places are its own."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.config.digests import sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.data.files import read_npz
from pretrain.runs import inventory
from pretrain.store import manifests
from pretrain.store import store as stored
from pretrain.store.store import Store
from tests.launching import call
from tests.store.test_store import copy, ids_of, outcome, pack, saved  # noqa: F401 (fixtures)


def sealed(path, **changes):
    """Seals a pack as its files are, with changes of its manifest; None takes an entry out."""
    content = {**manifests.read(path / manifests.NAME), **changes}
    content["files"] = changes.get("files") or {name: sha256_of_file(path / name) for name in content["files"]}
    manifests.write(path / manifests.NAME, {name: value for name, value in content.items() if value is not None})


def rewritten(name, change):
    def rewrite(path):
        file = path / name
        change(file)
        sealed(path)

    return rewrite


def of_records(change):
    return rewritten("records.json", lambda file: file.write_text(json.dumps(change(json.loads(file.read_text())))))


def of_curves(change):
    return rewritten("curves.parquet", lambda file: pq.write_table(change(pq.read_table(file)), file))


FALSE = {
    "fewer records": of_records(lambda records: records[:-1]),
    "no records": of_records(lambda records: None),
    "other records": of_records(lambda records: [{"x": 1}] * len(records)),
    "records of numbers": of_records(lambda records: [1] * len(records)),
    "other curves": of_curves(lambda table: pa.table({"x": [1]})),
    "fewer curves": of_curves(lambda table: table.slice(0, 3)),
    "curves of other columns": of_curves(lambda table: table.rename_columns(["a", "b", "c"])),
    "no curves": rewritten("curves.parquet", lambda file: file.write_bytes(b"")),
    "fewer stages": lambda path: sealed(path, stages=["a" * 64]),
    "no stages": lambda path: sealed(path, stages=None),
    "stages of numbers": lambda path: sealed(path, stages=[1], settings=[1], programs=[1], parents=[1]),
    "no kind": lambda path: sealed(path, kind=None),
    "no files": lambda path: sealed(path, files={"x": "0" * 64}),
    "no versions": lambda path: sealed(path, versions=3),
}


@pytest.mark.parametrize("case", FALSE)
def test_a_pack_sealed_around_other_content_is_named_and_moved_aside(case, copy, pack):  # noqa: F811
    (path,) = (copy / "packs").iterdir()
    FALSE[case](path)
    assert any(entry.fault for entry in inventory.entries(copy, verify=True))
    lines = []
    store = Store(copy, lines.append)
    assert store.verified(ids_of(pack)) == set()
    assert len(lines) == 1 and "\n" not in lines[0] and str(path) in lines[0]
    assert not list((copy / "packs").iterdir())


def test_predictions_of_other_stages_are_named(copy, pack):  # noqa: F811
    (path,) = (copy / "packs").iterdir()
    np.savez(path / "predictions.npz", test_scores=np.zeros((len(pack.jobs) + 1, 4)))
    sealed(path, files={name: sha256_of_file(path / name) for name in (*_files(path), "predictions.npz")})
    lines = []
    assert Store(copy, lines.append).verified(ids_of(pack)) == set()
    assert "predictions.npz: is not of the" in lines[0]
    assert read_npz(next((copy / "damaged").glob("*/predictions.npz")))


def _files(path):
    return manifests.read(path / manifests.NAME)["files"]


@pytest.mark.parametrize("name", stored._PLACES)
def test_places_of_a_store_hold_directories(name, tmp_path):
    stored.check(tmp_path)
    (tmp_path / name).write_text("")
    with pytest.raises(ConfigError, match=f"has a {name} that is no directory"):
        stored.check(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to(tmp_path / "none")
    with pytest.raises(ConfigError, match=f"has a {name} that is no directory"):
        stored.check(tmp_path)


@pytest.mark.parametrize("name", [".draft", ".complete"])
@pytest.mark.parametrize("kind", ["file", "link to a directory", "link to nothing", "pipe"])
def test_drafts_of_a_run_are_no_links_or_files(name, kind, site, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir()
    other.mkdir()
    (other / "file").write_text("somebody's")
    match kind:
        case "file":
            (run / name).write_text("")
        case "pipe":
            os.mkfifo(run / name)
        case _:
            (run / name).symlink_to(other if kind.endswith("directory") else tmp_path / "none")
    for argv in (site.argv("--run-dir", run, "--store", tmp_path / "store"), ["table", run], ["report", run]):
        done = call(argv, tmp_path)
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        assert f"has a {name} that is a link or no directory" in done.stderr
    assert (other / "file").read_text() == "somebody's" and not (tmp_path / "store").exists()
    assert [path.name for path in run.iterdir()] == [name]


def test_a_pipe_in_the_place_of_a_manifest_is_not_waited_for(copy, pack):  # noqa: F811
    (path,) = (copy / "packs").iterdir()
    (path / manifests.NAME).unlink()
    os.mkfifo(path / manifests.NAME)
    lines = []
    assert Store(copy, lines.append).verified(ids_of(pack)) == set()
    assert len(lines) == 1

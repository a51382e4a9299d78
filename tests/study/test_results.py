"""Finished runs are read back whole, and what is missing, damaged or hostile in one is named."""

import pickle
import shutil

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pretrain
from pretrain.config.digests import sha256_of_file
from pretrain.config.fields import ConfigError
from pretrain.runs.run_files import REMEDY
from pretrain.store import manifests
from pretrain.store.manifests import DamageError
from tests.launching import N_STAGES, N_TRIALS, TABLES, call


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def sealed(path):
    """Makes the manifest that of the files as they are, as whoever forges a run's directory would."""
    file = path / manifests.NAME
    content = manifests.read(file)
    manifests.write(file, {**content, "files": {name: sha256_of_file(path / name) for name in content["files"]}})


def test_a_run_is_read_with_all_its_tables(run):
    loaded = pretrain.load_run(run)
    assert loaded.experiment.seeds == 2 and loaded.experiment.run_dir == str(run)
    assert (len(loaded.trials), len(loaded.timings)) == (N_TRIALS, N_STAGES)
    assert len(loaded.stages) == N_TRIALS + 2 * N_TRIALS // 2  # two phases before every second fine-tuning
    for name in TABLES:
        assert getattr(loaded, name.removesuffix(".parquet")).equals(pq.read_table(run / name))
    frame = loaded.trials.to_pandas()
    assert list(frame["test_accuracy"]) == loaded.trials["test_accuracy"].to_pylist()


def test_parameters_of_every_stage_are_read_by_the_trial_and_the_stage(run):
    stages = pretrain.load_run(run).stages.to_pylist()
    trial = stages[0]["trial_id"]
    first, whole = (pretrain.load_params(run, trial, stage) for stage in ("pretrain/0", "finetune"))
    assert jax.tree.map(np.shape, first["encoder"]) == {"layers_0": {"bias": (12,), "kernel": (36, 12)}}
    assert sorted(whole["encoder"]) == ["layers_0", "layers_1"]
    # Both of its layers are frozen in this trial, so the first is as its phase left it.
    jax.tree.map(np.testing.assert_array_equal, first["encoder"]["layers_0"], whole["encoder"]["layers_0"])
    again = pretrain.load_params(str(run), trial[:12])
    jax.tree.map(np.testing.assert_array_equal, whole, again)


@pytest.mark.parametrize(
    ("trial", "stage", "field"),
    [
        ("", "finetune", "trial_id: ''"),
        ("zz", "finetune", "trial_id: 'zz'"),
        (None, "pretrain/2", "stage: 'pretrain/2'"),
        (None, "", "stage: ''"),
    ],
)
def test_a_trial_or_a_stage_that_is_not_there_is_named(trial, stage, field, run):
    trial = trial if trial is not None else pretrain.load_run(run).trials["trial_id"][0].as_py()
    with pytest.raises(ConfigError, match=f"^{field}"):
        pretrain.load_params(run, trial, stage)


def test_a_store_that_is_gone_or_damaged_is_named_and_left_as_it_is(run, tmp_path):
    experiment = pretrain.load_run(run).experiment
    trial = pretrain.load_run(run).trials["trial_id"][0].as_py()
    with pytest.raises(ConfigError, match=f"^store: '{tmp_path}/none' cannot give finetune of trial {trial}"):
        pretrain.load_params(run, trial, store=tmp_path / "none")
    assert not (tmp_path / "none").exists()
    store = shutil.copytree(experiment.store, tmp_path / "store", ignore=shutil.ignore_patterns("programs"))
    files = [file for file in (store / "packs").rglob("*") if file.is_file() and "params" in file.parts]
    for file in files:
        file.write_bytes(file.read_bytes()[:-1])
    before = {path: path.stat().st_mtime_ns for path in store.rglob("*")}
    with pytest.raises(ConfigError, match="checksum"):
        pretrain.load_params(run, trial, store=store)
    assert {path: path.stat().st_mtime_ns for path in store.rglob("*")} == before


@pytest.mark.parametrize("name", sorted({*TABLES, "experiment.json"}))
@pytest.mark.parametrize("content", [None, b"", b"\0\xff garbage", "cut"])
def test_every_missing_or_damaged_file_is_named(name, content, copy):
    file = copy / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-20] if content == "cut" else content)
    with pytest.raises(DamageError) as caught:
        pretrain.load_run(copy)
    assert "\n" not in str(caught.value)
    reason = "missing" if content is None else "fails its checksum"
    assert str(caught.value) == f"{file}: {reason}; {REMEDY}"


class Bomb:
    """Leaves a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_nothing_in_a_run_directory_is_executed(copy, tmp_path):
    """A table may carry a pickle as Arrow's extension type or as metadata: neither is unpickled."""
    proof = tmp_path / "executed"
    bomb = pickle.dumps(Bomb(proof))
    trials = pq.read_table(copy / "trials.parquet")
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": bomb}
    schema = pa.schema([field.with_metadata(metadata) for field in trials.schema], {b"pandas": bomb})
    pq.write_table(pa.table(trials.columns, schema=schema), copy / "trials.parquet")
    sealed(copy)
    pretrain.load_run(copy).trials.to_pylist()
    assert not proof.exists()
    for name in TABLES:
        (copy / name).write_bytes(bomb)
    sealed(copy)
    with pytest.raises(DamageError, match=r"\.parquet: cannot be read"):
        pretrain.load_run(copy)
    assert not proof.exists()


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 100_000,
        "null",
        "[]",
        '{"seeds": 1e400}',
        '{"seeds": NaN}',
        '{"__class__": "os.system", "seeds": 3}',
        '{"py/object": "os.system"}',
        '{"data": {"name": "!!python/object/apply:os.system [true]", "dir": 3}}',
    ],
    ids=lambda text: text[:20],
)
def test_no_json_is_more_than_data(text, copy):
    (copy / "experiment.json").write_text(text)
    sealed(copy)
    with pytest.raises(ConfigError) as caught:
        pretrain.load_run(copy)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000


def test_a_hostile_table_of_stages_reads_nothing_outside_the_store(copy, tmp_path):
    stages = pq.read_table(copy / "stages.parquet").to_pylist()
    hostile = [{**row, "stage_id": "../../../../etc/passwd"} for row in stages]
    pq.write_table(pa.Table.from_pylist(hostile), copy / "stages.parquet")
    timing = pq.read_table(copy / "timings.parquet").to_pylist()[0]
    pq.write_table(pa.Table.from_pylist([{**timing, "stage_id": hostile[0]["stage_id"]}]), copy / "timings.parquet")
    sealed(copy)
    with pytest.raises(ConfigError, match="has no such stage"):
        pretrain.load_params(copy, stages[0]["trial_id"])


def test_a_table_without_its_columns_is_named(copy):
    pq.write_table(pa.table({"x": [1]}), copy / "stages.parquet")
    sealed(copy)
    with pytest.raises(DamageError, match=r"stages\.parquet: has no column trial_id"):
        pretrain.load_run(copy)


@pytest.mark.parametrize("column", ["test_accuracy", "validation_accuracy"])
def test_a_report_of_trials_without_results_is_refused_in_one_line(column, copy, tmp_path):
    table = pq.read_table(copy / "trials.parquet").drop_columns([column])
    pq.write_table(table, copy / "trials.parquet")
    sealed(copy)
    done = call(["report", copy], tmp_path)
    reported = f"{copy / 'trials.parquet'}: has no column {column}; {REMEDY}\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", reported)


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "figures/../../outside", "manifest.json", ""])
def test_a_manifest_names_no_file_outside_of_its_directory(name, copy):
    content = manifests.read(copy / manifests.NAME)
    manifests.write(copy / manifests.NAME, {**content, "files": {**content["files"], name: "0" * 64}})
    with pytest.raises(DamageError, match=r"manifest\.json: damaged"):
        pretrain.load_run(copy)


def test_a_directory_without_a_finished_run_is_named(tmp_path):
    for path, state in ((tmp_path, "is no finished run"), (tmp_path / "none", "is no directory")):
        with pytest.raises(ConfigError, match=f"^run: '{path}' {state}"):
            pretrain.load_run(path)
    assert list(tmp_path.iterdir()) == []

"""Manifests sealed again around tables that no run wrote: refused in a line, by every command that reads them."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.runs import run_files
from pretrain.study import results
from pretrain.study.code import code as code_here
from tests.launching import call
from tests.study.test_results import sealed

TABLES = ("trials", "curves", "stages", "timings")


def nulled(table, name):
    return table.set_column(table.column_names.index(name), name, pa.nulls(len(table), table.schema.field(name).type))


def retyped(table, name):
    values = [str(value) for value in table[name].to_pylist()]
    if pa.types.is_string(table.schema.field(name).type) or pa.types.is_dictionary(table.schema.field(name).type):
        values = list(range(len(table)))
    return table.set_column(table.column_names.index(name), name, pa.array(values))


def renamed(table, name):
    values = pa.array([f"{value}x" for value in table[name].to_pylist()])
    return table.set_column(table.column_names.index(name), name, values)


FALSE = {
    "empty": lambda table: table.slice(0, 0),
    "half": lambda table: table.slice(0, len(table) // 2),
    "twice": lambda table: pa.concat_tables([table, table]),
    "another": lambda table: pa.table({"x": [1]}),
    "no columns": lambda table: table.select([]),
    "nulls": lambda table: nulled(table, table.column_names[-1]),
    "no first": lambda table: nulled(table, table.column_names[0]),
    "texts": lambda table: retyped(table, table.column_names[-1]),
    "numbers": lambda table: retyped(table, table.column_names[0]),
    "others": lambda table: renamed(table, table.column_names[0]),
    "columns twice": lambda table: table.append_column(table.column_names[0], table.column(0)),
    "structs": lambda table: pa.table({name: pa.array([{"a": 1}] * len(table)) for name in table.column_names}),
}
OF_TRIALS = {
    "status": lambda table: renamed(table, "status"),
    "a field is gone": lambda table: table.drop_columns(["finetune.encoder_init"]),
    "a field of nothing": lambda table: nulled(table, "finetune.encoder_init"),
    "a field of texts": lambda table: retyped(table, "finetune.frozen_layers"),
    "no results": lambda table: nulled(nulled(table, "test_accuracy"), "validation_accuracy"),
    "seeds": lambda table: table.set_column(1, "seed", pa.array([-1] * len(table))),
    "one seed": lambda table: table.set_column(1, "seed", pa.array([0] * len(table))),
    "large seeds": lambda table: table.set_column(1, "seed", pa.array([2**62 + n for n in range(len(table))])),
}
CASES = [(name, change) for name in TABLES for change in FALSE] + [("trials", change) for change in OF_TRIALS]


@pytest.mark.parametrize(("name", "change"), CASES)
def test_false_tables_are_refused_or_reported_without_a_traceback(name, change, run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    table = pq.read_table(copy / f"{name}.parquet")
    made = {**FALSE, **OF_TRIALS}[change](table)
    pq.write_table(made, copy / f"{name}.parquet")
    sealed(copy)
    before = sorted(path.name for path in copy.iterdir())
    for command in ("table", "report"):
        done = call([command, copy], tmp_path)
        assert "Traceback" not in done.stderr and done.returncode in (0, 1, 2), done.stderr
        if done.returncode:
            assert done.stderr.count("\n") == 1 and str(copy) in done.stderr
            assert sorted(path.name for path in copy.iterdir()) == before
    if change in FALSE and change not in ("half", "texts", "nulls"):
        assert done.returncode == 1


def changed(run, name, change):
    """A copy of a run's file as another version writes it."""
    content = json.loads((run / name).read_text())
    change(content)
    (run / name).write_text(json.dumps(content))
    sealed(run)


def test_a_run_of_another_method_says_so_and_shows_its_table(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    shown = call(["table", copy], tmp_path)
    changed(copy, "experiment.json", lambda content: content["pretrain"]["method"].update(kind="of tomorrow"))
    before = {path.name for path in copy.iterdir()}
    for command, code in (("table", 0), ("report", 1)):
        done = call([command, copy], tmp_path)
        assert (done.returncode, done.stdout) == (code, shown.stdout)
        assert "was made by another version of this code (pretrain.method" in done.stderr
        assert done.stderr.count("\n") == 1
    assert {path.name for path in copy.iterdir()} == before


def test_a_run_of_other_packages_says_so(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    changed(copy, "answer.json", lambda content: content["versions"].update(jax="0.1.0"))
    for command in ("table", "report"):
        done = call([command, copy], tmp_path)
        assert done.returncode == 0 and done.stdout
        assert "made by other versions (jax 0.1.0, now " in done.stderr and done.stderr.count("\n") == 1
    changed(copy, "answer.json", lambda content: content["versions"].update(commit="f" * 40))
    said = results.other_versions(run_files.opened(copy))
    assert ("(commit ffffffffff, now " in said) == (code_here()["commit"] is not None)
    changed(copy, "answer.json", lambda content: content["versions"].update(commit=None))
    assert "commit" not in results.other_versions(run_files.opened(copy))

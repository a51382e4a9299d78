"""``launch.py compare``: what differs between runs, and whether it makes a difference."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pretrain.config import from_json, to_json
from pretrain.runs import run_files
from pretrain.study.results import load_run
from tests.launching import call, refused


@pytest.fixture
def other(run, tmp_path):
    """A run like the first, but of other epochs, whose pretrained arms are two points worse, seed by seed."""
    path = tmp_path / "other"
    shutil.copytree(run, path)
    before = load_run(path)
    rows = before.trials.to_pylist()
    for row in rows:
        if row["finetune.encoder_init"] == "pretrained":
            row["trial_id"] = row["trial_id"][::-1]
            row["test_accuracy"] -= 0.02
    files = run_files.opened(path)
    ids = dict(zip(before.trials["trial_id"].to_pylist(), (row["trial_id"] for row in rows), strict=True))
    with run_files.occupied(path), run_files.draft(path) as draft:
        pq.write_table(pa.Table.from_pylist(rows, before.trials.schema), draft / "trials.parquet")
        for name in ("curves", "stages", "classes"):
            if f"{name}.parquet" in files.checksums:
                table = pq.read_table(path / f"{name}.parquet")
                renamed = pa.array([ids[each] for each in table["trial_id"].to_pylist()])
                place = table.column_names.index("trial_id")
                pq.write_table(table.set_column(place, "trial_id", renamed), draft / f"{name}.parquet")
        experiment = json.loads(to_json(before.experiment))
        experiment["pretrain"]["epochs"] += 1
        (draft / "experiment.json").write_text(to_json(from_json(json.dumps(experiment))))
        kept = {name: each for name, each in files.checksums.items() if not (draft / name).exists()}
        run_files.commit(draft, run_files.experiment_id(row["trial_id"] for row in rows), files.devices, kept)
    return path


def test_fields_that_differ_are_listed_and_arms_are_compared(run, other, tmp_path):
    done = call(["compare", run, other, "--out", "judged"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"^pretrain.epochs +1 +2 *$", done.stdout, re.M)
    assert "2 arms are the same trials in all runs." in done.stdout
    (answer,) = (json.loads((tmp_path / "judged" / "answer.json").read_text()),)
    means = [each["difference"]["mean"] for each in answer["comparisons"]]
    np.testing.assert_allclose(means, [-0.02, -0.02])
    assert (tmp_path / "judged" / "report.html").stat().st_size > 1000


def test_a_copy_of_a_run_is_the_same_trials(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    done = call(["compare", run, "copy"], tmp_path)
    assert done.returncode == 0 and "differ in no field" in done.stdout
    assert "4 arms are the same trials in all runs." in done.stdout and "instead of" not in done.stdout


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["RUN"], "are not several different ones"),
        (["RUN", "RUN"], "are not several different ones"),
        (["RUN", "absent"], "run: 'absent' is no directory"),
        (["RUN", "OTHER", "--metric", "r2"], "metric: 'r2'"),
        (["RUN", "OTHER", "--metric", "nonsense"], "metric: 'nonsense'"),
    ],
)
def test_mistakes_are_one_line(run, other, tmp_path, argv, line):
    named = {"RUN": run, "OTHER": other}
    refused(call(["compare", *(named.get(word, word) for word in argv)], tmp_path), line)

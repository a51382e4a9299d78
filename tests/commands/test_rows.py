"""``launch.py encode`` and ``launch.py predict``: rows of a file by a network of a run."""

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from pretrain.study.results import load_run
from tests.launching import call, refused


@pytest.fixture(scope="module")
def images(tiny_arrays, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "rows.npy"
    np.save(path, tiny_arrays["test_images"])
    return path


def test_test_rows_are_predicted_as_the_run_measured_them(run, images, tmp_path):
    for trial in load_run(run).trials.to_pylist()[:2]:
        done = call(["predict", run, images, "--arm", trial["trial_id"], "--out", "p.parquet"], tmp_path)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        table = pq.read_table(tmp_path / "p.parquet")
        model = load_run(run).model(trial["trial_id"])
        assert table["prediction"].type == pa.int64()  # as the targets were integers
        assert table["prediction"].to_pylist() == model.predict(np.load(images)).tolist()
        shares = np.stack([table[f"probability_{name}"].to_numpy() for name in model.classes], axis=1)
        np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-6)
        np.testing.assert_array_equal(shares, model.predict_proba(np.load(images)))


def test_codes_are_written_in_every_format(run, images, tmp_path):
    wanted = load_run(run).model(seed=1).encode(np.load(images))
    for name in ("c.parquet", "c.csv", "c.npy"):
        done = call(["encode", run, images, "--seed", "1", "--out", name], tmp_path)
        assert done.returncode == 0 and done.stdout.endswith(f"{tmp_path / name}\n"), done.stderr
    np.testing.assert_array_equal(np.load(tmp_path / "c.npy"), wanted)
    for table in (pq.read_table(tmp_path / "c.parquet"), pyarrow.csv.read_csv(tmp_path / "c.csv")):
        assert table["row"].to_pylist() == list(range(len(wanted)))
        codes = np.stack([table[f"code_{place}"].to_numpy() for place in range(wanted.shape[1])], axis=1)
        np.testing.assert_array_equal(codes.astype(np.float32), wanted)
    first = call(["encode", run, images, "--layers", "1", "--out", "c.npy"], tmp_path)
    assert first.returncode == 0 and np.load(tmp_path / "c.npy").shape[1] != wanted.shape[1]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["predict", "RUN", "ROWS", "--out", "p.txt"], "out: 'p.txt' is of no known kind; end it in one of"),
        (["predict", "RUN", "ROWS", "--out", "no/p.csv"], "out: 'no/p.csv' lies in no directory"),
        (["predict", "RUN", "absent.npy", "--out", "p.csv"], "rows: 'absent.npy' is no readable .npy file"),
        (["predict", "nowhere", "ROWS", "--out", "p.csv"], "run: 'nowhere' is no directory"),
        (["encode", "RUN", "ROWS", "--out", "p.csv", "--arm", "x"], "arm: 'x' is none of the run's arms"),
        (["encode", "RUN", "ROWS", "--out", "p.csv", "--layers", "9"], "layers: 9 is no number of its 2 layers"),
        (["encode", "RUN", "ROWS"], "arguments: "),
    ],
)
def test_mistakes_are_one_line_and_write_nothing(run, images, tmp_path, argv, line):
    named = {"RUN": run, "ROWS": images}
    done = call([named.get(word, word) for word in argv], tmp_path)
    refused(done, line)
    assert not list(tmp_path.glob("p*")) and not list(tmp_path.glob("c*"))

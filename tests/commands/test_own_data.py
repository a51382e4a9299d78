"""Launches on data of one's own, in process: a verdict from a table and from a pool, and mistakes in a line each."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain import data, load_inputs
from pretrain.commands.launch import main
from pretrain.data import inputs_file, tables
from tests.data import sources
from tests.launching import ROOT
from tests.undrawn import undrawn

BRIEF = [
    *("--encoder.layers", "8"),
    *("--seeds", "2"),
    *("--pretrain.epochs", "1"),
    *("--finetune.epochs", "1"),
    *("--finetune.frozen-layers", "0"),
]


@pytest.fixture
def launch(tmp_path, site, capfd):
    """A function that launches geron in this process; returns the exit code, what was printed, and the run."""

    def launch(*options, name="run"):
        (tmp_path / "store").mkdir(exist_ok=True)
        if not (tmp_path / "store" / "programs").exists():
            (tmp_path / "store" / "programs").symlink_to(site.programs)
        where = ["--run-dir", str(tmp_path / name), "--store", str(tmp_path / "store")]
        with undrawn():
            code = main(["geron", *BRIEF, *map(str, options), *where], configs=ROOT / "configs")
        return code, *capfd.readouterr(), tmp_path / name

    return launch


@pytest.mark.parametrize("form", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_table_leads_to_a_verdict(form, launch, tmp_path):
    write = {"csv": sources.write_csv, "parquet": sources.write_parquet}[form]
    path = write(sources.people(), tmp_path / f"people.{form}")
    code, out, err, run = launch("--data.name", path, "--data.target", "income")
    assert code == 0 and "Pretraining" in out
    for part in (
        "have no label; they pretrain only",
        "missing values of age",
        "data.validation: ",
        "finetune.labels: ",
    ):
        assert part in err
    assert (run / "report.html").is_file() and not (run / "samples.npz").exists()
    assert not list((run / "figures").glob("filters.*")) and not list((run / "figures").glob("reconstructions.*"))
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert len(trials) == 4 and all(row["status"] == "ok" for row in trials)
    kept = json.loads((run / "experiment.json").read_text())
    assert kept["data"]["validation"] != 5000 and kept["data"]["target"] == "income"
    (inputs, *_) = load_inputs(run)
    dataset = data.load(inputs.data)
    assert inputs.output_names == ("<=50K", ">50K") and inputs.scaling.columns[:2] == ("age", "hours")
    raw = tables.read(path, inputs.data).by_name["train_inputs"]
    known = {row.tobytes() for row in inputs.scaling.applied(raw)}
    assert all(row.tobytes() in known for row in dataset.test.inputs)


def test_floats_lead_to_the_results_of_bytes_without_training_again(launch, tmp_path):
    forms, made = sources.forms(), {}
    for name in ("uint8", "float01"):
        np.savez(tmp_path / f"{name}.npz", **forms[name])
        code, out, _, run = launch("--data.name", tmp_path / f"{name}.npz", "--data.validation", 50, name=name)
        assert code == 0
        made[name] = (run / "trials.parquet").read_bytes(), out
    assert made["uint8"][0] == made["float01"][0] and ", 0 of " in made["float01"][1]


def test_standardised_images_are_shown(launch, tmp_path):
    np.savez(tmp_path / "uint16.npz", **sources.forms()["uint16"])
    code, *_, run = launch("--data.name", tmp_path / "uint16.npz", "--data.validation", 50)
    assert code == 0
    with np.load(run / "samples.npz") as shown:
        assert shown["images"].shape == (10, 6, 6, 1) and 0 <= shown["images"].min() <= shown["images"].max() <= 1


def test_a_pool_is_swept_like_labels(launch, tmp_path):
    np.savez(tmp_path / "pool.npz", **sources.forms()["pool"])
    options = ["--data.name", tmp_path / "pool.npz", "--sweep", "data.unlabelled=0,300"]
    code, *_, run = launch(*options)
    assert code == 0
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    assert {row["data.unlabelled"] for row in trials} == {0, 300}
    baseline = {row["seed"]: row["test_accuracy"] for row in trials if row["finetune.encoder_init"] == "he"}
    for row in trials:
        if row["finetune.encoder_init"] == "he":  # which no unlabelled row can change
            assert row["test_accuracy"] == baseline[row["seed"]]


def test_counts_are_scaled_and_a_reconstruction_no_better_than_the_mean_is_flagged(launch, tmp_path):
    x, y = sources.word_counts()
    np.savez(tmp_path / "words.npz", X=x, y=y)
    code, out, err, run = launch("--data.name", tmp_path / "words.npz")
    assert code == 0 and "standardised" in err, err
    assert "reconstructs no better than the training inputs' mean" in out
    verdict = json.loads((run / "answer.json").read_text())["verdict"]  # begins with that
    assert "no better than the training inputs' mean" in verdict.partition(". ")[0]
    for row in pq.read_table(run / "trials.parquet").to_pylist():
        if row["finetune.encoder_init"] == "pretrained":
            assert row["pretrain_test_mse"] > 0.99 * row["pretrain_test_variance"] > 0.5  # of standardised counts
            assert row["pretrain_test_pca_mse"] < row["pretrain_test_variance"]


@pytest.mark.slow
def test_counts_themselves_stand_beside_their_codes(launch, tmp_path):
    x, y = sources.word_counts()
    np.savez(tmp_path / "words.npz", X=x, y=y)
    beside = ["--sweep", "finetune.encoder_init=pretrained,none", "--sweep", "finetune.readout=none,logistic"]
    where = ["--data.name", tmp_path / "words.npz", "--finetune.frozen-layers", "all"]
    code, _, err, run = launch(*where, *beside)
    assert code == 0, err
    found = {name: [] for name in ("pretrained", "none")}
    for row in pq.read_table(run / "trials.parquet").to_pylist():
        if row["finetune.readout"] == "logistic":
            found[row["finetune.encoder_init"]].append(row["test_accuracy"])
        assert (row["pretrain_test_mse"] is None) == (row["finetune.encoder_init"] == "none")
    assert min(found["none"]) > 0.95 > 0.8 > max(found["pretrained"])


def test_windows_of_a_series_are_a_regression_in_its_units(launch, tmp_path):
    x, y = sources.series()
    np.savez(tmp_path / "series.npz", x_train=x[:400], y_train=y[:400], x_test=x[400:], y_test=y[400:])
    code, out, err, run = launch("--data.name", tmp_path / "series.npz")
    assert code == 0 and "regression (data.task)" in err, err
    assert "R² " in out
    for row in pq.read_table(run / "trials.parquet").to_pylist():
        np.testing.assert_allclose(1 - row["test_rmse"] ** 2 / np.var(y[400:]), row["test_r2"], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("ragged", "images that differ in size"),
        ("channels_first", "[N, C, H, W]"),
        ("few_labels_uint8", "of 255, a class that no test row has"),
    ],
)
def test_a_mistake_in_a_file_is_one_line_and_nothing_is_written(name, part, launch, tmp_path):
    np.savez(tmp_path / f"{name}.npz", **sources.forms()[name])
    code, out, err, run = launch("--data.name", tmp_path / f"{name}.npz")
    assert (code, out) == (2, "") and err.count("\n") == 1 and part in err
    assert not run.exists()


def test_what_turns_rows_to_inputs_is_refused_where_it_is_damaged():
    for content in (b"", b"3", b"[{}]", b"{", b"\xff"):
        with pytest.raises(ValueError):
            inputs_file.read(content)


def test_data_without_a_config_ask_whether_pretraining_helps_them(tmp_path, site, capfd):
    path = sources.write_csv(sources.people(), tmp_path / "people.csv")
    where = ["--run-dir", str(tmp_path / "run"), "--store", str(tmp_path / "store")]
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "programs").symlink_to(site.programs)
    brief = ["--seeds", "2", "--pretrain.updates", "40", "--pretrain.validate-every", "2", "--finetune.updates", "20"]
    brief += ["--finetune.validate-every", "1", "--tune", "finetune.optimizer.learning_rate=0.001,0.01"]
    asked = ["--data.name", str(path), "--data.target", "income", "--encoder.layers", "6", "4", *brief, *where]
    with undrawn():
        assert main(asked, configs=ROOT / "configs") == 0
    out, err = capfd.readouterr()
    assert out.startswith("Pretraining ") and "each seed on a split of the data of its own" in " ".join(out.split())
    assert "learning_rate and frozen_layers out of 4 settings" in " ".join(out.split())
    for part in ("data.splits: fresh", "pretrain.method.corruption: masking", "finetune.labels: "):
        assert part in err
    assert "encoder.layers: " not in err  # which was chosen
    kept = json.loads((tmp_path / "run" / "experiment.json").read_text())
    assert kept["data"]["splits"] == "fresh" and kept["defaults"] == "data"
    trials = pq.read_table(tmp_path / "run" / "trials.parquet").to_pandas()
    raw = trials[trials["finetune.encoder_init"] == "none"]
    assert set(raw["finetune.readout"]) == {"logistic"} and raw["finetune.optimizer.learning_rate"].isna().all()
    found = json.loads((tmp_path / "run" / "answer.json").read_text())
    assert all(each["treatment"] == "pretrained" for each in found["comparisons"])  # raw inputs are not judged
    assert sum(not each["is_exploratory"] for each in found["comparisons"]) == 1
    stages = pq.read_table(tmp_path / "run" / "curves.parquet").to_pandas()
    of_pretraining = stages[stages.stage == "pretrain/0"].groupby("trial_id").step.max()
    assert of_pretraining.max() <= 40


def test_geron_is_the_question_without_data_and_keeps_its_protocol(tmp_path, capfd):
    path = sources.write_csv(sources.people(), tmp_path / "people.csv")
    data_options = ["--data.name", str(path), "--data.target", "income"]
    where = ["--run-dir", str(tmp_path / "run"), "--store", str(tmp_path / "store"), "--seeds", "1", "--dry-run"]
    with undrawn():
        assert main(["geron", *data_options, *where], configs=ROOT / "configs") == 0
        assert "fresh" not in capfd.readouterr().err
        assert main(where, configs=ROOT / "configs") == 0
        assert "2 layers frozen" in capfd.readouterr().out

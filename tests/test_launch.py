"""The whole program, from its command line to its files."""

import re
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
from sklearn.decomposition import PCA

from pretrain import data, running
from pretrain.config import from_json, to_json
from pretrain.report import words
from pretrain.runs import looks_file
from pretrain.store.store import Store
from pretrain.study import look_at_layer, looks, use
from pretrain.study.answer import answer
from pretrain.study.from_store import load_params
from pretrain.study.results import load_run
from tests.launching import (
    DETERMINISTIC,
    FILES,
    N_STAGES,
    N_TRIALS,
    ROOT,
    TABLES,
    call,
    contents,
    copied,
    execute,
    misjudge,
    n_run,
    refused,
    results,
)


def test_a_run_leaves_its_files_and_no_others(run):
    found = {name for name, content in contents(run).items() if content is not None}
    assert found == FILES
    assert (run / "figures" / "first_batches.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_trials_have_a_row_each_and_only_deterministic_columns(run):
    table = pq.read_table(run / "trials.parquet")
    assert table.column_names == [
        *("trial_id", "seed", "repeat", "finetune.encoder_init", "finetune.frozen_layers", "failed_stage"),
        *("status", "test_accuracy", "test_loss", "validation_accuracy", "validation_loss"),
        *("pretrain_validation_mse", "pretrain_test_mse", "finetune_updates"),
        *("constant_units", "pretrain_test_mean_mse", "pretrain_test_pca_mse", "pretrain_test_variance"),
        *("test_majority_rate", "test_accuracy_chance", "test_accuracy_chance_margin"),
    ]
    rows = table.to_pylist()
    points = [(row["finetune.encoder_init"], row["finetune.frozen_layers"], row["seed"]) for row in rows]
    assert points == [(init, frozen, seed) for init in ("pretrained", "he") for frozen in (2, 0) for seed in (0, 1)]
    assert len({row["trial_id"] for row in rows}) == N_TRIALS
    for row in rows:
        assert (row["status"], row["failed_stage"]) == ("ok", None)
        assert 0 <= row["constant_units"] < 1 and 0.3 < row["test_majority_rate"] < 0.7
        assert row["test_accuracy_chance"] == row["test_majority_rate"] and row["test_accuracy_chance_margin"] > 0.05
        assert row["test_accuracy"] * 64 == pytest.approx(round(row["test_accuracy"] * 64), abs=1e-4)
        assert row["validation_accuracy"] * 60 == pytest.approx(round(row["validation_accuracy"] * 60), abs=1e-4)
        assert row["test_loss"] > 0 and row["validation_loss"] > 0
        mses = row["pretrain_validation_mse"], row["pretrain_test_mse"]
        assert mses == (None, None) if row["finetune.encoder_init"] == "he" else 0 < min(mses) < max(mses) < 1
        linear = row["pretrain_test_pca_mse"], row["pretrain_test_variance"]
        linear += (row["pretrain_test_mean_mse"],)
        assert linear == (None,) * 3 if row["finetune.encoder_init"] == "he" else 0 < linear[0] < linear[1] < linear[2]


def test_pretraining_stands_beside_as_many_principal_components_of_its_training_rows(run, tiny_arrays):
    experiment, trials = load_run(run).experiment, pq.read_table(run / "trials.parquet").to_pylist()
    train, test = (tiny_arrays[f"{split}_images"].reshape(-1, 36) / 255.0 for split in ("train", "test"))
    train = train[experiment.data.validation :]
    fitted = PCA(int(experiment.encoder.layers[-1]), svd_solver="full").fit(train)
    error = np.mean(np.square(test - fitted.inverse_transform(fitted.transform(test))))
    of_pretrained = [row for row in trials if row["finetune.encoder_init"] == "pretrained"]
    for row in of_pretrained:
        assert row["pretrain_test_pca_mse"] == pytest.approx(error, rel=1e-3)
        assert row["pretrain_test_variance"] == pytest.approx(np.mean(np.var(test, axis=0)), rel=1e-5)
    assert len(of_pretrained) == N_TRIALS / 2


def test_looks_are_of_the_networks_that_the_run_gives(run, tiny_arrays):
    found, held = looks_file.read(run / "looks.npz"), load_run(run)
    assert found.missing == () and len(found.confused) == len(found.calibrated) == 2 and len(found.wrong) == 1
    trials = {row["trial_id"]: row for row in held.trials.to_pylist()}
    assert [each.kind for each in found.planes] == ["pretrained", "scratch", "random"]
    for plane in found.planes:
        codes = held.model(plane.trial_id).encode(tiny_arrays["test_images"]).astype(float)
        points = PCA(2, svd_solver="full").fit_transform(codes.reshape(len(codes), -1))
        np.testing.assert_allclose(np.abs(plane.points), np.abs(points), rtol=1e-3, atol=1e-4)
        np.testing.assert_array_equal(plane.targets, tiny_arrays["test_labels"])
        arm = {name: trials[plane.trial_id][name] for name in trials[plane.trial_id] if name.startswith("finetune.e")}
        assert arm["finetune.encoder_init"] == ("pretrained" if plane.kind == "pretrained" else "he")
    (changed,) = found.changed
    frozen = next(
        name
        for name, row in trials.items()
        if (row["finetune.encoder_init"], row["finetune.frozen_layers"], row["seed"]) == ("he", 2, changed.seed)
    )
    ends = [(frozen, "finetune"), (changed.trial_id, "pretrain/1"), (changed.trial_id, "finetune")]
    for stage, end in zip(changed.filters, ends, strict=False):  # a random encoder that stays is the initialisation
        kernel = load_params(run, *end)["encoder"]["layers_0"]["kernel"]
        np.testing.assert_allclose(stage.reshape(len(stage), -1), kernel.T[changed.units], rtol=1e-6, atol=1e-8)


def test_an_initialisation_that_the_store_has_not_is_drawn_again(run, monkeypatch):
    held, found = load_run(run), looks_file.read(run / "looks.npz")
    concluded = answer(held.trials, held.curves)
    store = Store(held.experiment.store, warn=pytest.fail, read_only=True)
    store.verified(held.stages["stage_id"].to_pylist())
    tables = use.Tables(held.trials, held.stages)
    source = looks.Source.of(held.experiment, tables, store, data.load_all(held.experiment.whole))
    monkeypatch.setattr(look_at_layer, "_stored", lambda *_: None)
    (drawn,) = look_at_layer.changed(source, concluded.metric, looks.pair(concluded))
    np.testing.assert_array_equal(drawn.units, found.changed[0].units)
    np.testing.assert_allclose(drawn.filters, found.changed[0].filters, rtol=1e-6, atol=1e-8)


def test_curves_hold_every_measurement_of_every_trial_once(run):
    table = pq.read_table(run / "curves.parquet")
    assert table.column_names == ["trial_id", "stage", "step", "metric", "value"]
    trials = pq.read_table(run / "trials.parquet").to_pylist()
    always, validated = range(1, 11), (1, 2, 5, 10)
    finetune = {"loss": always, "pre_update_accuracy": always, "post_update_accuracy": always}
    finetune |= {"validation_accuracy": validated, "validation_loss": validated}
    phase = {"mse": always, "validation_mse": (10,)}
    expected = [
        (trial["trial_id"], stage, metric, step)
        for trial in trials
        for stage in ("pretrain/0", "pretrain/1", "finetune")
        if stage == "finetune" or trial["finetune.encoder_init"] == "pretrained"
        for metric, steps in (finetune if stage == "finetune" else phase).items()
        for step in steps
    ]
    found = [tuple(row[name] for name in ("trial_id", "stage", "metric", "step")) for row in table.to_pylist()]
    assert sorted(found) == sorted(expected)
    assert np.isfinite(table["value"].to_numpy()).all()


def test_the_last_of_a_curve_is_the_result_of_its_trial(run):
    curves = {
        (row["trial_id"], row["metric"]): row["value"]
        for row in pq.read_table(run / "curves.parquet").to_pylist()
        if row["stage"] == "finetune" and row["step"] == 10
    }
    for row in pq.read_table(run / "trials.parquet").to_pylist():
        for metric in ("validation_accuracy", "validation_loss"):
            assert row[metric] == pytest.approx(curves[row["trial_id"], metric], rel=1e-5)


def test_only_the_table_of_timings_holds_times(run):
    timings = pq.read_table(run / "timings.parquet")
    assert timings.column_names == ["stage_id", "stage", "seed", "run_seconds"]
    assert len(timings) == N_STAGES and min(timings["run_seconds"].to_pylist()) > 0
    for name in DETERMINISTIC:
        assert not [column for column in pq.read_table(run / name).column_names if column.endswith("_seconds")]


def test_the_experiment_reloads_as_it_was_run(run, site):
    text = (run / "experiment.json").read_text()
    experiment = from_json(text)
    assert to_json(experiment) == text
    assert experiment.sweep == ({"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": ("all", 0)},)
    assert (experiment.data.name, experiment.data.validation, experiment.encoder.layers) == (site.data, 60, (12, 6))
    assert (experiment.seeds, experiment.run_dir, experiment.store) == (2, str(run), str(site.path / "first-store"))


def test_the_table_and_the_answer_are_printed_and_progress_goes_elsewhere(first, run):
    for init in ("pretrained", "from scratch (He)"):
        for frozen in (2, 0):
            assert re.search(rf"^{re.escape(init)} +{frozen} .* 2$", first.stdout, re.MULTILINE)
    trials, curves = (pq.read_table(run / name) for name in DETERMINISTIC)
    for reported in words.explanation(answer(trials, curves)):
        assert f"\n{reported}\n" in first.stdout
    assert str(run / "report.html") in first.stdout
    assert n_run(first) == N_STAGES
    stages = [line.split()[0] for line in first.stderr.splitlines() if "done in" in line]
    assert stages == ["pretrain/0", "pretrain/1", *["finetune"] * 4]
    assert "Warning" not in first.stderr


def test_running_again_runs_nothing_and_changes_nothing(site, run):
    before = results(run)
    again = site.launch(*site.at("first"))
    assert (again.returncode, again.stderr) == (0, "")
    assert n_run(again) == 0
    assert results(run) == before


def test_a_process_of_its_own_with_another_store_gives_the_same_tables_to_the_bit(site, run):
    done = execute(site.command(*site.at("other")), site.path)
    assert n_run(done) == N_STAGES
    assert results(site.path / "other-run") == results(run)
    assert "again" not in done.stderr


def test_a_change_to_fine_tuning_repeats_no_pretraining(site, run):
    done = site.launch(*copied(site, "changed"), "--finetune.l2", "0.25")
    assert n_run(done) == N_TRIALS
    changed, before = (pq.read_table(path / "trials.parquet") for path in (site.path / "changed-run", run))
    assert "again" not in done.stderr  # these are new settings
    assert changed["pretrain_test_mse"] == before["pretrain_test_mse"]
    assert changed["test_loss"] != before["test_loss"]


def test_a_dry_run_prints_the_plan_and_writes_nothing(site, tmp_path):
    done = call(site.argv("--dry-run", "--run-dir", "run", "--store", "store"), tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{N_TRIALS} trials" in done.stdout and f" {N_STAGES} " in done.stdout
    packs = [line.split() for line in done.stdout.splitlines() if re.match("pretrain/|finetune,", line)]
    assert [pack[0] for pack in packs] == ["pretrain/0", "pretrain/1", *["finetune,"] * 2]  # alike ones: one row
    # 36-12-36 and 36-12-6-12-36 units, then 36-12-6-3.
    assert {pack[-6] for pack in packs} == {"912", "1,074", "543"}
    assert done.stdout.splitlines()[-1] == f"{N_STAGES} of {N_STAGES} stages would run: {N_STAGES} new settings"
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--seed", "3"], ["--seed", "did you mean --seeds?"]),
        (["--seeds", "many"], ["seeds: 'many'"]),
        (["--seeds", "0"], ["seeds: '0'"]),
        (["--seeds"], ["seeds: "]),
        (["--pretrain.optimizer.learning-rate", "-1"], ["pretrain.optimizer.learning_rate: '-1'"]),
        (["--encoder.layers", "12", "0"], ["encoder.layers: '0'"]),
        (["--encoder.activation", "swish"], ["encoder.activation: 'swish'"]),
        (["--finetune.frozen-layers", "3"], ["finetune.frozen_layers: 3", "encoder.layers more than (12, 6)"]),
        (["--finetune.batch-size", "101"], ["finetune.batch_size: 101", "finetune.labels 100"]),
        (["--pretrain.cache-codes", "perhaps"], ["pretrain.cache_codes: 'perhaps'"]),
        # Found only when the images are read.
        (["--finetune.labels", "201"], ["finetune.labels: 201", "200 training rows with a label"]),
        (["--data.name", "text.npz"], ["data.name: 'text.npz'"]),
        # Found only when something is to be written.
        (["--run-dir", "text.npz/run"], ["run_dir: 'text.npz/run'"]),
        (["--store", "text.npz"], ["store: 'text.npz'"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value[0], str) and value[0].startswith("--") else "",
)
def test_a_mistake_is_reported_in_one_line_and_nothing_is_written(options, parts, site, tmp_path):
    (tmp_path / "text.npz").write_text("This is no dataset, and no directory.")
    before = contents(tmp_path)
    refused(call(site.argv("--run-dir", "run", "--store", "store", *options), tmp_path), *parts)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("argv", [["gerom"], ["geron", "extra"], ["geron", "geron"], ["../configs/geron"], [""]])
def test_a_config_that_is_not_there_is_reported_in_one_line(argv, tmp_path):
    done = call(argv, tmp_path)
    refused(done, repr(argv[-1]))
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_config_with_its_question(flag, tmp_path):
    done = call([flag], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    configs = sorted((ROOT / "configs").glob("*.py"))
    assert configs
    for config in configs:
        question = config.read_text().removeprefix('"""').splitlines()[0]
        assert re.search(rf"^ +{config.stem} +{re.escape(question)}$", done.stdout, re.MULTILINE)


def test_help_of_a_config_gives_its_documentation_and_its_defaults(tmp_path):
    done = call(["geron", "--help"], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("Does pretraining slow a network down?", "python launch.py geron", "--finetune.frozen-layers"):
        assert text in done.stdout
    assert "'runs/geron-{id}')" in done.stdout
    # Without a config, geron's options are read.
    assert call(["--seeds", "3", "--help"], tmp_path).stdout == done.stdout


def test_a_mistake_in_a_config_file_is_reported_in_one_line(tmp_path):
    (tmp_path / "configs").mkdir()
    config = '"""Wrong."""\nfrom pretrain.config import Experiment, {kind}\n\n\ndef get_config():\n    return {call}\n'
    mistakes = {
        "Experiment(seeds=0)": ["seeds", " 0 "],
        "Experiment(finetune=FinetuneConfig(labels='100'))": ["FinetuneConfig", "labels", "'100'"],
        "Experiment(sweep=({'finetune.lables': (100,)},))": ["'finetune.lables'", "'finetune.labels'"],
        "Experiment(sweep=({'finetune.labels': 100},))": ["sweep", "finetune.labels", "100"],
        "Experiment(seed=3)": ["seed", "3"],
    }
    for mistake, parts in mistakes.items():
        (tmp_path / "configs" / "wrong.py").write_text(config.format(kind="FinetuneConfig", call=mistake))
        refused(call(["wrong"], tmp_path, tmp_path / "configs"), *parts)


def test_a_table_that_cannot_be_written_is_named(site, run):
    options = copied(site, "blocked")
    table = site.path / "blocked-run" / "trials.parquet"
    table.mkdir(parents=True)
    done = site.launch(*options)
    assert done.returncode == 1
    assert "trials.parquet" in done.stderr and "Traceback" not in done.stderr
    table.rmdir()
    assert n_run(site.launch(*options)) == 0
    assert results(site.path / "blocked-run") == results(run)


def test_a_fault_in_judging_costs_no_table(site, run, monkeypatch):
    options = copied(site, "misjudged")
    with monkeypatch.context() as patched:
        patched.setattr(running, "answer", misjudge)
        done = site.launch(*options)
    assert done.returncode == 1 and done.stderr.endswith("RuntimeError: judging\n")
    assert results(site.path / "misjudged-run") == results(run)
    assert contents(site.path / "misjudged-run").keys() == TABLES - {"classes.parquet", "rows.parquet"} | {
        *("experiment.json", "inputs.json", "findings.json", "manifest.json", ".lock", ".run.json")
    }
    assert n_run(site.launch(*options)) == 0
    assert results(site.path / "misjudged-run") == results(run)


@pytest.mark.parametrize("name", ["figures", "tables"])
def test_a_file_in_the_place_of_a_directory_is_reported_in_one_line(name, site, run):
    options = copied(site, f"{name}-blocked")
    blocked = site.path / f"{name}-blocked-run" / name
    blocked.parent.mkdir()
    blocked.write_text("mine")
    reported = f"{blocked} is no directory; move it away, and run the same command again\n"
    done = site.launch(*options)
    assert done.returncode == 1 and done.stderr.splitlines(keepends=True)[-1] == reported
    assert {path.name for path in blocked.parent.iterdir()} == {name, ".lock", ".run.json"}
    assert blocked.read_text() == "mine"
    blocked.rename(site.path / f"{name}-mine")
    done = site.launch(*options)
    assert (done.returncode, n_run(done)) == (0, 0) and results(blocked.parent) == results(run)
    shutil.rmtree(blocked)
    blocked.write_text("mine")
    done = call(["report", blocked.parent], site.path)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.endswith(reported)
    assert results(blocked.parent) == results(run) and blocked.read_text() == "mine"


def test_another_experiment_takes_the_figures_and_tables_of_the_one_before_away(site, run):
    options = copied(site, "followed")
    assert site.launch(*options).returncode == 0
    directory = site.path / "followed-run"
    mine = ["figures/mine.svg", "figures/filters.pdf", "figures/interactions.png", "tables/mine.tex", "tables/arms.csv"]
    for name in mine:
        (directory / name).write_text("mine")
    other = [*options, "--finetune.encoder-init", "he"]
    assert site.launch(*other).returncode == 0
    held = contents(directory)
    gone = {
        f"figures/{name}.{kind}" for name in ("filters", "reconstructions", "phase_losses") for kind in ("png", "svg")
    }
    assert held.keys() & {*gone, "figures/shares.svg", "tables/shares.tex"} == set()
    assert all(held[name] == b"mine" for name in mine)
    written = (directory / "report.html").stat().st_mtime_ns
    site.launch(*other)
    assert (directory / "report.html").stat().st_mtime_ns == written
    assert site.launch(*options).returncode == 0
    assert {name for name in contents(run) if "/" in name} | set(mine) == {
        name for name in contents(directory) if "/" in name
    }

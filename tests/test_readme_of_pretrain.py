"""What pretrain/README.md says can be done is done here: its patches in a copy of the code, its Python as it stands."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pretrain
from pretrain.commands import compare
from pretrain.config import metrics
from pretrain.config.fields import ConfigError
from pretrain.models import folder
from pretrain.study import from_store
from tests.launching import OPTIONS, ROOT, UNDRAWN, call, execute
from tests.test_library import SMALL
from tests.undrawn import undrawn

README = (ROOT / "pretrain" / "README.md").read_text()
ADDED = README.split("## I want to add")[1].split("## Testing a change")[0]
NOTEBOOKS = README.split("## Notebooks and programs")[1].split("## I want to add")[0]
SECTIONS = {part.splitlines()[0]: part for part in re.split(r"^### ", ADDED, flags=re.M)[1:]}
SHORT = [*OPTIONS, "--seeds", "1", "--finetune.frozen-layers", "0"]
PATCHED = [name for name, part in SECTIONS.items() if "```diff" in part]


def blocks(text, language):
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def commands(text):
    """The indented lines: options to launch with."""
    return [line.split() for line in re.findall(r"^    (--.*)$", text, flags=re.M)]


def copy(path):
    """A copy of the code."""
    for name in ("pretrain", "configs"):
        shutil.copytree(ROOT / name, path / name)  # with its bytecode, which a changed size makes stale
    shutil.copy(ROOT / "launch.py", path)
    return path


def launch(path, data, programs, *options):
    """A launch of the code in a directory, or of this one where it holds none; returns tables of trials and curves."""
    store = path / "store"
    if not store.exists():
        store.mkdir()
        (store / "programs").symlink_to(programs)
    argv = ["geron", "--data.name", data, "--run-dir", path / "run", "--store", store, *SHORT, *options]
    if (path / "launch.py").exists():
        done = execute([sys.executable, UNDRAWN, path / "launch.py", *map(str, argv)], path)
    else:
        done = call(argv, path)
    assert done.returncode == 0, done.stderr
    return pq.read_table(path / "run" / "trials.parquet").to_pandas(), pq.read_table(path / "run" / "curves.parquet")


def test_the_page_shows_what_people_add():
    patched = ["A term of a loss", "A metric", "An optimizer of optax"]
    first, second, third = patched
    assert list(SECTIONS) == [
        first,
        second,
        "A measure of predictions",
        third,
        "A layer",
        "A view",
        "A method",
        "A read-out",
    ]
    assert patched == PATCHED


def apply(patch, path, *options):
    subprocess.run(["git", "apply", *options, "-"], input=patch, text=True, cwd=path, check=True)


def test_patches_apply_and_their_options_run(tmp_path, tiny_path, programs):
    copy(tmp_path)
    given = []
    patches = {name: blocks(SECTIONS[name], "diff") for name in PATCHED}
    for (patch,) in patches.values():  # each to the code as it is
        apply(patch, tmp_path, "--check")
        assert 1 <= len(set(re.findall(r"^--- a/(\S+)$", patch, flags=re.M))) <= 2  # existing files to touch
    for name, (patch,) in patches.items():
        apply(patch, tmp_path)
        (options,) = commands(SECTIONS[name]) or [[]]
        given += options
    trials, curves = launch(tmp_path, tiny_path, programs, *given)
    assert trials.status.tolist() == ["ok"] * 2
    assert (trials.test_top2_accuracy >= trials.test_accuracy).all()
    assert "validation_top2_accuracy" in curves["metric"].to_pylist()


def test_a_metric_of_ones_own_is_compared_and_measured_anew(tmp_path, tiny_path, programs, monkeypatch):
    (source,) = blocks(SECTIONS["A measure of predictions"], "python")
    (options,) = commands(SECTIONS["A measure of predictions"])
    file = tmp_path / "my_metrics.py"
    file.write_text(source)
    trials, _ = launch(tmp_path, tiny_path, programs, *options)
    assert trials.test_brier.between(0, 2).all() and (trials.validation_brier != trials.test_brier).all()
    assert trials.test_brier_chance.between(0.5, 1).all()
    answer = json.loads((tmp_path / "run" / "answer.json").read_text())
    assert answer["comparisons"][0]["metric"] == "test_brier"
    file.write_text(source.replace("return np.square", "return 0.5 * np.square"))
    again, _ = launch(tmp_path, tiny_path, programs, *options)
    np.testing.assert_allclose(again.test_brier, trials.test_brier / 2)
    assert again.trial_id.tolist() == trials.trial_id.tolist()
    shares = []
    for average in ("macro", "micro"):  # of a finished run, again after an edit
        file.write_text(source.replace("macro", average))
        done = call(["report", tmp_path / "run", "--study.metric", "my_metrics.py:f1"], tmp_path)
        assert done.returncode == 0, done.stderr
        shares.append(pq.read_table(tmp_path / "run" / "trials.parquet").to_pandas().test_f1)
    np.testing.assert_allclose(shares[1], trials.test_accuracy, rtol=1e-6)
    assert (shares[0] != shares[1]).any()
    monkeypatch.chdir(tmp_path)
    _check_edits(tmp_path / "run", file, source)
    metrics.OWN.clear()
    file.unlink()
    pretrain.load_run(tmp_path / "run")  # knows what its columns measure without the file
    assert metrics.metric_of("test_f1").high == 1 and not metrics.metric_of("test_brier").higher_is_better


def _check_edits(place, file, source):
    """Values of a finished run are of the file as it is now, or refused."""
    metric = "my_metrics.py:f1"

    def after(old, new):
        metrics.OWN.clear()
        file.write_text(source.replace(old, new))
        return pretrain.load_run(place)

    def anew(run):
        return from_store.measured(run, metric, anew=True)

    run = after("return f1_score", "return 0.5 * f1_score")
    stored, halved = (each.trials["test_f1"].to_numpy() for each in (run, anew(run)))
    assert (stored != halved).all()
    others = {}  # the same trials by other names, whose stored values are of the file before, too
    for name in ("trials", "stages"):
        table = getattr(run, name)
        ids = pa.array([f"x{each}" for each in table["trial_id"].to_pylist()])
        others[name] = table.set_column(table.column_names.index("trial_id"), "trial_id", ids)
    found = compare._rows({"a": run, "b": dataclasses.replace(run, **others)}, "", {}).table.to_pandas()
    assert [of_run.test_f1.tolist() for _, of_run in found.groupby("run")] == [halved.tolist()] * 2
    tuned = types.SimpleNamespace(metric=metric, tune=("finetune.encoder_init",))
    experiment = types.SimpleNamespace(study=tuned, store=run.experiment.store)
    with pytest.raises(ConfigError, match="is another by now than that by which settings were chosen"):
        anew(dataclasses.replace(run, experiment=experiment))
    with pytest.raises(ConfigError, match="has no value of any trial"):
        anew(after("return f1_score", "return np.nan * f1_score"))
    assert anew(after("higher_is_better=True", "higher_is_better=False")).trials["test_f1"].null_count == 0
    assert not metrics.metric_of("test_f1").higher_is_better


def test_a_method_of_ones_own_runs(tmp_path, tiny_path, programs):
    _, source = blocks(SECTIONS["A method"], "python")
    (options,) = commands(SECTIONS["A method"])
    (tmp_path / "my_method.py").write_text(source)
    trials, curves = launch(tmp_path, tiny_path, programs, *options)
    assert trials.status.tolist() == ["ok"] * 2
    measured = set(zip(curves["stage"].to_pylist(), curves["metric"].to_pylist(), strict=True))
    assert ("pretrain/0", "validation_accuracy") in measured and ("pretrain/0", "mse") not in measured


def test_a_layer_of_ones_own_runs(tmp_path, tiny_path, programs):
    (source,) = blocks(SECTIONS["A layer"], "python")
    (options,) = commands(SECTIONS["A layer"])
    (tmp_path / "my_layers.py").write_text(source)
    trials, curves = launch(tmp_path, tiny_path, programs, *options)
    assert trials.status.tolist() == ["ok"] * 2
    assert {"pretrain/0", "pretrain/1", "pretrain/2"} < set(curves["stage"].to_pylist())


def test_a_view_of_ones_own_runs(tmp_path, tiny_path, programs):
    (source,) = blocks(SECTIONS["A view"], "python")
    (tmp_path / "my_views.py").write_text(source)
    options = [word for line in commands(SECTIONS["A view"]) for word in line]
    trials, curves = launch(tmp_path, tiny_path, programs, *options)
    assert trials.status.tolist() == ["ok"] * 2
    assert {"output_deviation", "validation_output_deviation"} < set(curves["metric"].to_pylist())


def test_a_read_out_of_ones_own_runs_predicts_and_is_exported(tmp_path, tiny_path, programs):
    (source,) = blocks(SECTIONS["A read-out"], "python")
    (options,) = commands(SECTIONS["A read-out"])
    file = tmp_path / "my_readout.py"
    file.write_text(source)
    trials, _ = launch(tmp_path, tiny_path, programs, *options)
    assert trials.status.tolist() == ["ok"] * 4 and trials.test_loss.notna().all()
    file.unlink()
    trials = trials[trials["finetune.readout"] == "own"].reset_index()
    run = pretrain.load_run(tmp_path / "run")
    rows = np.load(tiny_path)
    model = run.model(trials.trial_id[0])
    predicted = model.predict(rows["test_images"])
    assert np.mean(predicted == rows["test_labels"]) == pytest.approx(trials.test_accuracy[0])
    folder.save(model, tmp_path / "network", "An answer.")
    np.testing.assert_array_equal(pretrain.load_model(tmp_path / "network").predict(rows["test_images"]), predicted)


def test_the_run_of_a_notebook_runs(site, tmp_path, monkeypatch):
    block, _ = blocks(NOTEBOOKS, "python")
    run = pretrain.run
    small = {**SMALL, "data.name": site.data, "run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store")}

    def shortened(config, overrides, **options):
        return run(ROOT / config, {**overrides, **small}, **options)

    monkeypatch.setitem(vars(pretrain), "run", shortened)
    names = {}
    with undrawn():
        exec(block, names)  # as a reader would
    assert len(names["effects"]) == 2 and len(names["trials"]) == 8 and names["run"].answer.sentence


def test_the_estimator_of_a_notebook_learns():
    _, block = blocks(NOTEBOOKS, "python")
    names = {}
    exec(block, names)  # as a reader would
    assert names["share"] > 0.8


def test_the_python_of_the_page_runs():
    (example,) = blocks(README.split("## Testing a change")[1], "python")
    names = {}
    exec(example, names)  # as a reader would
    assert float(names["metrics"]["mse"]) == 1.0

"""``pretrain.run`` leaves what the command leaves, in a process that belongs to somebody else, or in one of its own."""

import dataclasses
import json
import logging
import os
import signal
import sys
import threading
import time

import jax
import matplotlib
import pytest

import pretrain
from pretrain.config import grids
from pretrain.config.fields import ConfigError
from pretrain.store import reuse
from pretrain.store.store import Store
from tests.launching import LONG, ROOT, call, contents, execute, packs, results
from tests.undrawn import undrawn

GERON = ROOT / "configs" / "geron.py"
SMALL = {
    "data.validation": 60,
    "encoder.layers": (12, 6),
    "pretrain.epochs": 1,
    "pretrain.batch_size": 20,
    "finetune.labels": 100,
    "finetune.batch_size": 20,
    "finetune.epochs": 2,
    "seeds": 2,
}  # as the options of launches


@pytest.fixture
def small(site, tmp_path):
    """Overrides for a run and a store of its own."""
    return {**SMALL, "data.name": site.data, "run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store")}


@pytest.fixture
def stored(small, site, first):
    """Overrides for a run whose stages are all stored."""
    return {**small, "store": str(site.path / "first-store")}


def state():
    """All that a run must leave to the process that it runs in."""
    signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    return dict(jax.config.values), signals, logging.getLogger("absl").level, dict(matplotlib.rcParams)


def test_a_run_in_a_thread_after_an_operation_of_jax_leaves_the_files_of_the_command(small, run, capfd):
    jax.numpy.ones(3).sum().block_until_ready()
    before, made = state(), []
    with undrawn():
        thread = threading.Thread(target=lambda: made.append(pretrain.run(GERON, small)))
        thread.start()
        thread.join()
        assert state() == before and capfd.readouterr() == ("", "")
        (first,) = made
        again = pretrain.run(GERON, small)
    assert results(first.directory) == results(run)
    assert again.trials.equals(first.trials) and first.trials.equals(pretrain.load_run(run).trials)
    assert contents(first.directory).keys() == contents(run).keys()


def test_the_answer_is_read_from_the_files_and_a_notebook_shows_the_first_screen(stored):
    with undrawn():
        made = pretrain.run(GERON, stored)
    answer = json.loads((made.directory / "answer.json").read_text())
    assert made.answer.sentence == answer["verdict"] and made.comparisons == answer["comparisons"]
    shown, page = made._repr_html_(), (made.directory / "report.html").read_text()
    opening = page.partition("<main>")[2].partition("<h2>")[0]
    assert "<h1>" in opening and "<dl>" in opening and "<svg" not in opening and opening in shown
    assert repr(made) == f"<Run of 8 trials in {made.directory}>"
    other = dataclasses.replace(made, trials=made.trials.slice(1))
    with pytest.raises(ConfigError, match="holds another experiment by now"):
        assert other.answer


def test_progress_is_printed_where_it_is_asked_for(small, capfd):
    with undrawn():
        pretrain.run(GERON, {**small, "finetune.frozen_layers": 0}, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("2 seeds ") and "pretrain/0  pack 1/4, 2 trials: done in" in err


def test_fields_of_a_config_are_fitted_and_those_of_an_experiment_are_not(stored):
    config = pretrain.config.config_file.load(GERON, "geron")
    with pytest.raises(ConfigError, match=r"^data\.validation: 5000 "):
        pretrain.run(dataclasses.replace(config, data=pretrain.DataConfig(name=stored["data.name"])))
    with pytest.raises(ConfigError, match=r"^finetune\.batch_size: 50 is larger than finetune\.labels 9"):
        pretrain.run(GERON, {**stored, "finetune.labels": 9, "finetune.batch_size": 50})
    one = {name: value for name, value in stored.items() if name != "finetune.batch_size"}
    with pytest.raises(ConfigError, match=r"^finetune\.epoch: 2 is no field; did you mean 'finetune\.epochs'"):
        pretrain.run(GERON, {**one, "finetune.epoch": 2})
    with pytest.raises(ConfigError, match=r"^overrides: 'seeds' overrides a config, and this is an experiment"):
        pretrain.run(config, {"seeds": 2})


def test_axes_are_overridden_as_by_options_of_their_names(site, small, tmp_path):
    made = pretrain.library._asked(GERON, {**small, "sweep": {"finetune.l2": (0.0, 0.5)}, "seeds": 1})
    (grid,) = made.experiment.sweep
    assert grid["finetune.l2"] == (0.0, 0.5) and len(made.experiment.points) == 8
    with pytest.raises(ConfigError, match=r"^finetune\.l2: 'x' "):
        pretrain.library._asked(GERON, {"sweep": {"finetune.l2": ("x",)}})


@pytest.mark.parametrize(
    ("name", "value"), [("jax_enable_x64", True), ("jax_default_prng_impl", "rbg"), ("jax_debug_nans", True)]
)
def test_settings_that_would_change_results_are_refused(name, value, small, tmp_path):
    before = jax.config.values[name]
    jax.config.update(name, value)
    try:
        with pytest.raises(
            ConfigError, match=f"^{name}: {value!r} would change results; set it to {before!r}, or pass"
        ):
            pretrain.run(GERON, small)
    finally:
        jax.config.update(name, before)
    with (
        jax.default_matmul_precision("highest"),
        pytest.raises(ConfigError, match=r"^jax_default_matmul_precision: 'h"),
    ):
        pretrain.run(GERON, small)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["finetune.labels", "study.metric"])
def test_a_run_of_its_own_process_is_what_the_command_makes(name, stored, run):
    jax.config.update("jax_enable_x64", True)
    try:
        made = pretrain.run(GERON, stored, isolated=True)
        mistake = {"finetune.labels": 201} if name == "finetune.labels" else {"study.metric": "r2"}
        with pytest.raises(ConfigError, match=f"^{name}: "):
            pretrain.run(GERON, {**stored, **mistake}, isolated=True)
    finally:
        jax.config.update("jax_enable_x64", False)
    assert results(made.directory) == results(run) and made.trials.equals(pretrain.load_run(run).trials)


def interrupt_when(is_time):
    """Interrupts the main thread, as Ctrl-C does, once it is time."""

    def wait():
        while not is_time():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.parametrize("isolated", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_an_interrupted_run_is_saved_and_goes_on(isolated, small, tmp_path):
    assert LONG[:2] == ["--pretrain.epochs", "1500"]
    asked = {**small, "pretrain.epochs": 9000, "save_every": 0.0, "finetune.frozen_layers": 0}
    interrupt_when(lambda: any((tmp_path / "store").glob("begun/*")))
    with pytest.raises(KeyboardInterrupt, match=r"^stopped with \d of 8 stages stored; the same command goes on"):
        pretrain.run(GERON, asked, isolated=isolated)
    assert any((tmp_path / "store").glob("begun/*")) and not packs(tmp_path / "store")
    with undrawn():
        assert len(pretrain.run(GERON, asked).trials) == 4


@pytest.mark.parametrize("face", ["command", "function"])
def test_a_run_builds_its_experiment_and_its_points_once_asks_for_stored_stages_once_and_opens_one_store(
    face, stored, site, tmp_path, monkeypatch
):
    counts = dict.fromkeys(("experiments", "points", "reuse", "stores"), 0)

    def count(owner, attribute, name):
        counted = getattr(owner, attribute)

        def wrapper(*arguments, **options):
            counts[name] += 1
            return counted(*arguments, **options)

        monkeypatch.setattr(owner, attribute, wrapper)

    load = pretrain.config.config_file.load

    def loaded(*arguments):
        experiment = load(*arguments)
        count(pretrain.Experiment, "__post_init__", "experiments")
        count(grids, "points", "points")
        return experiment

    monkeypatch.setattr(pretrain.config.config_file, "load", loaded)
    count(reuse, "chosen", "reuse")
    count(Store, "__init__", "stores")
    if face == "command":
        store = site.path / "first-store"
        assert call(site.argv("--dry-run", "--run-dir", "run", "--store", store), tmp_path).returncode == 0
    else:
        with undrawn():
            pretrain.run(GERON, stored)
    assert counts == {"experiments": 1, "points": 1, "reuse": 1, "stores": 1}


def test_the_face_is_light():
    heavy = "{'jax', 'numpy', 'pydantic', 'pyarrow', 'matplotlib'}"
    code = f"import sys, pretrain; pretrain.run if 0 else dir(pretrain); print(sorted({heavy} & set(sys.modules)))"
    done = execute([sys.executable, "-c", code], ROOT)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_a_fresh_process_runs_with_the_devices_that_jax_has_there(small, run, tmp_path):
    code = f"""
import jax, pretrain
from tests.undrawn import undrawn
before = dict(jax.config.values)
with undrawn():
    made = pretrain.run({str(GERON)!r}, {small!r})
assert jax.device_count() == 1 and dict(jax.config.values) == before
"""
    done = execute([sys.executable, "-c", code], ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert results(tmp_path / "run") == results(run)

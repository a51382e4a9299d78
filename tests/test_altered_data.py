"""Data that are rewritten or cut short while a run trains change nothing that it stores, and are named at its end."""

import os

import numpy as np
import pytest

import pretrain
from pretrain.plan import fitting
from pretrain.store.manifests import DamageError
from tests.launching import LONG, ONE_ARM, execute, started, wait_until


@pytest.fixture
def folder(tiny_arrays, tmp_path):
    path = tmp_path / "arrays"
    path.mkdir()
    for name, array in tiny_arrays.items():
        np.save(path / f"{name}.npy", array)
    return path


def rewrite(file):
    """Other values in the place of those that are mapped."""
    with file.open("r+b") as content:
        content.seek(200)
        content.write(bytes(file.stat().st_size - 200))


def truncate(file):
    os.truncate(file, 130)


def replace(file):
    draft = file.with_name("draft")
    np.save(draft.with_suffix(".npy"), np.load(file)[::-1])
    draft.with_suffix(".npy").replace(file)


def remove(file):
    file.unlink()


def options(site, folder, name):
    return [*site.at(name), "--data.name", folder, *LONG, *ONE_ARM]


@pytest.mark.slow
@pytest.mark.parametrize("alter", [rewrite, truncate, replace, remove])
def test_data_altered_in_training_are_named_and_results_are_of_what_was_read(alter, site, folder, tmp_path):
    name = f"altered-{alter.__name__}"
    store = site.path / f"{name}-store"
    with started(site.command(*options(site, folder, name)), site.path) as process:
        wait_until(process, lambda: any(store.glob("begun/*")))
        alter(folder / "train_images.npy")
        _, err = process.communicate(timeout=200)
    assert process.returncode == 1, err  # and no SIGBUS
    assert f"{folder}/train_images.npy: was altered since it was read; all results are of its content before" in err
    assert "Traceback" not in err and sum("altered" in line for line in err.splitlines()) == 1
    run = site.path / f"{name}-run"
    pristine = tmp_path / "pristine"
    pristine.mkdir()
    sound = site.launch(*options(site, written(pristine, site), "pristine"))
    assert sound.returncode == 0, sound.stderr
    assert same_tables(site.path / "pristine-run", run)
    if alter in (truncate, remove):
        again = execute(site.command(*options(site, folder, name)), site.path)
        assert again.returncode == 2 and str(folder) in again.stderr and again.stderr.count("\n") == 1


def written(path, site):
    with np.load(site.data) as arrays:
        for name in arrays.files:
            np.save(path / f"{name}.npy", arrays[name])
    return path


def same_tables(one, other):
    """Whether two runs on data of other names, and so of other trials, have the same results."""
    tables = [pretrain.load_run(path).trials.drop_columns(["trial_id"]) for path in (one, other)]
    return tables[0].equals(tables[1])


def test_a_call_names_them_too(folder, tmp_path, monkeypatch):
    overrides = {"data.name": str(folder), "data.validation": 60, "encoder.layers": (6,), "seeds": 1}
    overrides |= {"run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store"), "pretrain.epochs": 1}
    overrides |= {"finetune.labels": 100, "finetune.epochs": 1}
    load = fitting.load

    def loaded(*given):
        made = load(*given)
        rewrite(folder / "test_images.npy")
        return made

    monkeypatch.setattr(fitting, "load", loaded)
    with pytest.raises(DamageError, match=r"test_images\.npy: was altered since it was read"):
        pretrain.run("configs/geron.py", overrides)
    assert len(pretrain.load_run(tmp_path / "run").trials)

"""Pretraining is named by the images it reads: other labels find it, and other test images measure it again."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.launching import results

ARM = ["--finetune.encoder-init", "pretrained", "--finetune.frozen-layers", "0"]  # two phases and a fine-tuning a seed


@pytest.fixture(scope="module")
def launch(site, tiny_arrays, run):
    """Returns a function that launches in the store of a name on the tiny dataset with some arrays changed."""

    def launch(name, store, **changed):
        file = site.path / f"{name}.npz"
        np.savez(file, **{**tiny_arrays, **changed})
        _, _, *kept = site.at(store)
        options = [*ARM, "--data.name", file, "--run-dir", site.path / f"{name}-run", *kept]
        done = site.launch(*options)
        assert done.returncode == 0, done.stderr
        return done, site.path / f"{name}-run"

    return launch


@pytest.fixture(scope="module")
def before(launch):
    """The run that fills a store."""
    done, run = launch("before", "images")
    assert "2 trials, 6 of 6 stages run" in done.stdout
    return run


def column(run, name):
    return pq.read_table(run / "trials.parquet")[name].to_pylist()


def stage_ids(run, *stages):
    rows = pq.read_table(run / "stages.parquet").to_pylist()
    return [row["stage_id"] for row in rows if row["stage"] in stages]


def check_shared(run, before):
    """Checks that two runs share their phases and nothing else."""
    phases = "pretrain/0", "pretrain/1"
    assert stage_ids(run, *phases) == stage_ids(before, *phases)
    assert not set(stage_ids(run, "finetune")) & set(stage_ids(before, "finetune"))


def test_the_same_images_under_other_labels_find_the_pretraining(launch, before, tiny_arrays):
    other = {name: 2 - tiny_arrays[name] for name in ("train_labels", "test_labels")}
    done, run = launch("labels", "images", **other)
    assert "2 trials, 2 of 6 stages run" in done.stdout and "again" not in done.stderr
    check_shared(run, before)
    assert column(run, "pretrain_test_mse") == column(before, "pretrain_test_mse")
    assert column(run, "test_loss") != column(before, "test_loss")
    _, alone = launch("labels-alone", "labels-alone", **other)
    assert results(run) == results(alone)


def test_other_test_images_measure_the_pretraining_again(launch, before, tiny_arrays):
    other = {"test_images": 255 - tiny_arrays["test_images"][:50], "test_labels": tiny_arrays["test_labels"][:50]}
    done, run = launch("images", "images", **other)
    assert "2 trials, 2 of 6 stages run" in done.stdout
    check_shared(run, before)
    assert column(run, "pretrain_validation_mse") == column(before, "pretrain_validation_mse")
    assert all(a > 2 * b for a, b in zip(*(column(each, "pretrain_test_mse") for each in (run, before)), strict=True))
    _, alone = launch("images-alone", "images-alone", **other)
    assert results(run) == results(alone)
    # The run that was there before is what it was.
    kept = results(before)
    again, _ = launch("before", "images")
    assert "2 trials, 0 of 6 stages run" in again.stdout and results(before) == kept


def test_other_images_find_nothing(launch, before, tiny_arrays):
    changed = tiny_arrays["train_images"].copy()
    changed[0, 0, 0] ^= 1  # of a validation image
    done, run = launch("other", "images", train_images=changed)
    assert "2 trials, 6 of 6 stages run" in done.stdout
    assert not set(stage_ids(run, "pretrain/0", "pretrain/1", "finetune")) & set(
        stage_ids(before, "pretrain/0", "pretrain/1", "finetune")
    )

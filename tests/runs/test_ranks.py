"""Effective ranks of pretrained and untrained encoders, against NumPy and the arms that start untrained."""

from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from pretrain.config.metrics import RANKS
from pretrain.learn import codes
from pretrain.runs import ranks, tables

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (30, 30)])
@pytest.mark.parametrize("rank", [1, 3, 40])
def test_a_rank_by_the_gram_matrix_is_that_of_singular_values(shape, rank):
    low = RNG.normal(size=(shape[0], rank)) @ RNG.normal(size=(rank, shape[1])) + 5
    known = codes.effective_rank(codes.spectrum(jnp.asarray(low, jnp.float32)))
    found = ranks.effective_rank(low.astype(np.float32))
    assert found == pytest.approx(float(known), rel=1e-4) and found <= min(*shape, rank) + 1e-6


def test_ranks_of_constant_isotropic_and_unknown_codes():
    assert ranks.effective_rank(np.full((20, 5), 3, np.float32)) == 0
    directions = np.concatenate([np.eye(6), -np.eye(6)]).astype(np.float32)
    assert ranks.effective_rank(directions) == pytest.approx(6)
    assert np.isnan(ranks.effective_rank(np.where(directions > 0, np.nan, directions)))


def test_ranks_after_each_stage_stand_beside_those_of_the_untrained_encoder_of_the_seed(
    corners, outcomes, dataset, experiment, monkeypatch
):
    store = SimpleNamespace(params=lambda job: outcomes[job][0])
    found = ranks.of_plan(corners, store, {experiment().data: dataset}, {})
    pretrained = {job.id: job for job in corners.jobs.values() if job.stage.stack.head is None}
    assert found.keys() == pretrained.keys() and len(found) == 6

    def rank(encoder, n_layers):
        rows = np.asarray(dataset.validation.inputs, float)
        rows = rows / 255 if dataset.validation.inputs.dtype == np.uint8 else rows
        for layer in range(n_layers):
            own = encoder[f"layers_{layer}"]
            sums = rows @ np.asarray(own["kernel"], float) + own["bias"]
            rows = np.where(sums > 0, sums, np.expm1(np.minimum(sums, 0)))
        values = np.linalg.svd(rows - rows.mean(0), compute_uv=False)
        shares = values / values.sum()
        return np.exp(-np.sum(shares * np.log(shares)))

    # Arms of a fresh encoder that stays as it is have the same one.
    untrained = {
        trial.seed: outcomes[trial.jobs[-1]][0]["encoder"]
        for trial in corners.trials
        if trial.point["finetune.encoder_init"] == "he" and trial.point["finetune.frozen_layers"] != 0
    }
    for job, (trained, drawn) in found.items():
        n_layers = len(pretrained[job].stage.stack.layers)
        assert trained == pytest.approx(rank(outcomes[job][0]["encoder"], n_layers), rel=1e-4)
        assert drawn == pytest.approx(rank(untrained[pretrained[job].seed], n_layers), rel=1e-4)
    table = tables.stages(corners, {}, found)
    kept = {row["stage_id"]: tuple(row[name] for name in RANKS) for row in table.to_pylist()}
    assert {job: kept[job] for job in found} == found
    assert {kept[job] for job in kept.keys() - found.keys()} == {(None, None)}
    monkeypatch.setattr(ranks, "encoded", pytest.fail)
    assert ranks.of_plan(corners, store, {}, found) == found

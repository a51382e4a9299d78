"""Early stopping in packs: each trial as alone, the pack over with its last, gone on from anywhere, and stored."""

import json
import re

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from pretrain.config.fields import with_values
from pretrain.execute import execute
from pretrain.learn import lanes
from pretrain.plan import stages
from pretrain.plan.plan import Pack, Plan
from pretrain.runs import endings, tables
from pretrain.store.records import Record, records_of
from pretrain.store.store import Store
from pretrain.study import results
from tests.small_sweep import forget_programs, make_plan, unwatched

RATES = {"finetune.optimizer.learning_rate": (0.003, 0.3), "finetune.encoder_init": ("he",)}
EARLY = {"epochs": 12, "stop": "validation", "patience": 2, "validate_every": 2}


@pytest.fixture(scope="module")
def planned(experiment, dataset) -> Plan:
    return make_plan(experiment(sweep=(RATES,), finetune=EARLY), dataset)


@pytest.fixture(scope="module")
def pack(planned) -> Pack:
    jobs = tuple(planned.jobs.values())
    return Pack(jobs[0].stage, jobs)


@pytest.fixture(scope="module")
def outcome(pack, dataset):
    forget_programs()
    return execute.run(pack, dataset, [None] * len(pack.jobs), unwatched)


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first, second)


def one_by_one(first, total):
    return [(step, step + 1) for step in range(first, total)]


def updates_of(outcome):
    return outcome.stopping.updates


def ends_of(pack, outcome):
    """What tables say of the end of each job: updates, the best of them, and whether it stopped."""
    records = [Record(**record) for record in records_of(outcome)]
    return np.array([[*endings.ends(record, pack.stage).values()] for record in records]).T


def test_some_trials_stop_early_and_each_keeps_its_best(pack, outcome):
    assert execute.LOOP.n_compiled == execute.INIT.n_compiled == 1  # for trials that stop apart
    total = pack.stage.n_updates
    updates, best, stopped = ends_of(pack, outcome)
    assert (updates < total).any() and len(set(updates.tolist())) > 1  # or the tests below would show nothing
    assert stopped[updates < total].all() and (best <= updates).all()
    np.testing.assert_array_equal(updates, updates_of(outcome))
    for lane, made in enumerate(updates):
        for curve in outcome.curves.values():
            assert np.isnan(curve[lane, made:]).all()
        assert np.isfinite(outcome.curves["loss"][lane, :made]).all()
        losses = outcome.curves["validation_loss"][lane]
        assert losses[best[lane] - 1] == np.nanmin(losses)


@pytest.mark.optimised
def test_a_trial_stops_in_a_pack_as_it_does_alone(pack, outcome, dataset):
    for lane, job in enumerate(pack.jobs):
        alone = execute.run(Pack(pack.stage, (job,)), dataset, [None], unwatched)
        same(alone[:3], jax.tree.map(lambda leaf, lane=lane: leaf[lane : lane + 1], outcome[:3]))


@pytest.mark.optimised
def test_a_pack_ends_with_its_last_trial_and_chunks_change_no_bit(pack, outcome, dataset, monkeypatch):
    last = int(updates_of(outcome).max())
    jobs = tuple(job for job, made in zip(pack.jobs, updates_of(outcome), strict=True) if made < pack.stage.n_updates)
    lanes = [pack.jobs.index(job) for job in jobs]
    last = int(updates_of(outcome)[lanes].max())
    assert last < pack.stage.n_updates
    monkeypatch.setattr(execute, "_chunks", one_by_one)
    steps = []
    again = execute.run(Pack(pack.stage, jobs), dataset, [None] * len(jobs), lambda step, progress: steps.append(step))
    assert steps == list(range(1, last + 1))
    same(again[:3], jax.tree.map(lambda leaf: leaf[lanes], outcome[:3]))


class Stop(Exception):
    pass


@pytest.mark.optimised
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_pack_stopped_before_or_after_its_first_trial_stops_goes_on_to_the_same_bits(
    where, pack, outcome, dataset, monkeypatch
):
    monkeypatch.setattr(execute, "_chunks", one_by_one)
    first = int(updates_of(outcome).min())
    stop, kept = first + {"before": -1, "after": 2}[where], []

    def stopping(step, progress):
        if step == stop:
            kept.append(progress())
            raise Stop

    with pytest.raises(Stop):
        execute.run(pack, dataset, [None] * len(pack.jobs), stopping)
    again = execute.run(pack, dataset, [None] * len(pack.jobs), unwatched, kept[0])
    same(again[:3], outcome[:3])


def test_side_by_side_as_on_an_accelerator_trials_stop_too(pack, outcome, dataset, monkeypatch):
    monkeypatch.setattr(lanes, "_one_by_one", lambda function, n_trials, trials: jax.vmap(function)(trials))
    forget_programs()
    found = execute.run(pack, dataset, [None] * len(pack.jobs), unwatched)
    forget_programs()
    np.testing.assert_array_equal(np.isfinite(found.curves["loss"]).sum(axis=1), updates_of(found))
    assert (updates_of(found) < pack.stage.n_updates).any()
    alike = np.isclose(found.curves["loss"], outcome.curves["loss"], rtol=1e-3, atol=1e-3, equal_nan=True)
    assert alike.mean() > 0.98


def test_the_store_holds_as_much_of_each_curve_as_was_made(planned, pack, outcome, tmp_path):
    store = Store(tmp_path, pytest.fail)
    store.save(pack, outcome)
    ids = [job.id for job in pack.jobs]
    for lane, curves in enumerate(Store(tmp_path, pytest.fail).curves(ids)):
        made = updates_of(outcome)[lane]
        rows = curves.to_pandas()
        loss = rows[rows.metric == "loss"]
        assert loss.step.tolist() == list(range(1, made + 1))
        np.testing.assert_array_equal(loss.value.to_numpy(np.float32), outcome.curves["loss"][lane, :made])
        held = rows[rows.metric == "validation_loss"]
        assert held.step.max() == made and held.value.notna().all()
    trials, curves = tables.trials(planned, store), tables.curves(planned, store)
    assert trials["finetune_updates"].to_pylist() == updates_of(outcome).tolist()
    _, best, stopped = ends_of(pack, outcome)
    assert trials["finetune_best_update"].to_pylist() == best.tolist()
    assert trials["finetune_stopped"].to_pylist() == stopped.astype(bool).tolist()
    for name in ("validation_loss", "validation_accuracy"):  # are those of the best
        kept = [outcome.curves[name][lane, update - 1] for lane, update in enumerate(best)]
        assert trials[name].to_pylist() == [float(value) for value in kept]
    assert len(curves) == sum(map(len, store.curves(ids)))


def test_a_run_without_stopping_has_its_updates_and_no_other_column(run):
    trials = results.load_run(run).trials
    assert set(trials["finetune_updates"].to_pylist()) == {10}
    assert not {"finetune_best_update", "finetune_stopped"} & set(pq.read_schema(run / "trials.parquet").names)


@pytest.mark.parametrize(
    "settings",
    [{"patience": 99}, {"updates": 50, "validate_every": 0, "patience": 6}, {"updates": 2, "validate_at": (1,)}],
)
def test_a_patience_that_ends_nothing_early_is_said_and_stops_nobody(settings, experiment, dataset):
    found = with_values(experiment(sweep=(), finetune={**EARLY, **settings}), {"finetune.encoder_init": "he"})
    planned = [job.stage for job in make_plan(found, dataset).jobs.values()]
    lines = {str(finding) for finding in stages.endless(planned)}
    assert len(lines) == 1 and re.match(
        r"finetune.patience: \d+ ends nothing early, with \d+ measurements? in ", *lines
    )
    enough = make_plan(experiment(sweep=(), finetune=EARLY), dataset).jobs.values()
    assert not list(stages.endless(job.stage for job in enough))


def test_what_has_no_effect_names_no_stage(experiment, dataset):
    def ids(**finetune):
        found = experiment(sweep=(), seeds=1, finetune={**finetune, "encoder_init": "he"})
        return list(make_plan(found, dataset).jobs)

    assert ids() == ids(patience=7) != ids(stop="validation", validate_every=1)
    assert ids(readout="ridge") == ids(readout="ridge", stop="validation", validate_every=3)


def test_a_launch_that_stops_early_says_so_in_its_files(site):
    rate = ["--finetune.optimizer.learning-rate", "0.1", "--finetune.epochs", "20"]
    early = ["--finetune.stop", "validation", "--finetune.patience", "2", "--finetune.validate-every", "2"]
    done = site.launch(*site.at("early"), *rate, *early)
    assert done.returncode == 0, done.stderr
    found = results.load_run(site.path / "early-run")
    updates, stopped = (found.trials[f"finetune_{name}"].to_pylist() for name in ("updates", "stopped"))
    assert min(updates) < 100 and any(stopped)
    steps = found.curves.to_pandas().query("stage == 'finetune' and metric == 'loss'").groupby("trial_id").step.max()
    assert [steps[trial] for trial in found.trials["trial_id"].to_pylist()] == updates
    training = [arm["training"] for arm in json.loads((site.path / "early-run" / "answer.json").read_text())["arms"]]
    assert sum(arm["n_stopped"] for arm in training) == sum(stopped)
    assert not any(arm["trend"] == "improves" for arm in training if arm["n_stopped"] == 2)

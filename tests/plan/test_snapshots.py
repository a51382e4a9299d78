"""Sweeping the epochs of pretraining trains the longest: the others are what it passes, to the bit."""

import jax
import numpy as np
import pytest

from pretrain.config import AdamConfig, AutoencoderConfig, RbmConfig
from pretrain.engines import work
from pretrain.engines.interrupts import Interrupted
from pretrain.execute import execute
from pretrain.plan import snapshots
from pretrain.plan.plan import Pack, cut, packs
from pretrain.store.store import Store
from pretrain.study import results
from tests.launching import OPTIONS, call
from tests.small_sweep import forget_programs, make_plan, of_kind, unwatched

EPOCHS = (1, 2, 4)
SWEEP = ({"pretrain.epochs": EPOCHS, "finetune.encoder_init": ("pretrained",)},)
MEMORY = 1 << 30


@pytest.fixture(scope="module")
def swept(experiment, dataset):
    return make_plan(experiment(sweep=SWEEP, encoder={"layers": (12,)}), dataset)


@pytest.fixture(scope="module")
def pack(swept) -> Pack:
    """The longest pretraining of three seeds, which passes the others."""
    return packs(swept.jobs.values(), (), MEMORY, 2)[0]


@pytest.fixture(scope="module")
def alone(pack, dataset):
    """The outcome of each pack, run alone, by the number of its updates."""
    return {
        part.stage.n_updates: execute.run(Pack(part.stage, part.jobs), dataset, [None] * 3, unwatched)
        for part in (*pack.passed, pack)
    }


def same(first, second):
    jax.tree.map(np.testing.assert_array_equal, first[:3], second[:3])
    assert first.test == second.test


def epochs(stage):
    return stage.n_updates * stage.rows.batch_size // stage.rows.n


def epochs_of(found):
    """Epochs of the jobs that each longest one passes, by its own and the name of its stage."""
    return {
        (name, longest): passed
        for name, longest, passed in {
            (job.stage.name, epochs(job.stage), tuple(epochs(one.stage) for one in jobs)) for job, jobs in found
        }
    }


def passed_by(plan):
    found = snapshots.passed(plan.jobs.values())
    return epochs_of((plan.jobs[job], shorter) for job, shorter in found.items())


@pytest.mark.parametrize(
    "pretrain",
    [
        {},
        {"optimizer": AdamConfig(warmup_steps=3)},
        {"method": AutoencoderConfig(corruption="masking")},
        {"method": RbmConfig(persistent=True)},
        of_kind("supervised"),
    ],
)
def test_the_longest_of_a_layer_passes_the_others_where_nothing_depends_on_its_length(pretrain, experiment, dataset):
    encoder = {"layers": (12,), "activation": "sigmoid"}
    plan = make_plan(experiment(sweep=SWEEP, seeds=1, encoder=encoder, pretrain=pretrain), dataset)
    assert passed_by(plan) == {("pretrain/0", 4): (1, 2)}


@pytest.mark.parametrize(
    "pretrain",
    [
        {"optimizer": AdamConfig(schedule="cosine")},
        {"method": AutoencoderConfig(corruption="masking", corruption_schedule="linear")},
    ],
)
def test_nothing_is_passed_where_an_update_depends_on_how_many_there_are(pretrain, experiment, dataset):
    plan = make_plan(experiment(sweep=SWEEP, seeds=1, encoder={"layers": (12,)}, pretrain=pretrain), dataset)
    assert passed_by(plan) == {}


def test_a_second_layer_starts_from_another_parent_for_each_number_of_epochs(experiment, dataset):
    plan = make_plan(experiment(sweep=SWEEP, seeds=2), dataset)
    assert passed_by(plan) == {("pretrain/0", 4): (1, 2)}
    whole = make_plan(
        experiment(sweep=({**SWEEP[0], "pretrain.end_to_end_epochs": EPOCHS},), pretrain={"training": "end_to_end"}),
        dataset,
    )
    assert passed_by(whole) == {("pretrain/all", 4): (1, 2)}


@pytest.fixture(scope="module")
def finetuned(experiment, dataset):
    """The longest fine-tuning of three seeds, which passes the others, and may end early."""
    sweep = ({"finetune.epochs": (3, 12), "finetune.encoder_init": ("he",)},)
    early = {"stop": "validation", "patience": 2, "validate_every": 2, "optimizer": AdamConfig(learning_rate=0.3)}
    plan = make_plan(experiment(sweep=sweep, finetune=early), dataset)
    (found,) = packs(plan.jobs.values(), (), MEMORY, 2)
    return found


@pytest.mark.optimised
def test_fine_tunings_are_passed_too_whether_they_have_stopped_or_not(finetuned, dataset):
    kept = []
    outcome = execute.run(finetuned, dataset, [None] * 3, unwatched, keep=lambda *found: kept.append(found))
    (passed,) = finetuned.passed
    assert [part for part, _ in kept] == [passed] and epochs(passed.stage) == 3
    assert (outcome.stopping.n_since >= finetuned.stage.patience).any()
    for part, found in [*kept, (finetuned, outcome)]:
        alone = execute.run(Pack(part.stage, part.jobs), dataset, [None] * 3, unwatched)
        same(found, alone)
        jax.tree.map(np.testing.assert_array_equal, found.predictions, alone.predictions)


def test_only_jobs_that_differ_in_nothing_else_are_passed(experiment, dataset):
    sweep = ({**SWEEP[0], "pretrain.optimizer.learning_rate": (0.01, 0.02), "pretrain.l2": (0.0,)},)
    plan = make_plan(experiment(sweep=sweep, seeds=2, encoder={"layers": (12,)}), dataset)
    found = snapshots.passed(plan.jobs.values())
    assert len(found) == 4  # seeds and rates
    for longest, shorter in found.items():
        for job in shorter:
            assert job.seed == plan.jobs[longest].seed and job.data == plan.jobs[longest].data
            assert jax.tree.leaves(job.config) == jax.tree.leaves(plan.jobs[longest].config)


def test_a_pack_is_cut_with_what_it_passes(swept, pack):
    assert [epochs(part.stage) for part in (*pack.passed, pack)] == list(EPOCHS)
    for part in cut(pack, 2):
        for shorter in part.passed:
            assert [job.seed for job in shorter.jobs] == [job.seed for job in part.jobs]
    pretraining = {job.id for job in swept.jobs.values() if job.stage.stack.head is None}
    assert {job.id for job in pack.left} == pretraining
    some_done = packs(swept.jobs.values(), {pack.passed[0].jobs[0].id}, MEMORY, 2)
    left = [job.id for each in some_done for job in each.left if job.stage.stack.head is None]
    assert sorted(left) == sorted(pretraining - {pack.passed[0].jobs[0].id})


def test_a_longest_that_is_stored_leaves_the_next_to_pass_the_others(swept, pack):
    done = {job.id for job in pack.jobs}
    (first, *_) = packs(swept.jobs.values(), done, MEMORY, 2)
    assert [epochs(part.stage) for part in (*first.passed, first)] == [1, 2]


@pytest.mark.optimised
def test_what_is_passed_is_bit_equal_to_what_is_trained_alone_by_one_program(pack, alone, dataset):
    kept = []
    forget_programs()
    outcome = execute.run(pack, dataset, [None] * 3, unwatched, keep=lambda part, found: kept.append((part, found)))
    assert execute.LOOP.n_compiled == execute.INIT.n_compiled == 1
    assert [part.stage.n_updates for part, _ in kept] == [part.stage.n_updates for part in pack.passed]
    for part, found in [*kept, (pack, outcome)]:
        same(found, alone[part.stage.n_updates])


def one_by_one(first, total):
    return [(step, step + 1) for step in range(first, total)]


def trained(pack, dataset, store, stop_at=None):
    """Trains a pack into a store, interrupted after as many updates of this call."""
    made = 0

    def advanced(updates):
        nonlocal made
        made += updates // len(pack.jobs)

    work.do(pack, dataset, store, 1e9, advanced, lambda: made == stop_at, store.save, pytest.fail)


@pytest.mark.optimised
@pytest.mark.parametrize("stop_at", [1, 9, 10, 11, 20, 25])  # an epoch has 10 updates
def test_an_interrupted_pack_goes_on_and_leaves_the_same(stop_at, pack, alone, dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(execute, "_chunks", one_by_one)
    store = Store(tmp_path, pytest.fail)
    with pytest.raises(Interrupted):
        trained(pack, dataset, store, stop_at)
    stored = store.verified({job.id for job in pack.left})
    assert len(stored) == 3 * sum(part.stage.n_updates < stop_at for part in pack.passed)
    again = packs(list(pack.left), stored, MEMORY, 2, begun=store.in_training())
    assert [part.jobs for part in again] == [pack.jobs]
    trained(again[0], dataset, store)
    left_alike(pack, alone, store)


@pytest.mark.optimised
def test_what_an_earlier_run_of_the_longest_alone_has_passed_is_trained_for_itself(
    pack, alone, dataset, tmp_path, monkeypatch
):
    monkeypatch.setattr(execute, "_chunks", one_by_one)
    store = Store(tmp_path, pytest.fail)
    with pytest.raises(Interrupted):
        trained(Pack(pack.stage, pack.jobs), dataset, store, stop_at=15)
    steps = []
    run = execute.run
    monkeypatch.setattr(
        execute,
        "run",
        lambda pack, dataset, parents, after_chunk, *rest: run(
            pack, dataset, parents, lambda step, progress: (steps.append(step), after_chunk(step, progress)), *rest
        ),
    )
    trained(pack, dataset, store)
    assert steps == [*range(1, 11), *range(16, 41)]
    left_alike(pack, alone, store)


def left_alike(pack, alone, store):
    """Checks that a store holds what each pack comes to alone."""
    assert store.verified({job.id for job in pack.left}) == {job.id for job in pack.left}
    for part in (*pack.passed, pack):
        expected = alone[part.stage.n_updates]
        for lane, job in enumerate(part.jobs):
            params = jax.tree.map(lambda leaf, lane=lane: leaf[lane], expected.params)
            jax.tree.map(np.testing.assert_array_equal, store.params(job.id, job.stage.shapes), params)
            (record,), (curves,) = store.records([job.id]), store.curves([job.id])
            assert record.results == {name: value[lane] for name, value in expected.results.items()}
            mse = curves.to_pandas().query("metric == 'mse'")
            np.testing.assert_array_equal(mse.value, expected.curves["mse"][lane])
            assert mse.step.tolist() == list(range(1, part.stage.n_updates + 1))


@pytest.mark.optimised
def test_a_launch_that_sweeps_epochs_leaves_what_launches_of_each_leave(site):
    place = OPTIONS.index("--pretrain.epochs")
    others = ["geron", "--data.name", site.data, *OPTIONS[:place], *OPTIONS[place + 2 :]]
    one_layer = ["--encoder.layers", "12", "--sweep", "finetune.encoder_init=pretrained"]

    def launched(name, *epochs):
        done = call([*others, *one_layer, *site.at(name), *epochs], site.path)
        assert done.returncode == 0, done.stderr

    launched("swept", "--sweep", "pretrain.epochs=1,2,3")
    rows = results.load_run(site.path / "swept-run").trials.to_pandas()
    for epochs in (1, 2, 3):
        launched(f"epochs-{epochs}", "--pretrain.epochs", epochs)
        alone = results.load_run(site.path / f"epochs-{epochs}-run")
        mine = rows[rows["pretrain.epochs"] == epochs]
        for name in ("test_accuracy", "validation_loss", "pretrain_test_mse", "pretrain_validation_mse"):
            assert mine[name].tolist() == alone.trials[name].to_pylist()

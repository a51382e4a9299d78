"""Messages of packs: a worker derives from each the jobs that the launcher planned, or refuses them."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from pretrain import data, running
from pretrain.config import DataConfig, StudyConfig, from_json, to_json
from pretrain.engines import message as messages
from pretrain.engines.message import AlteredError, Deriver, ids_of, message
from pretrain.plan import plan as planning
from pretrain.plan.plan import Pack, packs
from pretrain.store import reuse
from pretrain.store.records import StoredAs
from tests.own_method import written
from tests.plan.test_imported import dense
from tests.plan.test_own_layers import OWN
from tests.plan.test_own_views import SOURCE
from tests.small_sweep import CORNERS, FINGERPRINTS, of_kind

MEMORY = 1 << 30
PRETRAINED = {"finetune.encoder_init": ("pretrained",)}
NOT_STORED = SimpleNamespace(pack_of=lambda stage: None)


def sent(pack, stored=NOT_STORED):
    """A pack's message as a worker reads it."""
    return json.loads(json.dumps(message(pack, stored, "experiment")))


def deriver(experiment, fingerprint=FINGERPRINTS):
    """A worker's, which knows the experiment by its text."""
    return Deriver(from_json(to_json(experiment)), fingerprint)


def same_arrays(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    jax.tree.map(np.testing.assert_array_equal, one, other)


def check_job(derived, planned):
    plain = [field.name for field in dataclasses.fields(planned)]
    plain = [name for name in plain if name not in ("weights", "parent_stage", "traced", "origin")]
    for name in plain:
        assert getattr(derived, name) == getattr(planned, name), name
    assert str(derived.traced) == str(planned.traced)
    same_arrays(derived.weights, planned.weights)
    assert (derived.parent_stage is None) == (planned.parent_stage is None)
    if planned.parent_stage:
        assert jax.tree.map(str, derived.parent_stage.shapes) == jax.tree.map(str, planned.parent_stage.shapes)


def check(experiment, plan, **options):
    """Checks that a worker derives all packs of a plan as they are; returns them."""
    found = packs(plan.jobs.values(), (), MEMORY, 1, lambda job: 0.5, fewest=1, **options)  # of two jobs
    worker = deriver(experiment)
    for pack in found:
        derived = worker.pack(sent(pack), ())
        assert derived == pack  # stages, ids, seeds, numbers, and what it passes
        assert sorted(ids_of(sent(pack))) == sorted(job.id for job in pack.left)
        for part, of_plan in zip((derived, *derived.passed), (pack, *pack.passed), strict=True):
            for one, other in zip(part.jobs, of_plan.jobs, strict=True):
                check_job(one, other)
    assert {job.id for pack in found for job in pack.left} == plan.jobs.keys()
    return found


def planned(experiment):
    return planning.plan(experiment.whole, data.load_all(experiment.whole), FINGERPRINTS)


def greedy(make, path):
    return make(sweep=(CORNERS,))


def end_to_end(make, path):
    return make(pretrain={"training": "greedy_then_end_to_end"})


def numbers(make, path):
    return make(sweep=({"pretrain.optimizer.learning_rate": (0.01, 0.001), "pretrain.l2": (0.0, 1e-4), **PRETRAINED},))


def methods(make, path):
    kinds = ("autoencoder", "rbm", "contrastive", "pca", "masked")
    return make(
        sweep=({"pretrain.method.kind": kinds, **PRETRAINED},), encoder={"layers": (9,), "activation": "sigmoid"}
    )


def epochs(make, path):
    return make(sweep=({"pretrain.epochs": (1, 2, 4), **PRETRAINED},))


def kept_states(make, path):
    made = epochs(make, path)
    return dataclasses.replace(made, study=dataclasses.replace(made.study, keep_states=True))


def fresh_splits(make, path):
    return make(data={"splits": "fresh", "test": 40}, seeds=3)


def repeats(make, path):
    return dataclasses.replace(make(), repeats=2)


def variation(make, path):
    made = make(finetune={"label_subset": "random", "labels": 60}, seeds=2)
    return dataclasses.replace(made, study=StudyConfig(variation=True))


def variation_of_splits(make, path):
    made = make(data={"splits": "fresh", "test": 40}, finetune={"label_subset": "random", "labels": 60})
    return dataclasses.replace(made, study=StudyConfig(variation=True))


def several_sets(make, path):
    tiny, other = make().data.name, path / "other.npz"
    with np.load(tiny) as arrays:
        np.savez(other, **{name: each[:-4] for name, each in arrays.items()})
    return make(sweep=({"data.name": (tiny, str(other)), **CORNERS},), finetune={"labels": 0.25})


def checkpoint(make, path):
    n_inputs = data.load(DataConfig(name=make().data.name, validation=60)).train.inputs.shape[1]
    dense(path / "w.npz", n_inputs, (12, 6), np.random.default_rng(0))
    weights = {"weights": str(path / "w.npz"), "weights_layout": "flax"}
    return make(sweep=({"finetune.encoder_init": ("weights", "he", "pretrained")},), finetune=weights)


def pretraining_from_a_checkpoint(make, path):
    made = checkpoint(make, path)
    return dataclasses.replace(
        made,
        pretrain=dataclasses.replace(made.pretrain, encoder_init="weights"),
        encoder=dataclasses.replace(made.encoder, activation="sigmoid"),
        sweep=(PRETRAINED,),
    )


def own_layers(make, path):
    (path / "own.py").write_text(OWN)
    return make(encoder={"layers": (f"{path}/own.py:closed", 6)})


def own_method(make, path):
    return make(pretrain={"method": {"kind": written(path)}}, encoder={"layers": (9,)}, sweep=(PRETRAINED,))


def own_views(make, path):
    (path / "my_views.py").write_text(SOURCE)
    views = of_kind("contrastive", views=("flip", f"{path}/my_views.py:tilted"))
    return make(pretrain=views, encoder={"layers": (9,)})


def until_conclusive(make, path):
    return dataclasses.replace(make(seeds=2), study=StudyConfig(until_conclusive=True, most_seeds=6))


def baselines(make, path):
    return dataclasses.replace(make(), study=StudyConfig(baselines=True))


def readouts(make, path):
    return make(sweep=({"finetune.readout": ("linear", "knn", "ridge"), **PRETRAINED},))


CASES = (
    *(greedy, end_to_end, numbers, methods, epochs, kept_states, fresh_splits, repeats, variation),
    *(variation_of_splits, several_sets, checkpoint, pretraining_from_a_checkpoint, own_layers, own_method),
    *(own_views, until_conclusive, baselines, readouts),
)


@pytest.mark.cluster  # a minute of traces
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_a_worker_derives_what_the_launcher_planned(case, experiment, tmp_path):
    made = case(experiment, tmp_path)
    plan = planned(made)
    found = check(made, plan)
    if case in (epochs, kept_states):
        assert any(pack.passed for pack in found)
    if case in (variation, variation_of_splits):
        assert any(isinstance(job.seed, tuple) for job in plan.jobs.values())
    if case is until_conclusive:
        assert {trial.seed for trial in plan.trials} == set(range(6))
    if case in (checkpoint, pretraining_from_a_checkpoint):
        assert any(job.weights for job in plan.jobs.values())
    if case is several_sets:
        assert len({job.data for job in plan.jobs.values()}) == 2


@pytest.mark.cluster
def test_fields_that_are_fitted_to_the_data_reach_a_worker(experiment, tmp_path):
    asked = experiment(sweep=(CORNERS,)).with_others(
        {"run_dir": str(tmp_path / "run"), "store": str(tmp_path / "store")}
    )
    asked = dataclasses.replace(asked, defaults="data", ways=True)
    prepared = running.prepare(asked, chosen=())
    assert prepared.experiment != asked
    check(prepared.experiment, prepared.plan)


def test_jobs_that_stand_for_others_under_code_ignore_keep_their_ids(experiment, dataset):
    """Stages of another program, which are stored, take the place of the first; the rest trains from them."""
    made = dataclasses.replace(experiment(seeds=2), code="ignore")
    plan = planned(made)
    first = {
        job.settings_id: StoredAs(f"old-{job.id}", "other", {}, None) for job in plan.jobs.values() if not job.depth
    }

    class Stored:
        def with_settings(self, settings_id):
            return [first[settings_id]] if settings_id in first else []

        def verified(self, ids):
            return {each for each in ids if each.startswith("old-")}

    followed = reuse.chosen(made, plan, Stored())
    left = [job for job in followed.jobs.values() if not job.id.startswith("old-")]
    assert 0 < len(left) < len(plan.jobs) and any((job.parent or "").startswith("old-") for job in left)
    worker = deriver(made)
    for pack in packs(left, (), MEMORY, 1, 2):
        assert worker.pack(sent(pack), ()) == pack


@pytest.fixture
def swept(experiment):
    made = experiment(sweep=({"pretrain.epochs": (1, 2), **PRETRAINED},), encoder={"layers": (12,)})
    return made, packs(planned(made).jobs.values(), (), MEMORY, 1)


def test_a_message_is_json_and_names_the_packs_that_hold_parents(swept):
    _, (first, *_, last) = swept
    stored = SimpleNamespace(pack_of={job.parent: "of-parents" for job in last.jobs}.get)
    content = message(last, stored, "by-name")
    assert json.loads(json.dumps(content)) == {**content, "parts": sent(last)["parts"]}
    assert (content["experiment"], content["opens"], sent(last)["opens"]) == ("by-name", ["of-parents"], [])
    assert len(sent(first)["parts"]) == 1 + len(first.passed) == 2
    assert len(ids_of(sent(first))) == 6


def test_lanes_that_are_left_out_take_their_shorter_ones_along(swept):
    made, (first, *_) = swept
    derived = deriver(made).pack(sent(first), {first.jobs[1].id})
    assert derived.jobs == (first.jobs[0], first.jobs[2])
    assert [part.jobs for part in derived.passed] == [(part.jobs[0], part.jobs[2]) for part in first.passed]
    assert deriver(made).pack(sent(first), {job.id for job in first.jobs}) is None


def test_a_worker_derives_no_job_of_another_pack(experiment, monkeypatch):
    made = experiment(sweep=({"pretrain.l2": (0.0, 1e-4, 1e-3), **PRETRAINED},))
    points = []
    staged = messages.NamedStages.__call__
    monkeypatch.setattr(
        messages.NamedStages, "__call__", lambda self, settings: points.append(settings) or staged(self, settings)
    )
    plan = planned(made)
    points.clear()
    one = next(iter(plan.jobs.values()))
    worker = deriver(made)
    for _ in range(2):
        worker.pack(sent(Pack(one.stage, (one,))), ())
    assert len(points) == 1 and len(worker.datasets) == 1


def test_altered_data_are_refused_by_their_name(experiment, tiny_arrays, tmp_path):
    file = tmp_path / "rows.npz"
    np.savez(file, **tiny_arrays)
    made = experiment(data={"name": str(file)})
    first, *_ = packs(planned(made).jobs.values(), (), MEMORY, 1)
    np.savez(file, **{**tiny_arrays, "train_images": tiny_arrays["train_images"][::-1]})
    with pytest.raises(AlteredError, match=rf"^{file}: was altered .*; run the same command again$"):
        deriver(made).pack(sent(first), ())


def test_altered_code_is_refused(experiment):
    made = experiment()
    first, *_ = packs(planned(made).jobs.values(), (), MEMORY, 1)

    def altered(*asked):
        return FINGERPRINTS(*asked)[::-1]

    with pytest.raises(AlteredError, match="or code was; run the same command again"):
        deriver(made, altered).pack(sent(first), ())


@pytest.mark.parametrize("other", [{"seed": 7}, {"parent": "other"}, {"origin": [0, 0, 9]}, {"origin": [3, 0, 0]}])
def test_a_job_in_another_place_is_refused(other, experiment):
    made = experiment(sweep=({"finetune.l2": (0.0, 1e-4), **CORNERS},))
    *_, last = packs(planned(made).jobs.values(), (), MEMORY, 1)
    content = sent(last)
    content["parts"][0][0] |= other
    with pytest.raises(AlteredError):
        deriver(made).pack(content, ())

"""What a point's trials go through: phases of every kind, and what decides each of them."""

import dataclasses
import io

import numpy as np
import pytest
from rich.console import Console

from pretrain import data
from pretrain.config import ObjectiveConfig, OptimizerConfig
from pretrain.config.fields import ConfigError
from pretrain.sweep import cost, preview
from pretrain.sweep import plan as planning

PRETRAINED = ({"finetune.encoder_init": ("pretrained",)},)
SIGMOID = {"activation": "sigmoid"}


@pytest.fixture(scope="module")
def planned(experiment):
    """Returns a function that plans a small experiment on its own datasets."""

    def plan(sweep=PRETRAINED, seeds=1, **settings):
        found = experiment(sweep=sweep, seeds=seeds, **settings)
        return planning.plan(found, data.load_all(found))

    return plan


def of_kind(kind, **settings):
    return {"objective": ObjectiveConfig(kind=kind, **settings)}


def path(plan, trial=0):
    """The jobs of a trial, in order."""
    return [plan.jobs[job] for job in plan.trials[trial].jobs]


def names(plan):
    return sorted(job.stage.name for job in plan.jobs.values())


def one_line(call, *parts):
    with pytest.raises(ConfigError) as error:
        call()
    assert str(error.value).splitlines() == [str(error.value)]
    for part in parts:
        assert part in str(error.value)


# Of 200 images, in batches of 20: ten updates an epoch.
def test_layers_have_their_own_length_optimizer_and_numbers(planned):
    per_layer = {
        "pretrain.epochs": (1, 3),
        "pretrain.batch_size": (20, 40),
        "pretrain.optimizer.name": ("adam", "sgd"),
        "pretrain.optimizer.learning_rate": (0.1, 0.2),
        "finetune.unfreeze_at": (5, 3),
        "finetune.rate_factor": (0.25, 0.5),
    }
    lowest, above, last = path(planned(per_layer=per_layer))
    assert [job.stage.total_steps for job in (lowest, above)] == [10, 15]
    assert [job.stage.config.optimizer.name for job in (lowest, above)] == ["adam", "sgd"]
    assert [job.numbers["optimizer.learning_rate"] for job in (lowest, above)] == [0.1, 0.2]
    assert (last.numbers["unfreeze_at"], last.numbers["rate_factor"]) == ((5.0, 3.0), (0.25, 0.5))
    assert last.stage == path(planned())[-1].stage  # numbers are no part of the program
    alike = path(planned(finetune={"unfreeze_at": 4, "rate_factor": 0.5}))[-1]
    assert (alike.numbers["unfreeze_at"], alike.numbers["rate_factor"]) == ((4.0, 4.0), (0.5, 0.5))


def test_values_alike_for_all_layers_are_the_same_stages_as_given_once(planned):
    once = planned(encoder=SIGMOID, pretrain={"epochs": 1, **of_kind("rbm")}, finetune={"rate_factor": 0.5})
    per_layer = {"pretrain.objective.kind": ("rbm", "rbm"), "encoder.activation": ("sigmoid", "sigmoid")}
    per_layer |= {"pretrain.epochs": (1, 1), "finetune.rate_factor": (0.5, 0.5)}
    assert planned(per_layer=per_layer).jobs.keys() == once.jobs.keys()


def test_activations_of_layers_are_those_of_their_stages_and_of_what_is_reconstructed(planned):
    lowest, above, last = path(planned(per_layer={"encoder.activation": ("tanh", "relu")}))
    assert (lowest.stage.activations, above.stage.activations) == (("tanh",), ("tanh", "relu"))
    assert last.stage.activations == ("tanh", "relu")
    assert [counterpart.output for counterpart in above.stage.counterparts] == ["identity", "tanh"]


def test_steps_are_counted_on_over_phases_of_different_lengths(planned):
    settings = {"pretrain": {"carry_step_count": True, "training": "greedy_then_end_to_end", "end_to_end_epochs": 5}}
    three = {"widths": (12, 8, 6)}
    per_layer = {"pretrain.epochs": (1, 3, 2), "pretrain.batch_size": (20, 40, 20)}
    *phases, whole, _ = path(planned(encoder=three, per_layer=per_layer, **settings))
    assert [job.stage.made_before for job in phases] == [0, 10, 10 + 15]
    assert whole.stage.made_before == 10 + 15 + 20 and whole.stage.total_steps == 50
    # Components take no updates.
    kinds = {"pretrain.objective.kind": ("reconstruction", "pca", "reconstruction")}
    *phases, whole, _ = path(planned(encoder=three, per_layer=per_layer | kinds, **settings))
    assert [job.stage.made_before for job in phases] == [0, 0, 10] and whole.stage.made_before == 10 + 20
    apart = {**settings["pretrain"], "carry_step_count": False}
    found = planned(encoder=three, per_layer=per_layer, pretrain=apart)
    assert {job.stage.made_before for job in path(found)[:-1]} == {0}


def test_all_layers_are_trained_at_once_after_the_phases_or_without_them(planned):
    settings = {"encoder": SIGMOID, "finetune": {"encoder_init": "pretrained"}}
    then = planned(pretrain={"training": "greedy_then_end_to_end", **of_kind("rbm")}, seeds=2, **settings)
    assert names(then) == sorted(["pretrain/0", "pretrain/1", "pretrain/all", "finetune"] * 2)
    _, above, whole, last = path(then)
    assert whole.parent == above.id and last.parent == whole.id
    assert (whole.stage.frozen_layers, whole.stage.kind) == (0, "reconstruction")
    # As the machines left it: the transposed kernel decodes.
    assert whole.stage.counterparts == above.stage.counterparts
    assert {counterpart.decoder for counterpart in whole.stage.counterparts} == {"tied"}
    greedy = planned(pretrain=of_kind("rbm"), seeds=2, **settings)
    assert [job.id for job in path(greedy)[:2]] == [job.id for job in path(then)[:2]]

    only = planned(pretrain={"training": "end_to_end", "end_to_end_epochs": 3}, **settings)
    whole, last = path(only)
    assert (whole.stage.name, whole.parent, last.parent) == ("pretrain/all", None, whole.id)
    assert whole.stage.total_steps == 30
    order = [pack.stage.name for pack in planning.packs(then.jobs.values(), (), 1 << 30, 2)]
    assert order == ["pretrain/0", "pretrain/1", "pretrain/all", "finetune"]


def test_a_single_layer_trained_all_at_once_is_a_phase_like_any_other(planned):
    one = {"widths": (12,)}
    greedy = planned(encoder=one, pretrain={"epochs": 3})
    whole = planned(encoder=one, pretrain={"training": "end_to_end", "epochs": 1, "end_to_end_epochs": 3})
    assert greedy.jobs.keys() == whole.jobs.keys() and names(whole) == ["finetune", "pretrain/0"]


def test_components_are_found_once_for_all_seeds_and_repeats(planned, experiment):
    found = planned(sweep=({"finetune.encoder_init": ("pca", "pretrained")},), seeds=3)
    phases = [job for job in found.jobs.values() if job.stage.name != "finetune"]
    assert [job.stage.kind for job in phases].count("pca") == 2 and len(phases) == 2 + 2 * 3
    assert len({trial.jobs[-1] for trial in found.trials}) == 6
    by_kind = planned(pretrain=of_kind("pca"), seeds=3)
    assert by_kind.jobs.keys() < found.jobs.keys()  # however they are asked for
    # Above a layer that has a seed, they have it, too.
    above = planned(per_layer={"pretrain.objective.kind": ("reconstruction", "pca")}, seeds=3)
    assert names(above).count("pretrain/1") == 3
    repeated = experiment(sweep=PRETRAINED, seeds=2, pretrain=of_kind("pca"))
    repeated = dataclasses.replace(repeated, repeats=2)
    found = planning.plan(repeated, data.load_all(repeated))
    assert names(found) == [*["finetune"] * 4, "pretrain/0", "pretrain/1"]


@pytest.mark.parametrize("training", ["greedy", "end_to_end", "greedy_then_end_to_end"])
def test_every_encoder_that_needs_pretraining_has_it_however_layers_are_trained(training, planned):
    inits = ("pretrained", "matched", "permuted", "rotated", "pca", "wrong_data", "he")
    found = planned(sweep=({"finetune.encoder_init": inits},), pretrain={"training": training})
    stages = {trial.point["finetune.encoder_init"]: path(found, n) for n, trial in enumerate(found.trials)}
    trained = {"greedy": ["pretrain/0", "pretrain/1"], "end_to_end": ["pretrain/all"]}
    trained["greedy_then_end_to_end"] = trained["greedy"] + trained["end_to_end"]
    expected = {name: trained["greedy"] if name == "pca" else trained[training] for name in inits} | {"he": []}
    assert {name: [job.stage.name for job in jobs[:-1]] for name, jobs in stages.items()} == expected
    assert {job.stage.kind for job in stages["pca"][:-1]} == {"pca"}
    # Controls are made of the pretrained weights themselves, and each is an arm of its own.
    before = {name: [job.id for job in jobs[:-1]] for name, jobs in stages.items()}
    assert before["matched"] == before["permuted"] == before["rotated"] == before["pretrained"]
    assert not {*before["wrong_data"]} & {*before["pretrained"]}
    assert len({jobs[-1].id for jobs in stages.values()}) == len(inits)
    assert len({jobs[-1].stage for jobs in stages.values()}) == 1


def test_wrong_images_are_for_pretraining_alone(planned, experiment):
    found = planned(finetune={"encoder_init": "wrong_data"}, sweep=())
    *phases, last = path(found)
    own = experiment().data
    assert {job.data for job in phases} == {dataclasses.replace(own, shuffled_pixels=True)}
    assert last.data == own
    # The same phases as of a run on those images.
    shuffled = experiment(sweep=PRETRAINED, seeds=1)
    shuffled = dataclasses.replace(shuffled, data=phases[0].data)
    again = planning.plan(shuffled, data.load_all(shuffled))
    assert [job.id for job in path(again)[:-1]] == [job.id for job in phases]
    assert path(again)[-1].id != last.id


def test_supervised_phases_depend_on_what_is_labelled_and_others_do_not(planned):
    ways = {"finetune.labels": (40, 80), "finetune.label_subset": ("first", "balanced")}
    kinds = {"pretrain.objective.kind": ("reconstruction", "supervised")}
    unsupervised = planned(sweep=(ways,), seeds=2)
    assert names(unsupervised).count("pretrain/1") == 2
    found = planned(sweep=(ways,), seeds=2, per_layer=kinds)
    assert (names(found).count("pretrain/0"), names(found).count("pretrain/1")) == (2, 4 * 2)
    top = [job for job in found.jobs.values() if job.stage.name == "pretrain/1"]
    assert {(job.stage.n_examples, job.choices["label_subset"]) for job in top} == {
        (labels, way) for labels in (40, 80) for way in ("first", "balanced")
    }
    assert len({job.stage for job in top}) == 2 and {job.stage.n_classes for job in top} == {3}
    assert {job.stage.total_steps for job in top} == {4, 8}  # 2 epochs of 40 and of 80 images, in batches of 20


def test_repeats_draw_labels_anew_for_supervised_phases_only(experiment):
    def repeated(**settings):
        found = dataclasses.replace(experiment(sweep=PRETRAINED, seeds=1, **settings), repeats=3)
        return planning.plan(found, data.load_all(found))

    assert names(repeated()).count("pretrain/0") == 1
    supervised = repeated(pretrain=of_kind("supervised"))
    assert names(supervised).count("pretrain/0") == names(supervised).count("finetune") == 3
    for trial in supervised.trials:
        jobs = [supervised.jobs[job] for job in trial.jobs]
        assert len({job.seed for job in jobs}) == 1  # the labelled subset of the phases is that of fine-tuning
    above = repeated(per_layer={"pretrain.objective.kind": ("reconstruction", "supervised")})
    assert (names(above).count("pretrain/0"), names(above).count("pretrain/1")) == (1, 3)


@pytest.mark.parametrize(
    ("rule", "numbers"),
    [
        ("sgd", {"momentum"}),
        ("adam", {"beta1", "beta2", "epsilon"}),
        ("adamw", {"beta1", "beta2", "epsilon", "weight_decay"}),
    ],
)
@pytest.mark.parametrize("section", ["pretrain", "finetune", "all at once"])
def test_numbers_that_an_optimizer_has_not_split_no_stage(section, rule, numbers, planned):
    field, stage = {"finetune": ("finetune", "finetune"), "pretrain": ("pretrain", "pretrain/1")}.get(
        section, ("pretrain", "pretrain/all")
    )
    settings = {field: {"optimizer": OptimizerConfig(name=rule)}}
    if section == "all at once":
        settings["pretrain"]["training"] = "greedy_then_end_to_end"
    values = {"momentum": (0.5, 0.75), "beta1": (0.5, 0.75), "beta2": (0.5, 0.75), "epsilon": (0.1, 0.2)}
    values |= {"weight_decay": (0.0, 0.1), "learning_rate": (0.1, 0.2), "warmup_steps": (0, 3)}
    values |= {"schedule": ("constant", "cosine")}
    found = {
        name: names(planned(sweep=({f"{field}.optimizer.{name}": both},), **settings)).count(stage)
        for name, both in values.items()
    }
    decisive = numbers | {"learning_rate", "warmup_steps", "schedule"}
    assert found == {name: 1 + (name in decisive) for name in values}
    if field == "pretrain":
        counted = planned(sweep=({"pretrain.carry_step_count": (False, True)},), **settings)
        assert names(counted).count(stage) == (1 if rule == "sgd" else 2)


@pytest.mark.parametrize("readout", ["ridge", "logistic", "knn"])
def test_settings_of_training_decide_nothing_of_a_read_out(readout, planned):
    ignored = {
        "finetune.optimizer.learning_rate": (0.01, 0.001),
        "finetune.epochs": (2, 3),
        "finetune.batch_size": (10, 20),
        "finetune.rate_factor": (0.5, 1.0),
        "finetune.head_init": ("random", "ridge"),
    }
    for name, values in ignored.items():
        found = planned(sweep=({name: values},), finetune={"readout": readout})
        assert len(found.trials) == 2 and names(found).count("finetune") == 1, name
    frozen, trained = (planned(finetune={"readout": readout, "frozen_layers": layers}) for layers in (2, 0))
    assert frozen.jobs.keys() == trained.jobs.keys()
    penalties = planned(sweep=({"finetune.l2": (0.0, 0.1)},), finetune={"readout": readout})
    assert names(penalties).count("finetune") == (2 if readout == "logistic" else 1)
    decisive = {"finetune.codes": ("raw", "standardised"), "finetune.labels": (40, 80), "finetune.fresh_layers": (0, 1)}
    for name, values in (decisive | {"finetune.encoder_init": ("pretrained", "he")}).items():
        assert names(planned(sweep=({name: values},), finetune={"readout": readout})).count("finetune") == 2, name


OF_RECONSTRUCTION = {
    "loss": ("mse", "cross_entropy"),
    "output": ("linear", "sigmoid"),
    "tied": (False, True),
    "corruption": ("none", "masking"),
    "sparsity": ("none", "l1"),
    "contractive": (False, True),
    "variational": (False, True),
    "kl_weight": (0.1, 0.2),
}
OF_MACHINES = {
    "visible": ("bernoulli", "gaussian"),
    "visible_deviation": (1.0, 0.5),
    "gibbs_steps": (1, 2),
    "persistent": (False, True),
}
OF_TRAINING = {"epochs": (1, 2), "l2": (0.0, 0.1), "batch_size": (10, 20), "sampling": ("epoch", "fresh")}
DECIDE = {
    "reconstruction": (OF_RECONSTRUCTION.keys() - {"kl_weight"}) | OF_TRAINING.keys(),
    "rbm": (OF_MACHINES.keys() - {"visible_deviation"}) | OF_TRAINING.keys(),
    "supervised": OF_TRAINING.keys(),
    "pca": set(),
}


@pytest.mark.parametrize("kind", DECIDE)
def test_settings_that_decide_nothing_of_a_kind_split_no_stage(kind, planned):
    objective = {f"objective.{name}": values for name, values in (OF_RECONSTRUCTION | OF_MACHINES).items()}
    of_nothing = {"cache_codes": (False, True), "carry_step_count": (False, True), "end_to_end_epochs": (3, 4)}
    of_nothing |= {"wrong_data": ("noise", "mnist")}
    split = set()
    for name, values in {**objective, **OF_TRAINING, **of_nothing}.items():
        found = planned(
            sweep=({f"pretrain.{name}": values},), encoder={**SIGMOID, "widths": (12,)}, pretrain=of_kind(kind)
        )
        assert len(found.trials) == 2
        if names(found).count("pretrain/0") == 2:
            split.add(name.removeprefix("objective."))
    assert split == DECIDE[kind]


def test_numbers_of_an_objective_count_where_they_are_used(planned):
    def n_phases(name, values, **objective):
        sweep = ({f"pretrain.objective.{name}": values},)
        found = planned(sweep=sweep, encoder={**SIGMOID, "widths": (12,)}, pretrain=of_kind(**objective))
        phases = [job for job in found.jobs.values() if job.stage.name != "finetune"]
        assert len({job.stage for job in phases}) == 1  # numbers share a program
        return len(phases)

    assert n_phases("kl_weight", (0.1, 0.2), kind="reconstruction", variational=True) == 2
    assert n_phases("visible_deviation", (1.0, 0.5), kind="rbm", visible="gaussian") == 2


def test_settings_that_decide_nothing_of_training_all_at_once_split_no_stage(planned):
    def count(name, values, training, **pretrain):
        sweep = ({f"pretrain.{name}": values},)
        found = planned(sweep=sweep, encoder=SIGMOID, pretrain={"training": training, **pretrain})
        return names(found).count("pretrain/all"), names(found).count("pretrain/0")

    assert count("epochs", (1, 2), "end_to_end") == (1, 0)
    assert count("cache_codes", (True, False), "end_to_end") == (1, 0)
    assert count("carry_step_count", (True, False), "end_to_end") == (1, 0)
    assert count("end_to_end_epochs", (1, 2), "end_to_end") == (2, 0)
    assert count("end_to_end_epochs", (1, 2), "greedy_then_end_to_end") == (2, 1)
    assert count("carry_step_count", (True, False), "greedy_then_end_to_end") == (2, 1)
    for name, values in {"objective.tied": (True, False), "objective.output": ("linear", "sigmoid")}.items():
        assert count(name, values, "end_to_end") == (2, 0)
        # The machines' counterparts are what they are.
        assert count(name, values, "greedy_then_end_to_end", **of_kind("rbm")) == (1, 1)
        assert count(name, values, "greedy_then_end_to_end") == (2, 2)


def test_settings_that_decide_nothing_of_fine_tuning_split_no_stage(planned):
    def count(name, values, **finetune):
        found = planned(sweep=({f"finetune.{name}": values},), finetune=finetune)
        return names(found).count("finetune")

    assert count("fresh_layers", (0, 1, 2)) == 3
    assert count("fresh_layers", (0, 1, 2), encoder_init="he") == 1
    for name, values in {"unfreeze_at": (0, 5), "rate_factor": (1.0, 0.5)}.items():
        assert count(name, values) == count(name, values, frozen_layers=1) == 2
        assert count(name, values, frozen_layers=2) == 1
    lower = {"finetune.rate_factor": (0.1, 1.0)}, {"finetune.rate_factor": (0.2, 1.0)}
    ids = [{*planned(per_layer=layers, finetune={"frozen_layers": 1}).jobs} for layers in lower]
    assert ids[0] == ids[1]


def test_encoders_that_have_no_room_or_no_images_are_refused(planned, tiny_arrays, tmp_path):
    wide = {"widths": (12, 13)}
    parts = "encoder.widths: (12, 13) ", "13 units that reads 12 values"
    one_line(lambda: planned(encoder=wide, pretrain=of_kind("pca")), *parts)
    one_line(lambda: planned(encoder=wide, sweep=({"finetune.encoder_init": ("he", "pca")},)), *parts)
    one_line(lambda: planned(encoder={"widths": (37,)}, pretrain=of_kind("pca")), "37 units that reads 36 values")
    above = {"pretrain.objective.kind": ("pca", "reconstruction")}
    assert planned(encoder=wide, per_layer=above) and planned(encoder={"widths": (36, 36)}, pretrain=of_kind("pca"))

    np.savez(tmp_path / "small.npz", **{n: a[:, 1:] if n.endswith("images") else a for n, a in tiny_arrays.items()})
    other = {"wrong_data": str(tmp_path / "small.npz")}
    wrong = {"encoder_init": "wrong_data"}
    one_line(lambda: planned((), pretrain=other, finetune=wrong), "pretrain.wrong_data: ", "30 values, not of 36")
    assert planned(pretrain=other)  # nothing is pretrained on it

    np.savez(tmp_path / "few.npz", **{n: a[:100] if n.startswith("train") else a for n, a in tiny_arrays.items()})
    few = {"wrong_data": str(tmp_path / "few.npz")}
    labels = "finetune.labels: 80 is more than the 40 training images"
    assert planned((), pretrain=few, finetune=wrong)
    one_line(lambda: planned((), pretrain={**few, **of_kind("supervised")}, finetune=wrong), labels)


def test_batches_larger_than_what_a_phase_reads_are_refused(planned):
    per_layer = {"pretrain.batch_size": (20, 201)}
    one_line(lambda: planned(per_layer=per_layer), "pretrain.batch_size: 201 ", "200 training images")
    sizes = {"pretrain.batch_size": (80, 81)}
    one_line(
        lambda: planned(per_layer=sizes, pretrain=of_kind("supervised")), "pretrain.batch_size: 81 ", "the 80 labels"
    )
    kinds = {"pretrain.objective.kind": ("supervised", "reconstruction")}
    assert planned(per_layer=sizes | kinds)
    # A size that no layer has is no mistake, unless all layers are trained at once with it.
    sizes = {"pretrain.batch_size": (20, 20)}
    assert planned(per_layer=sizes, pretrain={"batch_size": 201})
    then = {"batch_size": 201, "training": "greedy_then_end_to_end"}
    one_line(lambda: planned(per_layer=sizes, pretrain=then), "pretrain.batch_size: 201 ", "200 training images")


PREVIEWED = {
    "rbm": ({"encoder": SIGMOID, "pretrain": of_kind("rbm", visible="gaussian")}, "pretrain/1"),
    "supervised": ({"pretrain": of_kind("supervised")}, "pretrain/1"),
    "pca": ({"pretrain": of_kind("pca")}, "pretrain/1"),
    "variational": ({"pretrain": of_kind("reconstruction", variational=True)}, "pretrain/1"),
    "all at once": ({"pretrain": {"training": "greedy_then_end_to_end"}}, "pretrain/all"),
    **{name: ({"finetune": {"readout": name}}, f"finetune, {name}") for name in ("ridge", "logistic", "knn")},
}


@pytest.mark.parametrize("kind", PREVIEWED)
def test_a_preview_tells_stages_of_every_kind(kind, experiment, monkeypatch):
    settings, row = PREVIEWED[kind]
    monkeypatch.setattr(cost, "flop_rate", lambda: 1e9)
    found = experiment(sweep=({"finetune.encoder_init": ("pretrained", "wrong_data", "he")},), seeds=2, **settings)
    datasets, out = data.load_all(found), io.StringIO()
    plan = planning.plan(found, datasets)
    preview.show(plan, datasets, Console(file=out, width=120))
    first, *rows = out.getvalue().splitlines()
    assert f"6 trials of {2 * (2 * (len(plan.trials[0].jobs) - 1) + 3)} stages" in first.replace(" together", "")
    assert f"{len(plan.jobs)} of them distinct" in first
    packs = planning.packs(plan.jobs.values(), (), 1 << 30, 2)
    told = [line.split() for line in rows if line.lstrip()[:1].isdigit()]
    assert len(told) == len(packs) and any(row.split() == words[1 : 1 + len(row.split())] for words in told)
    for words, pack in zip(told, packs, strict=True):
        count = [str(len(pack.jobs)), str(pack.stage.total_steps), f"{cost.n_parameters(pack.stage):,}"]
        assert " ".join(count) in " ".join(words)


def test_an_optimizer_of_a_layer_is_that_of_a_phase_alone(planned):
    rates = {"pretrain.optimizer.learning_rate": (0.1, 0.2)}
    given = {"pretrain": {"optimizer": OptimizerConfig(learning_rate=0.1)}}
    assert path(planned(per_layer=rates))[0].id == path(planned(**given))[0].id
    assert path(planned(per_layer=rates))[1].id != path(planned(**given))[1].id

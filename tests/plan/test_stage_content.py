"""What splits stages: the settings that decide something of one, and no others."""

import dataclasses
import itertools
import typing

import pytest

from pretrain.config.fields import ConfigError, kind_of, section_classes
from pretrain.config.optimizers import OptimizerConfig
from pretrain.config.views import View
from tests.small_sweep import METHODS, names, of_kind, path

SIGMOID = {"activation": "sigmoid"}
ONE = {**SIGMOID, "layers": (12,)}
RULES = {kind_of(each): each for each in section_classes(OptimizerConfig)}


def fields_of(config):
    return {field.name for field in dataclasses.fields(config)} - {"kind"}


def refusal(planned, **settings):
    """What is wrong with settings, in a word."""
    with pytest.raises(ConfigError) as error:
        planned(**settings)
    return str(error.value)


def test_values_alike_for_all_layers_are_the_same_stages_as_given_once(planned):
    once = planned(encoder=SIGMOID, pretrain={"epochs": 1, **of_kind("rbm")}, finetune={"rate_factor": 0.5})
    per_layer = {"pretrain.method.kind": ("rbm", "rbm"), "encoder.activation": ("sigmoid", "sigmoid")}
    per_layer |= {"pretrain.epochs": (1, 1), "finetune.rate_factor": (0.5, 0.5)}
    assert planned(per_layer=per_layer).jobs.keys() == once.jobs.keys()


def test_an_optimizer_of_a_layer_is_that_of_a_stage_alone(planned):
    rates = {"pretrain.optimizer.learning_rate": (0.1, 0.2)}
    given = {"pretrain": {"optimizer": RULES["adam"](learning_rate=0.1)}}
    assert path(planned(per_layer=rates))[0].id == path(planned(**given))[0].id
    assert path(planned(per_layer=rates))[1].id != path(planned(**given))[1].id


def test_activations_are_counted_by_layer_where_one_word_stands_for_several(planned, tmp_path):
    own = "from pretrain.learn.layers import Dense\n\n\ndef two():\n    return [Dense(9, 'elu'), Dense(7, 'elu')]\n"
    (tmp_path / "own.py").write_text(own)

    def contents(*activations):
        layers = {"layers": (f"{tmp_path / 'own.py'}:two", 5)}
        return [job.content for job in path(planned(encoder=layers, per_layer={"encoder.activation": activations}))]

    ours, theirs = contents("elu", "elu", "elu"), contents("elu", "elu", "relu")
    assert [one == other for one, other in zip(ours, theirs, strict=True)] == [True, True, False, False]


OF_RULES = {
    "learning_rate": (0.1, 0.2),
    "schedule": ("constant", "cosine"),
    "warmup_steps": (0, 3),
    "clip_norm": (0.0, 0.5),
    "beta1": (0.5, 0.75),
    "beta2": (0.5, 0.75),
    "epsilon": (0.1, 0.2),
    "epsilon_inside": (False, True),
    "weight_decay": (0.0, 0.1),
    "momentum": (0.5, 0.75),
}


QUICK = {("finetune", "adam"), ("pretrain", "sgd"), ("all at once", "adamw")}
SECTIONS = itertools.product(["pretrain", "finetune", "all at once"], RULES)


@pytest.mark.parametrize(
    ("section", "rule"), [case if case in QUICK else pytest.param(*case, marks=pytest.mark.slow) for case in SECTIONS]
)
def test_every_setting_that_an_optimizer_has_splits_stages_and_others_are_refused(section, rule, planned):
    field, stage = {"finetune": ("finetune", "finetune"), "pretrain": ("pretrain", "pretrain/1")}.get(
        section, ("pretrain", "pretrain/all")
    )
    settings = {field: {"optimizer": RULES[rule]()}}
    if section == "all at once":
        settings["pretrain"]["training"] = "greedy_then_end_to_end"
    assert fields_of(RULES[rule]) <= OF_RULES.keys()
    for name, values in OF_RULES.items():
        name = f"{field}.optimizer.{name}"
        if name.rpartition(".")[2] in fields_of(RULES[rule]):
            assert names(planned(sweep=({name: values},), **settings)).count(stage) == 2, name
        else:
            refused = refusal(planned, sweep=({name: values},), **settings)
            assert f"not of {rule}; set {field}.optimizer.kind" in refused
    if field == "pretrain":
        counted = planned(sweep=({"pretrain.carry_step_count": (False, True)},), **settings)
        assert names(counted).count(stage) == (1 if rule == "sgd" else 2)


def test_norms_to_which_gradients_are_shortened_share_a_program_and_none_is_in_no_program(planned):
    norms = (0.0, 0.5, 1.0)
    of_pretraining = planned(sweep=({"pretrain.optimizer.clip_norm": norms},))
    stages = [path(of_pretraining, trial)[0].stage for trial in range(3)]
    assert stages[1] == stages[2] != stages[0]
    plain = planned()
    assert path(of_pretraining)[0].id == path(plain)[0].id and path(of_pretraining)[-1].id == path(plain)[-1].id


OF_METHODS = {
    "loss": ("mse", "cross_entropy"),
    "output": ("linear", "sigmoid"),
    "tied": (False, True),
    "corruption": ("none", "masking"),
    "corruption_level": (0.1, 0.2),
    "corruption_schedule": ("constant", "linear"),
    "sparsity": ("none", "l1"),
    "sparsity_weight": (0.1, 0.2),
    "sparsity_target": (0.1, 0.2),
    "contractive": (False, True),
    "contraction_weight": (0.1, 0.2),
    "variational": (False, True),
    "kl_weight": (0.1, 0.2),
    "visible": ("bernoulli", "gaussian"),
    "visible_deviation": (1.0, 0.5),
    "gibbs_steps": (1, 2),
    "persistent": (False, True),
    "class_weights": ("none", "balanced"),
    "views": (("crop",), ("flip", "noise")),
    "anchor": ("view", "clean"),
    "projector": ((4,), (4, 3)),
    **dict.fromkeys(typing.get_args(View), (0.25, 0.125)),
    "share": (0.25, 0.5),
    "patch": (2, 3),
    "negatives": ("all", "other_view"),
    "temperature": (0.5, 1.0),
    "off_diagonal": (0.1, 0.2),
    **{f"{term}_weight": (1.0, 2.0) for term in ("invariance", "variance", "covariance", "reconstruction", "mask")},
    "predictor": ((4,), (4, 3)),
    "momentum": (0.0, 0.9),
    "stops_gradient": (True, False),
}
OF_TRAINING = {"epochs": (1, 2), "l2": (0.0, 0.1), "batch_size": (10, 20), "sampling": ("epoch", "fresh")}
OF_NOTHING = {  # of the only layer, trained greedily
    "cache_codes": (False, True),
    "carry_step_count": (False, True),
    "end_to_end_epochs": (3, 4),
    "wrong_data": ("noise", "mnist"),
}
# Fields of a method that decide something only beside others, and what these must be.
CONDITIONS = {
    "output": {"loss": "mse"},
    "corruption_level": {"corruption": "gaussian"},
    "corruption_schedule": {"corruption": "masking"},
    "sparsity_weight": {"sparsity": "l1"},
    "sparsity_target": {"sparsity": "kl"},
    "contraction_weight": {"contractive": True},
    "kl_weight": {"variational": True},
    "visible_deviation": {"visible": "gaussian"},
    **{
        level: {"views": (level,)}
        for level in ("flip", "erasing", "brightness", "contrast", "blur", "solarise", "noise")
    },
}
# Views of other inputs than images of one channel.
ELSEWHERE = {"greyscale", "hue", "shift", "slope", "offset", "scale", "swap"}
SHAPES_OF_PROGRAMS = {"corruption_schedule", "output"}  # of the fields above, what is no number


@pytest.mark.parametrize("kind", METHODS)
def test_settings_that_decide_nothing_of_a_method_split_no_stage(kind, planned):
    own = fields_of(METHODS[kind])
    assert own <= OF_METHODS.keys()
    split, elsewhere = set(), ELSEWHERE if "views" in own else set()
    for name, values in {**OF_METHODS, **OF_TRAINING, **OF_NOTHING}.items():
        field = f"pretrain.method.{name}" if name in OF_METHODS else f"pretrain.{name}"
        form = {"inputs": "columns"} if kind == "vime" else {}
        asked = {"sweep": ({field: values},), "encoder": ONE, "pretrain": of_kind(kind), "data": form}
        if name in OF_METHODS and name not in own:
            assert f"not of {kind}; set pretrain.method.kind" in refusal(planned, **asked)
            continue
        if name in elsewhere or CONDITIONS.get(name, {}).get("views"):  # no view of images by default
            fault = refusal(planned, **asked)
            assert f"pretrain.method.{name}: 0." in fault and "has no effect where views are crop and rotation" in fault
            continue
        found = planned(**asked)
        assert len(found.trials) == 2
        if names(found).count("pretrain/0") == 2:
            split.add(name)
    training = OF_TRAINING.keys() if METHODS[kind].makes_updates else set()
    assert split == (own - CONDITIONS.keys() - elsewhere | own & {"output"}) | training


@pytest.mark.parametrize("name", CONDITIONS)
def test_settings_of_a_method_count_where_they_are_used(name, planned):
    kind = next(kind for kind, method in METHODS.items() if name in fields_of(method))
    sweep = ({f"pretrain.method.{name}": OF_METHODS[name]},)
    found = planned(sweep=sweep, encoder=ONE, pretrain=of_kind(kind, **CONDITIONS[name]))
    before = [job for job in found.jobs.values() if job.stage.name != "finetune"]
    assert len(before) == 2
    assert len({job.stage for job in before}) == 1 + (name in SHAPES_OF_PROGRAMS)  # numbers share a program


def test_an_output_decides_nothing_beside_a_cross_entropy_whose_output_is_its_own(planned):
    sweep = ({"pretrain.method.output": OF_METHODS["output"]},)
    found = planned(sweep=sweep, encoder=ONE, pretrain=of_kind("autoencoder", loss="cross_entropy"))
    assert names(found) == ["finetune", "pretrain/0"]


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
    for name, values in {"method.tied": (True, False), "method.output": ("linear", "sigmoid")}.items():
        assert count(name, values, "end_to_end") == (2, 0)
        assert count(name, values, "greedy_then_end_to_end") == (2, 2)
    # The machines' decoders are what they are.
    machines = planned(encoder=SIGMOID, pretrain={"training": "greedy_then_end_to_end", **of_kind("rbm")})
    for method in ({"tied": True}, {"output": "sigmoid"}):
        per_layer = {"pretrain.method.kind": ("rbm", "rbm")}
        pretrain = {"training": "greedy_then_end_to_end", **of_kind("autoencoder", **method)}
        assert planned(encoder=SIGMOID, per_layer=per_layer, pretrain=pretrain).jobs.keys() == machines.jobs.keys()


def test_settings_that_decide_nothing_of_fine_tuning_split_no_stage(planned):
    def count(name, values, **finetune):
        found = planned(sweep=({f"finetune.{name}": values},), finetune=finetune)
        return names(found).count("finetune")

    assert count("fresh_layers", (0, 1, 2)) == 3
    assert count("fresh_layers", (0, 1, 2), encoder_init="he") == 1
    for name, values in {"unfreeze_at": (0, 5), "rate_factor": (1.0, 0.5)}.items():
        assert count(name, values) == count(name, values, frozen_layers=1) == 2
        assert count(name, values, frozen_layers=2) == count(name, values, frozen_layers="all") == 1
    assert count("frozen_layers", (2, "all")) == 1
    assert count("epochs", (2, 3), updates=7) == 1
    lower = {"finetune.rate_factor": (0.1, 1.0)}, {"finetune.rate_factor": (0.2, 1.0)}
    ids = [{*planned(per_layer=layers, finetune={"frozen_layers": 1}).jobs} for layers in lower]
    assert ids[0] == ids[1]


@pytest.mark.parametrize("readout", ["ridge", "logistic", "linear", "knn", "trees"])
def test_settings_of_training_decide_nothing_of_a_read_out(readout, planned):
    ignored = {
        "finetune.optimizer.learning_rate": (0.01, 0.001),
        "finetune.epochs": (2, 3),
        "finetune.updates": (5, 6),
        "finetune.batch_size": (10, 20),
        "finetune.sampling": ("epoch", "fresh"),
        "finetune.cache_codes": (False, True),
        "finetune.rate_factor": (0.5, 1.0),
        "finetune.unfreeze_at": (0, 1),
        "finetune.first_logit_change": (0.0, 0.5),
        "finetune.head_init": ("random", "ridge"),
        "finetune.ridge_penalty": (0.01, 0.1),
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


def test_watching_names_other_stages_in_any_order_and_leaves_seeds_of_repeats(planned):
    def stages(*watch):
        plan = planned(pretrain={"watch": watch}, repeats=2)
        return [job for job in plan.jobs.values() if job.stage.name == "pretrain/0"]

    plain, ranks, both = stages(), stages("rank"), stages("rank", "neighbours")
    assert [job.seed for job in plain] == [job.seed for job in ranks] == [job.seed for job in both]
    assert not {job.id for job in plain} & {job.id for job in ranks}
    assert not {job.settings_id for job in plain} & {job.settings_id for job in ranks}
    assert stages("neighbours", "rank")[0].id == both[0].id != ranks[0].id
    assert ["labels" in job.stage.reads for job in (plain[0], ranks[0], both[0])] == [False, False, True]
    closed = of_kind("pca")
    assert planned(pretrain={"watch": ("rank",), **closed}).jobs.keys() == planned(pretrain=closed).jobs.keys()

"""Any experiment, as hypothesis draws it, and what it takes to refuse one."""

import dataclasses
import json
import math
import typing

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from pretrain.config import Experiment, Settings
from pretrain.config.fields import ConfigError, fields, replace, with_values
from pretrain.config.views import VIEWS, ViewWord

OF_FILES = "finetune.ending.kind"  # whose other values are files of the user's
LEAVES = {  # of all kinds
    name: kind for name, kind in fields(Experiment).items() if name not in ("sweep", "per_layer", OF_FILES)
}
KINDS = {name: typing.get_args(kind) for name, kind in LEAVES.items() if name.endswith(".kind")}
# These must fit one another, so the strategy below draws them together.
BOUND = {
    *("encoder.layers", "encoder.activation", "encoder.norm", "pretrain.training"),
    *("finetune.frozen_layers", "finetune.fresh_layers", "finetune.labels", "finetune.batch_size"),
    *("finetune.encoder_init", "pretrain.method.kind", "pretrain.method.loss", "pretrain.method.sparsity"),
    *("pretrain.method.tied", "pretrain.method.contractive", "pretrain.method.variational", "pretrain.method.visible"),
}
OF_TODAY = ("contrastive", "redundancy", "variance", "teacher", "masked", "vime")
BOUND |= {"finetune.views"}  # which read-outs have none of
BOUND |= {"study.tune", "study.family"}  # which name what is swept
BOUND |= {"pretrain.encoder_init"}  # whose checkpoint would have to be there
FREELY_SWEPT = [name for name in LEAVES if name.startswith(("encoder", "pretrain", "finetune")) and name not in BOUND]
OF_LAYERS_AT_ONCE = {"finetune.unfreeze_at", "finetune.rate_factor"}
OF_LAYERS = OF_LAYERS_AT_ONCE | {
    *("pretrain.epochs", "pretrain.batch_size", "pretrain.sampling", "pretrain.l2", "pretrain.cache_codes"),
    *(f"pretrain.method.{name}" for name in ("output", "corruption", "corruption_level", "gibbs_steps", "persistent")),
    *(name for name in LEAVES if name.startswith("pretrain.optimizer.")),
}
# Loaded machines draw slowly, which is no fault of what is drawn.
thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
brief = settings(thorough, max_examples=50)

UNITS = st.integers(1, 1000)
_SIZES = st.integers(1, 32)  # of windows and strides, the widest there are
WORDS = st.one_of(
    UNITS,
    st.builds("{}c{}s{}".format, _SIZES, _SIZES, _SIZES),
    st.builds("{}c{}".format, _SIZES, _SIZES),
    st.builds("r{}s{}".format, _SIZES, _SIZES),
    st.builds("r{}".format, _SIZES),
    st.builds("{}p{}".format, _SIZES, _SIZES),
    st.builds("t{}".format, _SIZES),
    st.sampled_from(["norm", "mean"]),
    st.just("my encoders/xception.py:make"),
)


def values_of(name):
    """Any value that the field declares valid."""
    if name == "encoder.layers":  # a word is text, but not every text a word
        return st.lists(WORDS, min_size=1, max_size=5).map(tuple)
    if name == "study.metric":  # not every text, either
        return st.sampled_from(["auto", "accuracy", "validation_auroc", "test_rmse"])
    return _of_type(LEAVES[name])


def configs_of(kind):
    """Any valid config of a class whose fields are all leaves."""
    return st.builds(kind, **{name: _of_type(of_field) for name, of_field in fields(kind).items()})


def _of_type(kind):
    if tuple[ViewWord, ...] in (kind, *typing.get_args(kind)[:1]):  # of texts, but not of every text
        return st.lists(st.sampled_from([*VIEWS, "my views.py:tilted"]), unique=True, max_size=3).map(tuple)
    return st.from_type(kind).filter(lambda value: not isinstance(value, float) or math.isfinite(value))


def some(values):
    return st.lists(values, min_size=1, max_size=3).map(tuple)


def of_all_kinds(name):
    """Whether every kind of a union has the field, or it is in no union."""
    section = name.rpartition(".")[0]
    kinds = KINDS.get(f"{section}.kind", ())
    return all(name in fields(replace(Experiment(), f"{section}.kind", kind)) for kind in kinds)


def variable_together(names):
    """The names less those that not every kind of their union has, where the kind is varied, too."""
    unions = {name.removesuffix(".kind") for name in names if name in KINDS}
    return {name for name in names if name in KINDS or of_all_kinds(name) or name.rpartition(".")[0] not in unions}


@st.composite
def bound(draw):
    """Values of the fields that must fit one another, and the kinds of method that fit them all."""
    kind = draw(st.sampled_from(KINDS["pretrain.method.kind"]))
    one_word = UNITS if kind in ("pca", "rbm") or draw(st.booleans()) else WORDS
    layers = draw(st.lists(one_word, min_size=1, max_size=5))
    is_dense, is_deep = all(isinstance(word, int) for word in layers), len(layers) > 1
    activation = "sigmoid" if kind == "rbm" or draw(st.booleans()) else draw(values_of("encoder.activation"))
    bounded = activation == "sigmoid"  # codes
    trainings = {
        "greedy": [
            "autoencoder",
            *("supervised", *OF_TODAY),
            *(["pca"] if is_dense else []),
            *(["rbm"] if is_dense and bounded else []),
        ],
        "end_to_end": ["autoencoder", *OF_TODAY],
        "greedy_then_end_to_end": ["autoencoder", "pca", "rbm"] if is_deep else [],
    }
    training = draw(st.sampled_from([way for way, kinds in trainings.items() if kind in kinds]))
    kinds = [each for each in trainings[training] if each in trainings["greedy"]]
    batch_size = draw(st.integers(1, 1000))
    depths = st.integers(0, len(layers))
    inits = values_of("finetune.encoder_init").filter(lambda value: value != "weights" and (is_dense or value != "pca"))
    values = {
        "encoder.layers": tuple(layers),
        "finetune.frozen_layers": draw(depths | st.just("all")),
        "finetune.fresh_layers": draw(depths),
        "finetune.labels": draw(st.integers(batch_size, 10**6)),
        "finetune.batch_size": batch_size,
        "finetune.encoder_init": draw(inits),
        "encoder.activation": activation,
        "pretrain.training": training,
        "pretrain.method.kind": kind,
    }
    if kind == "autoencoder":
        decodes_images_only = training == "end_to_end" or not is_deep
        switch = st.booleans() if is_dense else st.just(False)
        own = {
            "loss": st.sampled_from(["mse", *(["cross_entropy"] if bounded or decodes_images_only else [])]),
            "sparsity": st.sampled_from(["none", "l1", *(["kl"] if bounded else [])]),
            "tied": switch,
            "contractive": switch if training == "greedy" else st.just(False),
            "variational": switch,
        }
    else:
        own = {"visible": values_of("pretrain.method.visible")} if kind == "rbm" else {}
    values |= {f"pretrain.method.{name}": draw(strategy) for name, strategy in own.items()}
    assert values.keys() <= BOUND
    return values, kinds, inits


@st.composite
def experiments(draw):
    """Any valid experiment, swept or not, its layers alike or not."""
    experiment = Experiment()
    together, kinds, inits = draw(bound())
    experiment = replace(experiment, "pretrain.method.kind", together["pretrain.method.kind"])
    for name in sorted(KINDS.keys() - BOUND):
        experiment = replace(experiment, name, draw(values_of(name)))
    own = fields(experiment)
    free = sorted(LEAVES.keys() & own.keys() - BOUND - KINDS.keys())
    for name in sorted(draw(st.sets(st.sampled_from(free)))):
        experiment = replace(experiment, name, draw(values_of(name)))
    most = max(experiment.seeds, experiment.study.most_seeds)
    experiment = replace(experiment, "study.most_seeds", most)
    experiment = replace(experiment, "study.compare", draw(st.sampled_from(sorted(fields(Settings)))))
    for name, value in together.items():
        experiment = replace(experiment, name, value)
    depth, batch_size = len(experiment.encoder.layers), experiment.finetune.batch_size
    values = {name: values_of(name) for name in own.keys() & FREELY_SWEPT}
    values |= {"pretrain.method.kind": st.sampled_from(kinds), "finetune.encoder_init": inits}
    greedy, end_to_end = (experiment.pretrain.training == way for way in ("greedy", "end_to_end"))
    of_layers = (OF_LAYERS_AT_ONCE if end_to_end else OF_LAYERS) & own.keys()
    of_layers |= {"pretrain.method.kind"} if greedy else set()
    layered = draw(st.sets(st.sampled_from(sorted(of_layers)), max_size=2))
    swept = draw(st.sets(st.sampled_from(sorted(values.keys() - layered)), max_size=2))
    names = variable_together(layered | swept)
    layered, swept = layered & names, swept & names
    ways = {name: some(values[name]) for name in sorted(swept)}
    if experiment.finetune.readout == "none" and "finetune.readout" not in swept:  # nothing else freezes layers
        ways |= {"finetune.frozen_layers": some(st.integers(0, depth) | st.just("all"))}
    ways |= {"finetune.labels": some(st.integers(batch_size, 10**6))}
    grids = draw(st.lists(st.fixed_dictionaries({}, optional=ways), max_size=2))
    per_layer = {name: draw(st.tuples(*[values[name]] * depth)) for name in sorted(layered)}
    unchecked = with_values(experiment, {"sweep": tuple(grids), "per_layer": per_layer})
    for point in unchecked.points:
        at = point.settings
        assume(at.finetune.encoder_init != "wrong_data" or at.pretraining_data != at.data)
    return dataclasses.replace(unchecked)


def one_line(error, *parts):
    """Returns an error's text after checking that it is one line and holds the parts."""
    text = str(error.value)
    assert text.splitlines() == [text]
    for part in parts:
        assert part in text
    return text


def refused(call, *parts):
    with pytest.raises(ConfigError) as error:
        call()
    return one_line(error, *parts)


def nested(name, value):
    """The JSON of an experiment in which only one field is given, and before it the kind that has it."""
    kind = kind_with(name)
    content = {}
    for dotted, each in {**({f"{name.rpartition('.')[0]}.kind": kind} if kind else {}), name: value}.items():
        *parents, last = dotted.split(".")
        place = content
        for part in parents:
            place = place.setdefault(part, {})
        place[last] = each
    return json.dumps(content)


def kind_with(name):
    """Returns the first kind of its union that has a field; None for a field in no union."""
    kind = f"{name.rpartition('.')[0]}.kind"
    return next((each for each in KINDS.get(kind, ()) if name in fields(replace(Experiment(), kind, each))), None)


def with_field(name, experiment):
    """Returns the experiment, of the first kind that has a field where its own has not."""
    if name in fields(experiment):
        return experiment
    return replace(experiment, f"{name.rpartition('.')[0]}.kind", kind_with(name))

"""Any experiment, as hypothesis draws it, and what it takes to refuse one."""

import dataclasses
import json
import math

import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st

from pretrain.config import Experiment
from pretrain.config.fields import ConfigError, fields, join_traced, replace

LEAVES = {name: kind for name, kind in fields(Experiment).items() if name not in ("sweep", "per_layer")}
# These must fit one another, so the strategy below draws them together.
BOUND = (
    *("encoder.widths", "finetune.frozen_layers", "finetune.labels", "finetune.batch_size"),
    *("encoder.activation", "pretrain.objective.loss", "pretrain.objective.sparsity", "pretrain.objective.kind"),
    *("pretrain.training", "pretrain.objective.contractive", "finetune.fresh_layers"),
    *("pretrain.objective.variational", "pretrain.objective.visible"),
)
FREELY_SWEPT = [name for name in LEAVES if name.startswith(("encoder", "pretrain", "finetune")) and name not in BOUND]
OF_LAYERS_AT_ONCE = {"finetune.unfreeze_at", "finetune.rate_factor"}
OF_LAYERS = OF_LAYERS_AT_ONCE | {
    *("pretrain.epochs", "pretrain.batch_size", "pretrain.sampling", "pretrain.l2", "pretrain.cache_codes"),
    *(f"pretrain.objective.{name}" for name in ("output", "tied", "corruption", "corruption_level", "gibbs_steps")),
    *(name for name in LEAVES if name.startswith("pretrain.optimizer.")),
}
# Loaded machines draw slowly, which is no fault of what is drawn.
thorough = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
brief = settings(thorough, max_examples=50)


def values_of(name):
    """Any value that the field declares valid."""
    return st.from_type(LEAVES[name]).filter(lambda value: not isinstance(value, float) or math.isfinite(value))


def some(values):
    return st.lists(values, min_size=1, max_size=3).map(tuple)


@st.composite
def bound(draw):
    """Values of the fields that must fit one another."""
    widths = draw(st.lists(st.integers(1, 1000), min_size=1, max_size=5))
    batch_size = draw(st.integers(1, 1000))
    depths = st.integers(0, len(widths))
    activation = draw(values_of("encoder.activation"))
    bounded, deep = activation == "sigmoid", len(widths) > 1  # bounded codes
    training = draw(st.sampled_from(["greedy", "end_to_end", *(["greedy_then_end_to_end"] if deep else [])]))
    kinds = {"greedy": ["pca", "supervised"], "greedy_then_end_to_end": ["pca"], "end_to_end": []}[training]
    kinds += ["rbm"] if bounded and training != "end_to_end" else []
    values = {
        "encoder.widths": tuple(widths),
        "finetune.frozen_layers": draw(depths),
        "finetune.fresh_layers": draw(depths),
        "finetune.labels": draw(st.integers(batch_size, 10**6)),
        "finetune.batch_size": batch_size,
        "encoder.activation": activation,
        "pretrain.training": training,
        "pretrain.objective.kind": draw(st.sampled_from(["reconstruction", *kinds])),
        "pretrain.objective.loss": draw(st.sampled_from(["mse", *(["cross_entropy"] if bounded or not deep else [])])),
        "pretrain.objective.sparsity": draw(st.sampled_from(["none", "l1", *(["kl"] if bounded else [])])),
        "pretrain.objective.contractive": training == "greedy" and draw(st.booleans()),
        "pretrain.objective.variational": False,
    }
    if training != "greedy_then_end_to_end" or values["pretrain.objective.kind"] == "reconstruction":
        values["pretrain.objective.variational"] = draw(st.booleans())
    elif values["pretrain.objective.kind"] == "pca":
        values["pretrain.objective.loss"] = "mse"
    values["pretrain.objective.visible"] = draw(
        st.sampled_from(["bernoulli", *(["gaussian"] if values["pretrain.objective.loss"] == "mse" else [])])
    )
    assert values.keys() == set(BOUND)
    return values


@st.composite
def experiments(draw):
    """Any valid experiment, swept or not, its layers alike or not."""
    experiment = Experiment()
    for name in draw(st.sets(st.sampled_from(sorted(set(LEAVES) - set(BOUND))))):
        experiment = replace(experiment, name, draw(values_of(name)))
    most = max(experiment.seeds, experiment.study.most_seeds)
    experiment = replace(experiment, "study.most_seeds", most)
    for name, value in draw(bound()).items():
        experiment = replace(experiment, name, value)
    depth, batch_size = len(experiment.encoder.widths), experiment.finetune.batch_size
    names = draw(st.sets(st.sampled_from(FREELY_SWEPT), max_size=2))
    ways = {name: some(values_of(name)) for name in names}
    if experiment.finetune.readout == "none" and "finetune.readout" not in names:  # nothing else freezes layers
        ways |= {"finetune.frozen_layers": some(st.integers(0, depth))}
    ways |= {"finetune.labels": some(st.integers(batch_size, 10**6))}
    grids = draw(st.lists(st.fixed_dictionaries({}, optional=ways), max_size=2))
    of_layers = OF_LAYERS_AT_ONCE if experiment.pretrain.training == "end_to_end" else OF_LAYERS
    layered = draw(st.sets(st.sampled_from(sorted(of_layers - names)), max_size=2))
    per_layer = {name: draw(st.tuples(*[values_of(name)] * depth)) for name in layered}
    unchecked = join_traced(experiment, {"sweep": tuple(grids), "per_layer": per_layer})
    for at in map(unchecked.at, unchecked.points()):
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
    """The JSON of an experiment in which only one field is given."""
    for part in reversed(name.split(".")):
        value = {part: value}
    return json.dumps(value)

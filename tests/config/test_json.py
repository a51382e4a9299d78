"""An experiment survives JSON; any other text is refused in one line and runs nothing."""

import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pretrain.config import (
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    SgdConfig,
    SupervisedConfig,
    from_json,
    to_json,
)
from pretrain.config.fields import ConfigError, fields, get, replace, replace_all
from tests.experiments import KINDS, LEAVES, brief, experiments, nested, refused, thorough

PLAIN = Experiment(
    sweep=({"finetune.labels": (100, 200), "encoder.layers": ((9, 4),)},), per_layer={"pretrain.epochs": (1, 2)}
)
# For each field of a kind a value that is not its default.
OTHER = {
    **{"loss": "cross_entropy", "output": "sigmoid", "tied": True, "corruption": "masking", "corruption_level": 0.75},
    **{"corruption_schedule": "linear", "sparsity": "kl", "sparsity_weight": 0.25, "sparsity_target": 0.5},
    **{"contractive": True, "contraction_weight": 0.125, "variational": True, "kl_weight": 0.5, "gibbs_steps": 5},
    **{"visible": "gaussian", "visible_deviation": 0.25, "persistent": True, "learning_rate": 0.5, "momentum": 0.5},
    **{
        "schedule": "cosine",
        "warmup_steps": 7,
        "clip_norm": 1.5,
        "beta1": 0.75,
        "beta2": 0.25,
        "epsilon": 1e-4,
        "weight_decay": 0.5,
    },
    "epsilon_inside": True,
    "class_weights": "balanced",
    "views": ("noise",),
    "anchor": "clean",
    "projector": (9, 4),
    "crop": 0.25,
    "flip": 0.25,
    "rotation": 5.0,
    "erasing": 0.125,
    "brightness": 0.5,
    "contrast": 0.5,
    "greyscale": 0.5,
    "hue": 0.25,
    "blur": 0.5,
    "solarise": 0.5,
    "noise": 0.25,
    "shift": 0.5,
    "slope": 0.25,
    "offset": 0.25,
    "scale": 0.5,
    "swap": 0.25,
    "share": 0.5,
    "patch": 2,
    "negatives": "other_view",
    "temperature": 0.25,
    "off_diagonal": 0.125,
    "invariance_weight": 2.0,
    "variance_weight": 3.0,
    "covariance_weight": 0.5,
    "predictor": (3,),
    "momentum": 0.5,
    "stops_gradient": False,
    "reconstruction_weight": 4.0,
    "mask_weight": 0.25,
}
KNOWN = (
    "'autoencoder', 'rbm', 'supervised', 'pca', 'contrastive', 'redundancy', 'variance', 'teacher', 'masked' or 'vime'"
)
KEYS = sorted({part for name in LEAVES for part in name.split(".")} | set(LEAVES) | {"sweep", "per_layer", "__class__"})
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(KEYS) | st.text(max_size=3)


@brief
@given(experiments())
def test_every_experiment_survives_json(experiment):
    again = from_json(to_json(experiment))
    assert again == experiment
    assert to_json(again) == to_json(experiment)
    assert again.points == experiment.points


def test_sweeps_of_every_type_survive_json_with_their_types():
    sweep = (
        {"encoder.layers": ((30, 12), (7,)), "finetune.validate_at": ((), (3,))},
        {"pretrain.cache_codes": (True, False), "finetune.l2": (1, 0.5), "finetune.encoder_init": ("he",)},
    )
    again = from_json(to_json(Experiment(sweep=sweep))).sweep
    assert again == sweep
    assert repr(again) == repr(sweep)  # 1 == True == 1.0, but they are written differently


@pytest.mark.parametrize(("name", "kind"), [(name, kind) for name, kinds in KINDS.items() for kind in kinds])
def test_every_kind_survives_json(name, kind):
    section = name.removesuffix(".kind")
    values = {
        field: OTHER[field.rpartition(".")[2]]
        for field in fields(replace(Experiment(), name, kind))
        if field.startswith(f"{section}.") and field != name
    }
    encoder = EncoderConfig(layers=(9,), activation="sigmoid")
    experiment = dataclasses.replace(replace_all(Experiment(encoder=encoder), {**values, name: kind}))
    assert not [field for field in values if get(experiment, field) == get(replace(Experiment(), name, kind), field)]
    again = from_json(to_json(experiment))
    assert again == experiment and type(get(again, section)) is type(get(experiment, section))
    assert repr(again) == repr(experiment)


def test_kinds_are_reported_by_json_and_their_fields_by_their_names():
    reported = json.loads(to_json(Experiment(pretrain=PretrainConfig(method=PcaConfig(), optimizer=SgdConfig()))))
    assert reported["pretrain"]["method"] == {"kind": "pca"}
    of_all = {"kind", "learning_rate", "schedule", "warmup_steps", "clip_norm"}
    assert reported["pretrain"]["optimizer"].keys() == of_all | {"momentum"}
    given_as = '{"pretrain": {"method": {"kind": "supervised"}, "optimizer": {"kind": "sgd", "momentum": 0.5}}}'
    expected = PretrainConfig(method=SupervisedConfig(), optimizer=SgdConfig(momentum=0.5))
    assert from_json(given_as).pretrain == expected


@pytest.mark.parametrize(
    ("method", "reported"),
    [
        ({"kind": "rbm", "gibbs_steps": 0}, "pretrain.method.gibbs_steps: 0 should be greater than 0"),
        ({"kind": "pca", "loss": "mse"}, "pretrain.method.loss: 'mse' "),
        ({"kind": "knn"}, "pretrain.method.kind: 'knn' should be " + KNOWN),
        ({"loss": "mse"}, "pretrain.method.kind: None should be " + KNOWN),
        (3, "pretrain.method: 3 should be an object"),
    ],
)
def test_a_mistake_in_a_kind_is_named_by_its_field(method, reported):
    refused(lambda: from_json(json.dumps({"pretrain": {"method": method}})), reported)


def test_words_of_layers_survive_json_swept_and_unswept():
    layers = ("32c5s2", "r64s2", "mine.py:make", 10)
    experiment = Experiment(encoder=EncoderConfig(layers=layers), sweep=({"encoder.layers": (layers, (9, "8c3"))},))
    again = from_json(to_json(experiment))
    assert repr(again) == repr(experiment)
    assert [point.settings.encoder.layers for point in again.points] == [layers, (9, "8c3")]
    refused(
        lambda: from_json('{"encoder": {"layers": ["32c"]}}'), "encoder.layers.0: '32c' should be a number of units"
    )


def test_all_layers_frozen_survives_json():
    for frozen in ("all", 0, 2):
        experiment = Experiment(finetune=FinetuneConfig(frozen_layers=frozen))
        assert repr(from_json(to_json(experiment)).finetune.frozen_layers) == repr(frozen)


def test_json_leaves_fields_that_are_not_given_at_their_defaults():
    assert from_json("{}") == Experiment()
    assert from_json('{"finetune": {"labels": 100}}') == replace(Experiment(), "finetune.labels", 100)


def test_values_of_layers_survive_json_with_their_types():
    per_layer = {
        "pretrain.epochs": (1, 2),
        "pretrain.l2": (1, 0.5),
        "pretrain.cache_codes": (True, False),
        "pretrain.method.kind": ("pca", "supervised"),
    }
    again = from_json(to_json(Experiment(per_layer=per_layer))).per_layer
    assert again == per_layer
    assert repr(again) == repr(per_layer)  # 1 == True == 1.0, but they are written differently


def parsed_or_refused(text):
    """Text is an experiment or a ConfigError of one line, and nothing else."""
    try:
        experiment = from_json(text)
    except ConfigError as error:
        assert str(error).splitlines() == [str(error)]
    else:
        assert from_json(to_json(experiment)) == experiment


@thorough
@given(
    st.text()
    | st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists).map(json.dumps)
)
@example("")
@example("\x00")
@example("\ud800")
@example('{"run_dir": "\\ud800"}')
@example('{"a\\nb": 1}')
@example('{"finetune": {"l2": NaN}}')
@example('{"seeds": 1e400}')
@example('{"seeds": ' + "9" * 5000 + "}")
@example('{"sweep": [{"finetune.labels": "100"}]}')
@example('{"pretrain": {"method": {"kind": {"a": 1}}}}')
@example('{"pretrain": {"method": {"kind": "x\\ny"}}}')
@example('{"pretrain": {"method": {"kind": "rbm", "rbm": 1}}}')
@example('{"finetune": {"optimizer": {}}}')
@example('{"encoder": {"layers": ["\\ud800.py:f"]}}')
@example('{"encoder": {"layers": [[]]}}')
@example('{"finetune": {"frozen_layers": {}}}')
@example('{"sweep": [{"finetune.labels": []}]}')
@example("[" * 100_000)
@example('{"data":' * 5000)
def test_any_text_is_an_experiment_or_refused(text):
    parsed_or_refused(text)


def containers(values):
    return st.lists(values, max_size=3) | st.dictionaries(st.sampled_from(KEYS), values, max_size=3)


@thorough
@given(data=st.data())
def test_json_with_one_part_replaced_is_an_experiment_or_refused(data):
    content = json.loads(to_json(PLAIN))
    place = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (place[key] and isinstance(place[key], dict | list)) or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(st.recursive(SCALARS, containers, max_leaves=8))
    parsed_or_refused(json.dumps(content))


@thorough
@given(
    place=st.integers(0, len(to_json(PLAIN)) - 1),
    length=st.integers(0, 5),
    patch=st.text('{}[]",:.0-e \\u', max_size=5),
)
def test_damaged_json_is_an_experiment_or_refused(place, length, patch):
    text = to_json(PLAIN)
    parsed_or_refused(text[:place] + patch + text[place + length :])


def test_json_is_data_and_runs_nothing(tmp_path):
    payload = f"__import__('pathlib').Path({str(tmp_path / 'made')!r}).touch()"
    for name in ("run_dir", "data.name", "encoder.activation", "seeds"):
        parsed_or_refused(nested(name, payload))
    parsed_or_refused(json.dumps({payload: 1}))
    assert not list(tmp_path.iterdir())

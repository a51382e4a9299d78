"""An experiment survives JSON; any other text is refused in one line and runs nothing."""

import json

from hypothesis import example, given
from hypothesis import strategies as st

from pretrain.config import Experiment, from_json, to_json
from pretrain.config.fields import ConfigError, replace
from tests.experiments import LEAVES, brief, experiments, nested, thorough

PLAIN = Experiment(
    sweep=({"finetune.labels": (100, 200), "encoder.widths": ((9, 4),)},), per_layer={"pretrain.epochs": (1, 2)}
)
KEYS = sorted({part for name in LEAVES for part in name.split(".")} | set(LEAVES) | {"sweep", "per_layer", "__class__"})
SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.sampled_from(KEYS) | st.text(max_size=3)


@brief
@given(experiments())
def test_every_experiment_survives_json(experiment):
    again = from_json(to_json(experiment))
    assert again == experiment
    assert to_json(again) == to_json(experiment)
    assert list(again.points()) == list(experiment.points())


def test_sweeps_of_every_type_survive_json_with_their_types():
    sweep = (
        {"encoder.widths": ((30, 12), (7,)), "finetune.validate_at": ((), (3,))},
        {"pretrain.cache_codes": (True, False), "finetune.l2": (1, 0.5), "finetune.encoder_init": ("he",)},
    )
    again = from_json(to_json(Experiment(sweep=sweep))).sweep
    assert again == sweep
    assert repr(again) == repr(sweep)  # 1 == True == 1.0, but they are written differently


def test_json_leaves_fields_that_are_not_given_at_their_defaults():
    assert from_json("{}") == Experiment()
    assert from_json('{"finetune": {"labels": 100}}') == replace(Experiment(), "finetune.labels", 100)


def test_values_of_layers_survive_json_with_their_types():
    per_layer = {
        "pretrain.epochs": (1, 2),
        "pretrain.l2": (1, 0.5),
        "pretrain.cache_codes": (True, False),
        "pretrain.objective.kind": ("pca", "supervised"),
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

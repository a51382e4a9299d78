"""A config file is read, or refused in one line that names its mistake."""

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pretrain.commands import launch
from pretrain.config import Experiment, config_file, from_json, to_json
from pretrain.config.fields import ConfigError, fields

PARTS = {
    "data": "DataConfig",
    "encoder": "EncoderConfig",
    "pretrain": "PretrainConfig",
    "finetune": "FinetuneConfig",
    "engine": "EngineConfig",
    "study": "StudyConfig",
}
NAMES = sorted(name for name in fields(Experiment) if name.count(".") < 2)
SECTIONS = ["pretrain.method", "pretrain.optimizer", "finetune.optimizer"]  # that are of one kind or another
KINDS = ["AutoencoderConfig", "RbmConfig", "SupervisedConfig", "PcaConfig", "AdamConfig", "AdamWConfig", "SgdConfig"]
OF_KINDS = sorted({name.rpartition(".")[2] for name in fields(Experiment) if name.count(".") == 2})
LITERALS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3000),
    st.floats(),
    st.sampled_from(["he", "pretrained", "elu", "pca", "sgd", "all", "32c5s2", "32c", "mnist", "adam"]),
    st.sampled_from(["log:1:2:3", "", "\n", "\udcff", "runs/x"]),
    st.text(max_size=5),
    st.tuples(st.integers(-1, 400), st.integers(1, 400)),
    st.just(10**400),
)
GRIDS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), st.tuples(LITERALS) | LITERALS, max_size=2)
SWEEPS = st.lists(GRIDS, max_size=2).map(tuple) | GRIDS | LITERALS


class Source(str):
    """Python that stands in a config as it is, unquoted."""

    def __repr__(self):
        return str(self)


SECTION = st.builds(
    lambda kind, given: Source(f"{kind}(**{given!r})"),
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(OF_KINDS), LITERALS, max_size=1),
)


@st.composite
def sources(draw):
    """The source of a config of a few fields, each right or wrong."""
    given = draw(st.dictionaries(st.sampled_from(NAMES) | st.sampled_from(["seed", "data.nam"]), LITERALS, max_size=3))
    given |= draw(st.dictionaries(st.sampled_from(SECTIONS), SECTION | LITERALS, max_size=1))
    parts = {}
    for name, value in given.items():
        part, _, field = name.rpartition(".")
        parts.setdefault(part, {})[field] = value
    top = [f"{field}={value!r}" for field, value in parts.pop("", {}).items()]
    top += [f"{part}={PARTS[part]}(**{values!r})" for part, values in parts.items()]
    if draw(st.booleans()):
        top.append(f"sweep={draw(SWEEPS)!r}")
    return f"Experiment({', '.join(top)})"


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """A directory of config files of its own."""
    return tmp_path_factory.mktemp("configs")


def load(configs, expression):
    header = '"""A test."""\nfrom math import inf, nan\nfrom pretrain.config import *\n\n\ndef get_config():\n'
    text = f"{header}    return {expression}\n"
    (configs / "fuzz.py").write_text(text, errors="backslashreplace")
    return config_file.load(configs / "fuzz.py", "fuzz")


def read_or_refused(configs, expression):
    try:
        experiment = load(configs, expression)
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1 and ":" in str(error)
    else:
        assert from_json(to_json(experiment)) == experiment


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(expression=sources())
@example(expression="Experiment(sweep=({'finetune.labels': (100, 100.0)},))")
@example(expression="Experiment(sweep=({'encoder.layers': ((3, 2), (3,))},))")
@example(expression="Experiment(encoder=EncoderConfig(layers=('32c5s2', 'a.py:f', 9)))")
@example(expression="Experiment(pretrain=PretrainConfig(method=RbmConfig(), optimizer=RbmConfig()))")
@example(expression="Experiment(pretrain=PretrainConfig(method={'kind': 'pca'}))")
@example(expression="Experiment(sweep=({'pretrain.method.kind': ('pca', 'supervised')},))")
@example(expression="Experiment(per_layer={'pretrain.l2': (1, 0.5), 'pretrain.method.kind': ('pca', 'supervised')})")
def test_any_config_is_read_or_refused(expression, configs):
    read_or_refused(configs, expression)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(expression=sources())
def test_any_config_is_read_or_refused_at_length(expression, configs):
    read_or_refused(configs, expression)


@pytest.mark.parametrize(
    ("expression", "reported"),
    [
        ("Experiment(", r"config: 'fuzz' fails with SyntaxError: .*fuzz\.py:7"),
        ("Experiment() + 1", r"config: 'fuzz' fails with TypeError: .*fuzz\.py:7"),
        ("nothing", r"config: 'fuzz' fails with NameError: .*fuzz\.py:7"),
        ("3", r"config: 'fuzz' has a get_config\(\) that returns 3"),
        ("Experiment(seeds=0)", r"Experiment\.seeds: 0"),
        ("Experiment(sweep=({'finetune.label': (3,)},))", r"'finetune\.label'.*'finetune\.labels'"),
        ("Experiment(per_layer={'pretrain.epoch': (1, 2)})", r"per_layer: 'pretrain\.epoch'.*'pretrain\.epochs'"),
        ("Experiment(per_layer={'pretrain.epochs': (1, '2')})", r"pretrain\.epochs: '2'"),
        ("Experiment(per_layer={'pretrain.epochs': 2})", r"per_layer\.pretrain\.epochs: 2"),
        ("Experiment(pretrain=PretrainConfig(method=SgdConfig()))", r"PretrainConfig\.method: .*'sgd'.*'rbm'"),
        ("Experiment(pretrain=PretrainConfig(method=RbmConfig(gibbs_steps=0)))", r"RbmConfig\.gibbs_steps: 0"),
        (
            "Experiment(encoder=EncoderConfig(layers=('32c',)))",
            r"EncoderConfig\.layers\.0: '32c' .*32c5s2 or 32c5s2p2 \(features",
        ),
        (
            "Experiment(pretrain=PretrainConfig(method=RbmConfig()))",
            r"pretrain\.method\.kind: 'rbm' .*set encoder\.activation to sigmoid",
        ),
        (
            "Experiment(sweep=({'pretrain.method.gibbs_steps': (1, 5)},))",
            r"sweep: 'pretrain\.method\.gibbs_steps' is of pretrain\.method\.kind rbm, not of autoencoder",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(expression, reported, configs):
    with pytest.raises(ConfigError, match=reported) as caught:
        load(configs, expression)
    assert len(str(caught.value).splitlines()) == 1


def test_a_config_that_cannot_be_parsed_spoils_no_help(configs):
    (configs / "fuzz.py").write_text("def (")
    assert "fuzz" in launch._overview(configs) and "cannot be read" in launch._overview(configs)

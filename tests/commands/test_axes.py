"""Axes of a sweep as written on the command line."""

import numpy as np
import pytest

from pretrain.commands.axes import parse_axis
from pretrain.commands.command_line import parse
from pretrain.config import AdamConfig, Experiment, RbmConfig, SgdConfig
from pretrain.config.fields import ConfigError

CORNERS = {"finetune.encoder_init": ("pretrained", "he"), "finetune.frozen_layers": (2, 0)}


def read(*argv, sweep=(CORNERS,)):
    return parse(argv, Experiment(sweep=sweep), "geron", "").experiment.sweep


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        ("finetune.labels=100,500", "finetune.labels", (100, 500)),
        ("finetune.frozen-layers=0", "finetune.frozen_layers", (0,)),
        ("finetune.l2=0,1e-3", "finetune.l2", (0.0, 0.001)),
        ("finetune.encoder_init=he,pretrained", "finetune.encoder_init", ("he", "pretrained")),
        ("pretrain.cache_codes=True,False", "pretrain.cache_codes", (True, False)),
        ("finetune.l2=lin:0:1:5", "finetune.l2", (0.0, 0.25, 0.5, 0.75, 1.0)),
        (
            "pretrain.optimizer.learning_rate=log:1e-4:1e-1:4",
            "pretrain.optimizer.learning_rate",
            (1e-4, 1e-3, 0.01, 0.1),
        ),
        ("finetune.labels=lin:100:300:3", "finetune.labels", (100, 200, 300)),
        ("finetune.frozen-layers=all,0,2", "finetune.frozen_layers", ("all", 0, 2)),
        ("pretrain.method.kind=rbm,pca", "pretrain.method.kind", ("rbm", "pca")),
        ("pretrain.method.gibbs-steps=1,5", "pretrain.method.gibbs_steps", (1, 5)),
        ("pretrain.optimizer.momentum=lin:0:0.5:2", "pretrain.optimizer.momentum", (0.0, 0.5)),
    ],
)
def test_an_axis_reads_as_its_field_and_values(text, name, values):
    found, read_values = parse_axis(text)
    assert found == name and read_values == values
    assert [type(value) for value in read_values] == [type(value) for value in values]


def test_a_logarithmic_range_is_even_in_ratios():
    _, values = parse_axis("finetune.optimizer.learning_rate=log:1e-4:1e-1:7")
    np.testing.assert_allclose(values, np.logspace(-4, -1, 7), rtol=1e-11)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("finetune.label=1,2", ("sweep: 'finetune.label'", "did you mean 'finetune.labels'?")),
        ("finetune.labels", ("sweep: 'finetune.labels'", "field=value,value")),
        ("finetune.labels=", ("sweep:", "field=value,value")),
        ("finetune.labels=1,x", ("finetune.labels: 'x'",)),
        ("finetune.labels=1.5", ("finetune.labels: '1.5'",)),
        ("finetune.labels=-1", ("finetune.labels: '-1' should be greater than or equal to 0",)),
        ("finetune.l2=-1,0", ("finetune.l2: '-1'",)),
        ("finetune.l2=nan", ("finetune.l2: 'nan'",)),
        ("finetune.l2=log:0:1:3", ("sweep: 'finetune.l2=log:0:1:3'", "log:low:high:count")),
        ("finetune.l2=lin:0:1", ("sweep: 'finetune.l2=lin:0:1'", "lin:low:high:count")),
        ("finetune.l2=lin:0:1:1", ("a count of 2 or more",)),
        ("finetune.l2=lin:0:inf:3", ("is no range",)),
        ("encoder.layers=300x0", ("encoder.layers: '0'", "greater than 0")),
        ("encoder.layers=300,", ("encoder.layers: ''", "at least 1 item")),
        ("encoder.layers=300x", ("encoder.layers: ''", "a number of units", "32c5s2")),
        ("encoder.layers=32c5s2x64cx128", ("encoder.layers: '64c'", "a number of units", "FILE.py:FUNCTION")),
        ("encoder.layers=32c5s2x2.5", ("encoder.layers: '2.5'",)),
        ("finetune.frozen_layers=most,0", ("finetune.frozen_layers: 'most' should be a valid integer or 'all'",)),
        ("finetune.frozen_layers=-1", ("finetune.frozen_layers: '-1' should be greater than or equal to 0",)),
        ("pretrain.method.kind=knn", ("pretrain.method.kind: 'knn' should be 'autoencoder', 'rbm', ",)),
        ("pretrain.method.gibbs_step=1,2", ("did you mean 'pretrain.method.gibbs_steps'?",)),
        ("finetune.encoder_init=He", ("finetune.encoder_init: 'He' should be 'pretrained', 'he', ",)),
    ],
)
def test_a_mistake_in_an_axis_is_reported_in_one_line(text, parts):
    with pytest.raises(ConfigError) as error:
        parse_axis(text)
    assert all(part in str(error.value) for part in parts) and "\n" not in str(error.value)


def test_values_by_layer_are_read_as_an_axis_is_and_faults_name_the_option():
    assert parse_axis("pretrain.batch-size=10,20", option="per_layer") == ("pretrain.batch_size", (10, 20))
    assert parse_axis("pretrain.l2=lin:0:1:3", option="per_layer") == ("pretrain.l2", (0.0, 0.5, 1.0))
    for text in ("pretrain.batch_size", "pretrain.batchsize=1"):
        with pytest.raises(ConfigError, match=r"^per_layer: 'pretrain\.batch"):
            parse_axis(text, option="per_layer")


def test_axes_multiply_with_the_configs_and_with_each_other():
    swept = read("--sweep", "finetune.labels=100,500", "--seeds", "2", "--sweep=finetune.l2=0,1e-3")
    assert swept == ({**CORNERS, "finetune.labels": (100, 500), "finetune.l2": (0.0, 0.001)},)
    assert len(Experiment(sweep=swept).points) == 16


def test_an_axis_takes_the_place_of_the_configs_axis_of_its_field():
    assert read("--sweep", "finetune.frozen_layers=1,0") == ({**CORNERS, "finetune.frozen_layers": (1, 0)},)


@pytest.mark.parametrize(
    ("options", "compared"),
    [
        (("--sweep", "finetune.encoder_init=he", "--sweep", "finetune.l2=0,0.01"), "finetune.l2"),
        (("--finetune.encoder-init", "he", "--sweep", "finetune.l2=0,0.01"), "finetune.l2"),
        (("--sweep", "finetune.labels=200", "--sweep", "finetune.l2=0,0.01"), "finetune.encoder_init"),
        (("--sweep", "finetune.encoder_init=he", "--sweep", "finetune.l2=0.01"), "finetune.encoder_init"),
        (
            (
                *("--sweep", "finetune.encoder_init=he", "--sweep", "finetune.l2=0,0.01"),
                *("--study.compare", "finetune.frozen_layers"),
            ),
            "finetune.frozen_layers",
        ),
    ],
)
def test_what_is_typed_is_compared_before_a_configs_own_axis(options, compared):
    """And where a tuned field is swept, too, it is no condition."""
    for tuned in ((), ("--tune", "finetune.optimizer.learning_rate=0.1,0.01")):
        asked = parse([*options, *tuned], Experiment(sweep=(CORNERS,)), "geron", "").experiment
        assert asked.study.compare == compared


def test_axes_are_checked_with_the_options_in_place():
    assert read("--sweep", "finetune.labels=40,100", "--finetune.batch-size", "20")
    with pytest.raises(ConfigError, match=r"finetune\.batch_size: 60 is larger than finetune.labels 40"):
        read("--sweep", "finetune.labels=40,100", "--finetune.batch-size", "60")


def test_an_axis_can_be_the_first():
    assert read("--sweep", "finetune.labels=100,500", sweep=()) == ({"finetune.labels": (100, 500)},)


@pytest.mark.parametrize(
    "argv",
    [
        ("--sweep",),
        ("--sweep", "finetune.labels=100", "500"),
        ("--sweep", "finetune.labels=100,500", "--finetune.labels", "200"),
        ("--sweep", "seeds=1,2"),
        ("--sweep", "engine.name=local,ray"),
        ("--sweep", "encoder.layers=300x,150"),
        ("--sweep", "encoder.layers=x300,150"),
        ("--sweep", "encoder.layers=32c5s2xx150"),
        ("--sweep", "encoder.layers=32c"),
        ("--sweep", "pretrain.method.gibbs_steps=1,5"),
        ("--sweep", "pretrain.method.corruption_level=0.1,0.5"),
        ("--sweep", "pretrain.optimizer.kind=uniform:adam:sgd"),
        ("--sweep", "encoder.layers=uniform:1:2"),
        ("--sweep", "finetune.l2=uniform:1"),
        ("--sweep", "finetune.l2=uniform:1:0"),
        ("--sweep", "finetune.l2=loguniform:0:1"),
        ("--sweep", "finetune.l2=uniform:0:1:2"),
        ("--sweep", "finetune.encoder_init=uniform:he:pretrained"),
        ("--sweep", "pretrain.cache_codes=uniform:False:True"),
        ("--sweep", "finetune.labels=100,500", "--draws", "3"),
        ("--sweep", "finetune.l2=uniform:0:1", "--draws", "0"),
        ("--sweep", "finetune.l2=uniform:0:1", "--draw-seed", "-1"),
        ("--sweep", "finetune.frozen_layers=3,0"),
        ("--sweep", "per_layer=1,2"),
        ("--sweep", "pretrain.epochs=1,2", "--per-layer", "pretrain.epochs=1,2"),
    ],
)
def test_axes_that_cannot_be_are_refused(argv):
    with pytest.raises(ConfigError):
        read(*argv)


def test_a_tuple_is_one_value_of_an_axis():
    (grid,) = read("--sweep", "encoder.layers=300x150,64x32x16")
    assert grid["encoder.layers"] == ((300, 150), (64, 32, 16))


@pytest.mark.parametrize(
    ("text", "layers"),
    [
        ("32c5s2x64c5s2x128,300", (("32c5s2", "64c5s2", 128), (300,))),
        ("r64xr128s2", (("r64", "r128s2"),)),
        ("mine.py:makex10,xception.py:make", (("mine.py:make", 10), ("xception.py:make",))),
    ],
)
def test_words_of_layers_are_joined_by_x(text, layers):
    (grid,) = read("--sweep", f"encoder.layers={text}", "--finetune.frozen-layers", "0")
    assert grid["encoder.layers"] == layers
    assert repr(grid["encoder.layers"]) == repr(layers)  # units are numbers


def test_kinds_are_swept_each_with_its_own_defaults_and_fields_beside_their_kind():
    argv = ("--sweep", "pretrain.method.kind=autoencoder,rbm,pca,supervised", "--encoder.activation", "sigmoid")
    (grid,) = read(*argv, sweep=())
    assert grid == {"pretrain.method.kind": ("autoencoder", "rbm", "pca", "supervised")}
    both = ("--sweep", "pretrain.method.gibbs_steps=1,5", "--sweep", "pretrain.method.kind=rbm", *argv[2:])
    experiment = parse(both, Experiment(), "geron", "").experiment
    assert [point.settings.pretrain.method for point in experiment.points] == [RbmConfig(), RbmConfig(gibbs_steps=5)]
    rules = parse(("--sweep", "finetune.optimizer.kind=adam,sgd"), Experiment(), "geron", "").experiment
    assert [point.settings.finetune.optimizer for point in rules.points] == [AdamConfig(), SgdConfig()]


def test_random_axes_are_drawn_together_and_multiply_with_the_others():
    argv = ("--sweep", "finetune.l2=loguniform:1e-5:1e-1", "--sweep", "finetune.labels=uniform:100:200")
    grids = read(*argv, "--sweep", "pretrain.l2=0,1", "--draws", "5")
    assert len(grids) == 5
    for grid in grids:
        assert grid["pretrain.l2"] == (0.0, 1.0) and grid["finetune.encoder_init"] == CORNERS["finetune.encoder_init"]
        (l2,), (labels,) = grid["finetune.l2"], grid["finetune.labels"]
        assert 1e-5 <= l2 <= 1e-1 and 100 <= labels <= 200 and type(labels) is int
    assert len({grid["finetune.l2"] for grid in grids}) == 5
    assert read(*argv, "--sweep", "pretrain.l2=0,1", "--draws", "3") == grids[:3]
    assert read(*argv, "--sweep", "pretrain.l2=0,1", "--draws", "5", "--draw-seed", "1") != grids

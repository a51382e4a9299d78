"""``--help`` gives every field that the kinds chosen have, its meaning and its default."""

import ast
import dataclasses
import inspect
import itertools
import re

import pytest

from pretrain.config import (
    AdamConfig,
    AdamWConfig,
    AutoencoderConfig,
    ContrastiveConfig,
    EncoderConfig,
    Experiment,
    FinetuneConfig,
    PcaConfig,
    PretrainConfig,
    RbmConfig,
    SgdConfig,
    SupervisedConfig,
)
from pretrain.config.fields import fields, get
from tests.commands.lines import (
    DEFAULT,
    option,
    read,
    refused,
    words,
)
from tests.experiments import KINDS, LEAVES


def documented(config, prefix=""):
    """Yields the dotted name and the docstring of every leaf field of a config, as they stand in the source."""
    classes = [each for each in type(config).__mro__ if dataclasses.is_dataclass(each)]
    texts = {}
    for each in reversed(classes):
        body = ast.parse(inspect.getsource(each)).body[0].body
        for field, text in itertools.pairwise([*body, None]):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                texts[field.target.id] = ast.literal_eval(text.value)
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from documented(value, f"{prefix}{field.name}.")
        elif prefix or field.name not in ("sweep", "per_layer"):
            yield prefix + field.name, texts[field.name]


def squeezed(text):
    """Text without what lays it out: white space, and the lines of a box."""
    return re.sub(r"[\s│]+", "", text)


def helped(argv, default, capsys, monkeypatch):
    """The page that ``--help`` prints, without its layout."""
    monkeypatch.setenv("COLUMNS", "80")  # a wide page has columns of boxes
    with pytest.raises(SystemExit) as end:
        read(*argv, default=default)
    out, err = capsys.readouterr()
    assert end.value.code == 0 and not err
    return squeezed(out)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize(
    ("method", "rule"),
    [
        (AutoencoderConfig, AdamConfig),
        (RbmConfig, AdamWConfig),
        (SupervisedConfig, SgdConfig),
        (PcaConfig, AdamConfig),
        (ContrastiveConfig, AdamConfig),
    ],
)
def test_help_gives_every_field_its_meaning_and_its_default(flag, method, rule, capsys, monkeypatch):
    pretrain, finetune = PretrainConfig(method=method()), FinetuneConfig(optimizer=rule())
    encoder = EncoderConfig(activation="sigmoid")
    default = Experiment(encoder=encoder, pretrain=pretrain, finetune=finetune, seeds=5, run_dir="runs/test")
    page = helped(["--seeds", "not read", flag], default, capsys, monkeypatch)
    assert squeezed("launch.py test") in page and squeezed("A test.") in page
    docs = dict(documented(default))
    own = [name for name in fields(default) if name not in ("sweep", "per_layer")]
    assert set(docs) == set(own)
    for name in own:
        value = get(default, name)
        forms = {" ".join(words(value)), f"'{value}'"}
        after = page.partition(f"{option(name)}")[2]
        assert after, name
        assert any(f"{squeezed(docs[name])}(default:{squeezed(form)})" in after for form in forms), name
    for name in LEAVES.keys() - set(own):
        assert option(name) not in page
    for name, kinds in KINDS.items():
        about = page.partition(f"{option(name)}{{")[2].partition("(default:")[0]
        assert all(kind in about.lower() or _LONG[kind] in about.lower() for kind in kinds), name
    assert "--dry-run" in page and "--sweep" in page and "--per-layer" in page


_LONG = {"pca": "principalcomponents", "rbm": "restrictedboltzmannmachine", "supervised": "classifier"}
_LONG |= {each: each for each in ("contrastive", "redundancy", "variance", "teacher", "masked", "vime")}
_LONG |= {"autoencoder": "autoencoder", "adam": "adam", "adamw": "adamw", "sgd": "sgd"}


@pytest.mark.parametrize(
    ("place", "form", "flag"), [(0, "spaced", "-h"), (1, "spaced", "--help"), (1, "joined", "-h"), (2, "spaced", "-h")]
)
def test_help_shows_the_fields_of_the_kinds_that_options_choose(place, form, flag, capsys, monkeypatch):
    kinds = {"pretrain.method.kind": "rbm", "finetune.optimizer.kind": "sgd"}
    chosen = [[option(name), kind] if form == "spaced" else [f"{option(name)}={kind}"] for name, kind in kinds.items()]
    argv = [word for words in [*chosen[:place], [flag], *chosen[place:]] for word in words]
    page = helped(argv, DEFAULT, capsys, monkeypatch)
    shown = ("pretrain.method.gibbs-steps", "finetune.optimizer.momentum", "pretrain.optimizer.beta1")
    hidden = ("pretrain.method.corruption", "finetune.optimizer.beta1", "pretrain.optimizer.momentum")
    assert all(f"--{name}" in page for name in shown) and not any(f"--{name}" in page for name in hidden)
    assert "(default:rbm)" in page and "autoencoder" in page and "supervised" in page


def test_help_of_a_kind_that_is_not_there_is_refused():
    kinds = (
        "'autoencoder', 'rbm', 'supervised', 'pca', 'contrastive', 'redundancy', 'variance', 'teach"
        "er', 'masked' or 'vime'"
    )
    assert kinds in refused("--pretrain.method.kind", "knn", "--help")

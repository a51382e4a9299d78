"""The first layer before and after is drawn from what its own stage drew."""

from types import SimpleNamespace

import numpy as np
import pytest

from pretrain.config import AutoencoderConfig, FinetuneConfig, PretrainConfig, Settings, SupervisedConfig
from pretrain.learn.layers import Dense, fresh
from pretrain.learn.randomness import Purpose, key_for
from pretrain.plan import redraws
from pretrain.study import look_at_layer
from pretrain.study.arms import Arm

SHAPE, LAYER = (4, 3, 1), Dense(5)
PHASES = ("pretrain/0", "finetune")


def kernel(seed):
    return {"kernel": np.asarray(fresh(LAYER, (12,), key_for(seed, Purpose.ENCODER_INIT, 0))["kernel"])}


@pytest.fixture
def source(monkeypatch):
    """Returns a function that makes a source of pretrained trials, and of frozen fresh ones, by seed and repeat."""
    stack = SimpleNamespace(layers=(LAYER,), shapes=(SimpleNamespace(inputs=(12,)),))
    monkeypatch.setattr(look_at_layer, "network", lambda *_: (stack, None))

    def make(pretrained, rows, frozen=()):
        still = Settings(finetune=FinetuneConfig(encoder_init="he"))
        held = {"p": pretrained} | dict.fromkeys(frozen, still)
        trials = {name: {"seed": seed, "repeat": repeat, "status": "ok"} for name, (seed, repeat) in rows.items()}
        params = {("p", stage): {"kernel": np.full((12, 5), 9.0 + place)} for place, stage in enumerate(PHASES)}
        params |= {(name, "finetune"): {"kernel": np.full((12, 5), 1.0 + place)} for place, name in enumerate(frozen)}
        dataset = SimpleNamespace(example_shape=SHAPE, has_axes=True, interval=(0.0, 1.0))
        return SimpleNamespace(
            settings=held.get,
            trained_from=lambda trial: 0 if trial == "trained" else None,
            dataset=lambda trial: dataset,
            trials=trials,
            stages={name: {stage: (name, stage) for stage in PHASES} for name in held},
            store=SimpleNamespace(params=lambda stage: {"encoder": {"layers_0": params[stage]}}),
        )

    return make


def first(made):
    """The weights that the first layer began with, of the units in their order."""
    arm = Arm({}, (made.trials["p"]["seed"],), ("p",))
    (found,) = look_at_layer.changed(made, "test_accuracy", [arm])
    return found.filters[0].reshape(5, 12)[np.argsort(found.units)].T


@pytest.mark.parametrize(("method", "reads"), [(SupervisedConfig(), "labels"), (AutoencoderConfig(), "images")])
@pytest.mark.parametrize("repeat", [0, 2])
def test_the_initialisation_is_of_the_seed_of_the_stage(method, reads, repeat, source):
    rows = SimpleNamespace(subset="random" if reads == "labels" else None)
    stage = SimpleNamespace(config=SimpleNamespace(method=method), rows=rows)
    drawn = redraws.seed_of(stage, 3, repeat)
    np.testing.assert_allclose(
        first(source(Settings(pretrain=PretrainConfig(method=method)), {"p": (3, repeat)})), kernel(drawn)["kernel"]
    )


def test_the_method_is_that_of_the_first_layer(source):
    settings = Settings(per_layer={"pretrain.method.kind": ("supervised", "autoencoder")})
    drawn = kernel(3 + (2 << 16))["kernel"]
    np.testing.assert_allclose(first(source(settings, {"p": (3, 2)})), drawn)


@pytest.mark.parametrize(("method", "place"), [(SupervisedConfig(), 3.0), (AutoencoderConfig(), 2.0)])
def test_an_initialisation_from_the_store_is_of_the_same_draws(method, place, source):
    rows = {"p": (3, 2), "trained": (3, 0), "one": (3, 0), "other": (3, 2)}
    settings = Settings(pretrain=PretrainConfig(method=method))
    assert (first(source(settings, rows, ("trained", "one", "other"))) == place).all()


def test_a_layer_that_goes_on_from_a_checkpoint_has_no_fresh_draw(source):
    settings = Settings(pretrain=PretrainConfig(encoder_init="weights"), finetune=FinetuneConfig(weights="x.npz"))
    assert settings.goes_on
    assert look_at_layer.changed(source(settings, {"p": (3, 0)}), "test_accuracy", [Arm({}, (3,), ("p",))]) == []

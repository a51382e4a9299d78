"""Layers of a user's own file: kept until it changes, and what a run says about them."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pretrain import data
from pretrain.config import SupervisedConfig
from pretrain.config.fields import ConfigError
from pretrain.learn.layers import fresh, shapes_of
from pretrain.plan import arrays, modules, own_layers
from tests.small_sweep import path

OWN = """
import flax.linen as nn
import jax
from flax import nnx


class Dense(nn.Module):
    act: object = nn.relu

    @nn.compact
    def __call__(self, x):
        return self.act(nn.Dense(8)(x.reshape(len(x), -1)))


class ByTrain(Dense):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dropout(0.3, deterministic=not train)(super().__call__(x))


class ByField(Dense):
    deterministic: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.3, deterministic=self.deterministic)(super().__call__(x))


class Idle(Dense):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return super().__call__(x)


class Same(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(4, (3, 3))(x)


class Mirrored(Same):
    def decoder(self, shape):
        return nn.Conv(shape[-1], (3, 3))


class Flat(nn.Module):
    def __call__(self, x):
        return x.reshape(len(x), -1)


class Nnx(nnx.Module):
    def __init__(self, width, rngs):
        self.inner = nnx.Linear(36, width, rngs=rngs)

    def __call__(self, x):
        return nnx.relu(self.inner(x.reshape(len(x), -1)))


class Units(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(3)(nn.relu(nn.Dense(5)(x))))


class Mixing(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(x + x.mean(axis=(1, 2), keepdims=True))


class OneByOne(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Conv(3, (1, 1))(x)


def units(): return Units()
def above(): return Mixing(), Units()
def mixing(): return Mixing()
def one_by_one(): return OneByOne()
def by_train(): return ByTrain()
def by_field(): return ByField()
def idle(): return Idle(), nn.Sequential([Dense(), nn.Dropout(0.5, deterministic=True)])
def closed(): return Dense(lambda x: nn.relu(x)), Dense(jax.nn.tanh)
def same(): return Same()
def mirrored(): return Mirrored()
def flat(): return Flat()
def nnx_module(): return [Nnx(5, rngs=nnx.Rngs(0))]
def nnx_class(): return Nnx
def bridged(): return nnx.bridge.to_linen(Nnx, 5)
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The path of a file of layers."""
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(OWN)
    return path


@pytest.fixture
def found(file, experiment):
    """A function that returns the findings about layers, by kind."""

    def find(*functions, **settings):
        layers = tuple(each if isinstance(each, int) else f"{file}:{each}" for each in functions)
        point = experiment(encoder={"layers": layers}, **settings).points[0].settings
        dataset = data.load_all(experiment())[point.finetuning_data]
        return {finding.kind: finding for finding in own_layers.findings(point, dataset)}

    return find


def test_dropout_that_a_field_turns_off_is_one_line(found):
    finding = found("by_field")["dropout that is off"]
    assert "deterministic=True" in str(finding) and "layer 0, By" in str(finding) and finding.severity == "note"
    assert len(str(finding).splitlines()) == 1 and "train: bool = False" in finding.remedy


def test_modules_without_dropout_or_with_it_in_training_have_no_line(found):
    assert found("by_train") == found("idle") == found(12, "closed") == found(12, 6) == {}


def test_a_map_far_larger_than_its_layer_is_named(found):
    finding = found("same")["decoder far larger than its layer"]
    # [6, 6, 1] by 3 x 3 to four features, and back by a map of 144 codes.
    assert dict(finding.figures) == {"parameters": 40, "decoder": 145 * 36}
    assert found("mirrored") == {} and not found("same", sweep=({"finetune.encoder_init": ("he",)},))
    assert not found("same", pretrain={"method": SupervisedConfig()})


def test_units_on_the_last_axis_alone_are_one_line(found):
    kind = "layer of the last axis alone"
    finding = found("units")[kind]
    assert "layer 0, Units, maps the last axis of 6 × 6 × 1 alone" in str(finding) and finding.severity == "note"
    assert "its codes are 6 × 6 × 3" in str(finding) and finding.remedy
    assert "layer 1, Units, maps the last axis of 6 × 6 × 3 alone" in str(found("above")[kind])
    for other in ("mixing", "one_by_one", "same", "idle"):  # of other positions, of a window, of whole rows
        assert kind not in found(other)
    assert kind not in found(12, "units")  # whose codes have one axis


def test_functions_in_fields_make_one_stage(file, planned):
    rates = (0.001, 0.003, 0.01, 0.03, 0.1)
    plans = planned(encoder={"layers": (f"{file}:closed",)}, sweep=({"finetune.optimizer.learning_rate": rates},))
    assert len(plans.trials) == 5 and len({job.stage for job in plans.jobs.values()}) == 3
    assert len({id(job.stage.stack.layers[0].act) for job in plans.jobs.values()}) == 1


def test_layers_are_kept_until_their_file_changes(file, tmp_path, experiment):
    path = tmp_path / "mine.py"
    path.write_text(OWN)
    point = experiment(encoder={"layers": (f"{path}:closed",)}).points[0].settings
    first, again = (modules.build(point).layers for _ in range(2))
    assert first == again and first[0].act is again[0].act
    path.write_text(OWN.replace("Dense(8)", "Dense(9)"))
    os.utime(path, ns=(1, 1))
    (other, _), (old, _) = modules.build(point).layers, first
    assert [shapes_of((layer,), (6,))[0].outputs for layer in (old, other)] == [(8,), (9,)]


def test_an_encoder_without_parameters_cannot_be_pretrained(file, planned):
    with pytest.raises(ConfigError, match=r"mine.py:flat' has no parameters, so that nothing can be pretrained"):
        planned(encoder={"layers": (f"{file}:flat",)})
    assert planned(encoder={"layers": (f"{file}:flat",)}, sweep=({"finetune.encoder_init": ("he",)},)).jobs


def test_a_layer_above_one_without_parameters_inherits_what_there_is(file, planned):
    first, second, last = (job.stage for job in path(planned(encoder={"layers": (f"{file}:flat", 5)})))
    assert not first.shapes["encoder"]["layers_0"]
    assert second.inherits == ("decoder",) and last.inherits == ("encoder",)
    kept = {"decoder": first.shapes["decoder"]}  # a store keeps no empty dictionaries
    assert arrays.inherited(second, kept) == kept


@pytest.mark.parametrize("function", ["nnx_module", "nnx_class"])
def test_nnx_modules_are_refused_with_the_bridge(function, file, planned):
    with pytest.raises(ConfigError) as error:
        planned(encoder={"layers": (f"{file}:{function}",)})
    assert "nnx.bridge.to_linen(Nnx, ...)" in str(error.value) and len(str(error.value).splitlines()) == 1


def test_bridged_nnx_modules_are_layers(file, planned):
    (pretraining, finetuning) = path(planned(encoder={"layers": (f"{file}:bridged",)}))
    (layer,) = pretraining.stage.stack.layers
    params = fresh(layer, (6, 6, 1), jax.random.key(0))
    inputs = np.random.default_rng(0).normal(size=(3, 6, 6, 1)).astype(np.float32)
    kernel, bias = params["inner"]["kernel"], params["inner"]["bias"]
    expected = np.maximum(inputs.reshape(3, 36) @ np.asarray(kernel) + np.asarray(bias), 0)
    np.testing.assert_allclose(layer.apply({"params": params}, jnp.asarray(inputs)), expected, rtol=1e-5, atol=1e-6)
    assert kernel.shape == (36, 5) and finetuning.stage.shapes["encoder"]["layers_0"]["inner"].keys() == {
        "kernel",
        "bias",
    }

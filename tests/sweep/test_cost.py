"""What a stage costs is counted as the compiler counts it, and as one counts it by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from pretrain.config import FinetuneConfig, ObjectiveConfig, PretrainConfig
from pretrain.config.fields import split_traced
from pretrain.sweep import cost
from tests import stages

SEED = (784, (300, 150), "elu")


def phase(depth, **changes):
    config = split_traced(PretrainConfig(**changes))[0]
    return stages.phase(config, 784, (300, 150)[: depth + 1], "elu", 55_000)


def finetune(**changes):
    return stages.finetune(split_traced(FinetuneConfig(**changes))[0], *SEED, 10)


def test_a_step_of_the_seeds_first_phase_is_353_mflop():
    # As measured while the project was planned.
    updates = cost.flops(phase(0), 0, 0)
    assert updates / phase(0).total_steps == pytest.approx(353e6, rel=1e-3)


def test_what_one_update_more_costs_is_what_the_compiler_counts():
    def forward_and_backward(kernels, images):
        def loss(kernels):
            codes = images @ kernels[0]
            return jnp.sum((codes @ kernels[1] - images) ** 2)

        return jax.grad(loss)(kernels)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((784, 300), (300, 784), (150, 784))]
    analysis = jax.jit(forward_and_backward).lower(shapes[:2], shapes[2]).compile().cost_analysis()
    assert analysis["flops"] == pytest.approx(cost.flops(phase(0), 0, 0) / phase(0).total_steps, rel=0.01)


def test_frozen_layers_cost_nothing_in_a_step_once_their_codes_are_cached():
    layers, head = 2 * (784 * 300 + 300 * 150), 2 * 150 * 10
    frozen = finetune(frozen_layers=2)
    examples = frozen.config.batch_size * frozen.total_steps
    # Forward before and after the update, and one backward product: nothing below the head is trained.
    assert cost.flops(frozen, 0, 0) == 2000 * layers + examples * 3 * head
    live = finetune(frozen_layers=2, cache_codes=False)
    assert cost.flops(live, 0, 0) == examples * (2 * layers + 3 * head)


def test_validation_and_test_images_are_counted():
    layers, head = 2 * (784 * 300 + 300 * 150), 2 * 150 * 10
    stage = finetune()
    # After updates 1, 2, 5, 10, 20, 40, 80, 120 and 160.
    assert cost.flops(stage, 1000, 0) - cost.flops(stage, 0, 0) == 9 * 1000 * (layers + head)
    assert cost.flops(stage, 0, 1000) - cost.flops(stage, 0, 0) == 1000 * (layers + head)


LAYER, ABOVE = 2 * 784 * 300, 2 * 300 * 150  # FLOP of a forward pass, an example


def update(stage):
    """FLOP of an update, an example of its batch."""
    examples = stage.config.batch_size * stage.total_steps
    return cost.flops(stage, 0, 0) / examples


def kind(depth, name, **settings):
    objective = ObjectiveConfig(kind=name, **settings)
    config = split_traced(PretrainConfig(objective=objective, cache_codes=False))[0]
    n_classes = 10 if name == "supervised" else 0
    return stages.phase(config, 784, (300, 150)[: depth + 1], "sigmoid", 55_000, n_classes=n_classes)


def test_training_all_layers_at_once_costs_their_products_both_ways():
    config = split_traced(PretrainConfig())[0]
    whole = stages.phase(config, 784, (300, 150), "elu", 55_000, frozen_layers=0)
    forward = 2 * (LAYER + ABOVE)  # up and down
    assert update(whole) == forward + 2 * forward - LAYER  # no gradient of the images
    # The lower layers no longer cost nothing above them, and there is nothing to cache.
    assert update(whole) > update(phase(1)) and whole.encoded == 0
    assert cost.job_memory(whole) > cost.n_parameters(whole) * 4


def test_each_step_of_a_machines_chain_costs_a_pass_up_and_one_down():
    one, five = kind(0, "rbm"), kind(0, "rbm", gibbs_steps=5)
    assert update(five) - update(one) == 4 * 2 * LAYER
    assert update(one) > 2 * LAYER


def test_a_phase_on_labels_costs_what_its_labels_do_and_components_one_look():
    few, many = (dataclasses.replace(kind(0, "supervised"), n_examples=n) for n in (1500, 15_000))
    assert cost.flops(many, 0, 0) == 10 * cost.flops(few, 0, 0) > 0
    assert cost.job_memory(many) - cost.job_memory(few) == 784 * 13_500 + 4 * 4 * (many.total_steps - few.total_steps)
    components = kind(0, "pca")
    assert components.total_steps == 1
    assert 0 < cost.flops(components, 0, 0) < cost.flops(kind(0, "reconstruction"), 0, 0) / 5


def test_parameters_of_each_kind_are_those_that_are_handed_on():
    kernel, units, pixels = 784 * 300, 300, 784
    counted = {
        ("reconstruction",): 2 * kernel + units + pixels,
        ("rbm",): kernel + units + pixels,
        ("rbm", "gaussian"): kernel + units + pixels + 1,  # the variance
        ("pca",): kernel + units + pixels,
        ("supervised",): kernel + units + 300 * 10 + 10,
    }
    for (name, *visible), expected in counted.items():
        stage = kind(0, name, **({"visible": visible[0]} if visible else {}))
        assert cost.n_parameters(stage) == expected, name
    variational = kind(0, "reconstruction", variational=True)
    assert cost.n_parameters(variational) == counted["reconstruction",] + kernel + units


@pytest.mark.parametrize("name", ["ridge", "logistic", "knn"])
def test_a_read_out_costs_its_fit_and_far_less_than_training(name):
    def readout(labels):
        config = split_traced(FinetuneConfig(readout=name, labels=labels))[0]
        return stages.readout(config, *SEED, 10)

    few, many = readout(1000), readout(2000)
    layers = LAYER + ABOVE
    assert cost.n_parameters(few) == 784 * 300 + 300 + 300 * 150 + 150 + 1510
    encoding = 1000 * layers
    assert cost.flops(many, 5000, 10_000) > cost.flops(few, 5000, 10_000) + encoding
    assert cost.flops(few, 5000, 10_000) > 16_000 * layers  # all images are encoded once
    assert cost.flops(many, 5000, 10_000) < cost.flops(finetune(epochs=40), 5000, 10_000)
    assert cost.job_memory(many) - cost.job_memory(few) >= 1000 * 150 * 4


def test_the_rate_of_this_machine_is_that_of_a_machine():
    assert 1e8 < cost.flop_rate() < 1e16

"""What a stage costs is counted as the compiler counts it, and as one counts its products by hand.

By hand, matrix products alone are counted; the compiler counts what is done element by element, too: a few per cent.
"""

import jax
import jax.numpy as jnp
import pytest

from pretrain.config import AutoencoderConfig, FinetuneConfig, PcaConfig, PretrainConfig, RbmConfig, SupervisedConfig
from pretrain.learn.attention import Attention, Patches
from pretrain.learn.layers import Convolution
from pretrain.learn.metrics import Batch, Splits
from pretrain.learn.program import program_of
from pretrain.plan import arrays, cost
from tests.learn import conftest as stages

PIXELS, UNITS, CLASSES, IMAGES = 784, (300, 150), 10, 55_000  # of the seed
LAYER, ABOVE, HEAD = 2 * 784 * 300, 2 * 300 * 150, 2 * 150 * 10  # FLOP of a forward pass, an example


def pretraining(depth=0, activation="elu", start=None, **changes):
    layers = stages.dense(UNITS[: depth + 1], activation)
    n_examples = changes.pop("n_examples", IMAGES)
    return stages.pretraining(PretrainConfig(**changes), (PIXELS,), layers, n_examples, CLASSES, start)


def program(made, n_validation, n_test, n_train=IMAGES):
    """The program of a stage on so many examples, after the greedy stage below where it is one of the second layer."""
    stage, config = made
    stack = stage.stack

    def split(size):
        labels = jax.ShapeDtypeStruct((size,), jnp.int32) if "labels" in stage.reads else None
        return Batch(jax.ShapeDtypeStruct((size, *stack.example), jnp.uint8), labels)

    parent = pretraining()[0].shapes if stack.head is None and stack.start else None
    examples = Splits(split(n_train), split(n_validation), split(n_test))
    return program_of(stage, config, arrays.inherited(stage, parent), examples)


def of_method(config, **changes):
    """A stage of the lowest layer, by a method."""
    return pretraining(activation="sigmoid", method=config, cache_codes=False, **changes)


def finetune(**changes):
    return stages.last(FinetuneConfig(**changes), (PIXELS,), stages.dense(UNITS, "elu"), CLASSES)


def flops(stage_and_config, n_validation=1, n_test=1):
    return cost.flops(program(stage_and_config, n_validation, n_test))


def memory(stage_and_config):
    return cost.job_memory(program(stage_and_config, 1, 1))


def n_parameters(stage_and_config):
    return cost.n_parameters(program(stage_and_config, 1, 1))


def test_stages_that_differ_in_numbers_are_counted_once(monkeypatch):
    (stage, config), (other, changed) = finetune(labels=90), finetune(labels=90, l2=0.5)
    assert stage == other and config != changed
    expected = flops((stage, config), 1, 10)
    monkeypatch.setattr(cost, "_counted", None)
    assert flops((other, changed), 1, 10) == expected > 0


def update(stage_and_config):
    """FLOP of an update, an example of its batch."""
    stage, _ = stage_and_config
    return flops(stage_and_config) / (stage.rows.batch_size * stage.n_updates)


def test_a_step_of_the_seeds_first_stage_is_353_mflop():
    # As measured while the project was planned.
    first = pretraining()
    assert flops(first) / first[0].n_updates == pytest.approx(353e6, rel=0.03)


def test_what_one_update_more_costs_is_what_the_compiler_counts():
    def forward_and_backward(kernels, images):
        def loss(kernels):
            codes = images @ kernels[0]
            return jnp.sum((codes @ kernels[1] - images) ** 2)

        return jax.grad(loss)(kernels)

    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((784, 300), (300, 784), (150, 784))]
    analysis = jax.jit(forward_and_backward).lower(shapes[:2], shapes[2]).compile().cost_analysis()
    first = pretraining()
    assert analysis["flops"] == pytest.approx(flops(first) / first[0].n_updates, rel=0.03)
    longer = pretraining(epochs=5)
    more = longer[0].n_updates - first[0].n_updates
    assert analysis["flops"] == pytest.approx((flops(longer) - flops(first)) / more, rel=0.03)


def test_frozen_layers_cost_nothing_in_a_step_once_their_codes_are_cached():
    layers = LAYER + ABOVE
    once, twice = (finetune(frozen_layers=2, epochs=epochs) for epochs in (4, 8))
    # Forward before and after the update, and one backward product: nothing below the head is trained.
    examples = once[0].rows.batch_size * once[0].n_updates
    heads = flops(twice) - flops(once)
    assert heads == pytest.approx(examples * 3 * HEAD, rel=0.2)  # so little that Adam's share of it shows
    assert flops(once) - heads == pytest.approx(2000 * layers, rel=0.02)
    live = finetune(frozen_layers=2, cache_codes=False)
    assert flops(live) == pytest.approx(examples * (2 * layers + 3 * HEAD), rel=0.02)


def test_validation_and_test_images_are_counted():
    layers, stage = LAYER + ABOVE, finetune()
    # After updates 1, 2, 5, 10, 20, 40, 80, 120 and 160; and twice for results, before XLA merges the two.
    assert flops(stage, 1001) - flops(stage) == pytest.approx((9 + 2) * 1000 * (layers + HEAD), rel=0.02)
    assert flops(stage, 1, 1001) - flops(stage) == pytest.approx(2 * 1000 * (layers + HEAD), rel=0.02)


def test_training_all_layers_at_once_costs_their_products_both_ways():
    whole = pretraining(1, start=0)
    forward = 2 * (LAYER + ABOVE)  # up and down
    assert update(whole) == pytest.approx(forward + 2 * forward - LAYER, rel=0.03)  # no gradient of the images
    # The lower layers no longer cost nothing above them, and there is nothing to cache.
    assert update(whole) > update(pretraining(1)) and whole[0].stack.encoded == 0
    assert memory(whole) > n_parameters(whole) * 4


def test_an_update_of_a_machine_costs_its_passes_and_a_longer_chain_is_estimated_no_dearer():
    # Up and down to measure it and for the chain; up for both free energies, and a gradient of each.
    one, five = (update(of_method(RbmConfig(gibbs_steps=steps))) for steps in (1, 5))
    assert one == pytest.approx((2 + 2 + 2 + 2) * LAYER, rel=0.03)
    assert five == pytest.approx(one, rel=0.01)  # the compiler counts the body of a loop once


def test_a_stage_on_labels_costs_what_its_labels_do_and_components_one_look():
    few, many = (of_method(SupervisedConfig(), n_examples=n) for n in (1500, 15_000))
    assert flops(many) == pytest.approx(10 * flops(few), rel=1e-3)
    curves = 4 * 4 * 4 * (many[0].n_updates - few[0].n_updates)  # carried and returned, and twice on the host
    assert memory(many) - memory(few) == (784 + 4) * 13_500 + curves
    components = of_method(PcaConfig())
    assert components[0].n_updates == 0
    assert 0 < flops(components) < flops(of_method(AutoencoderConfig())) / 5


def test_parameters_of_each_method_are_those_that_are_handed_on():
    kernel, units, pixels = 784 * 300, 300, 784
    counted = {
        AutoencoderConfig(): 2 * kernel + units + pixels,
        AutoencoderConfig(tied=True): kernel + units + pixels,
        AutoencoderConfig(variational=True): 3 * kernel + 2 * units + pixels,
        RbmConfig(): kernel + units + pixels,
        RbmConfig(visible="gaussian"): kernel + units + pixels + 1,  # the variance
        PcaConfig(): kernel + units + pixels,
        SupervisedConfig(): kernel + units + 300 * 10 + 10,
    }
    for method, expected in counted.items():
        assert n_parameters(of_method(method)) == expected, method


def test_parameters_are_counted_as_the_seed_has_them():
    encoder = 784 * 300 + 300 + 300 * 150 + 150
    assert n_parameters(finetune()) == encoder + 1510
    assert n_parameters(pretraining(1)) == encoder + 300 * 784 + 784 + 150 * 300 + 300


def test_the_seeds_cached_codes_are_counted_as_memory():
    cached, encoded_each_time = (memory(pretraining(1, cache_codes=cached)) for cached in (True, False))
    assert cached - encoded_each_time == 4 * 300 * (IMAGES + 1)  # of one validation example
    assert 66e6 < cached < 120e6


def test_a_convolution_costs_its_windows():
    layers = (Convolution(8, 5, 2, "relu"),)
    convolution = stages.pretraining(PretrainConfig(), (28, 28, 1), layers, IMAGES)
    assert n_parameters(convolution) == 25 * 8 + 8 + 25 * 8 + 1
    up, down = 2 * 25 * 8 * 14**2, 2 * 25 * 8 * 28**2  # the decoder reads codes that are repeated
    n_measured = 1000 * (convolution[0].n_validations + 1)  # epoch by epoch, and in the end
    measured = (flops(convolution, 1001) - flops(convolution)) / n_measured
    assert measured == pytest.approx(up + down, rel=0.1)
    assert update(convolution) == pytest.approx(up + down + up + 2 * down, rel=0.2)


# A head, or the rows of labelled examples and how many of them vote.
@pytest.mark.parametrize(("name", "n_above"), [("ridge", 1510), ("logistic", 1510), ("knn", 1001)])
def test_a_read_out_costs_its_fit_and_far_less_than_training(name, n_above):
    few, many = (finetune(readout=name, labels=labels) for labels in (1000, 2000))
    layers = LAYER + ABOVE
    assert n_parameters(few) == 784 * 300 + 300 + 300 * 150 + 150 + n_above
    assert flops(many, 5000, 10_000) > flops(few, 5000, 10_000) + 1000 * layers
    assert flops(few, 5000, 10_000) > 16_000 * layers  # all images are encoded once
    assert flops(many, 5000, 10_000) < flops(finetune(epochs=40), 5000, 10_000)


def test_what_is_diagnosed_or_matched_is_not_counted():
    plain, extended = finetune(), finetune(diagnose_at=(1, 2), first_logit_change=0.5)
    assert flops(extended) == flops(plain)


def test_the_rate_of_this_machine_is_that_of_a_machine():
    assert 1e8 < cost.flop_rate() < 1e16


def test_attention_takes_the_time_of_its_exponentials_besides_its_products():
    layers = (Patches(8, 7), Attention(2))
    stage, config = stages.pretraining(PretrainConfig(training="end_to_end"), (28, 28, 1), layers, 1000, CLASSES, 0)
    attending = program((stage, config), 1, 1, 1000)
    plain, exponentials = cost._operations(attending)
    # Of 16 tokens: two heads' softmax and a GELU of 4 x 8 units, an error function, whose slope is an exponential.
    wanted = stage.n_updates * stage.rows.batch_size * 16 * (2 * 16 + 2 * 32)
    assert wanted <= exponentials < 1.3 * wanted
    assert cost.seconds(attending, 1e9) == pytest.approx((plain + cost._TRANSCENDENTAL * exponentials) / 1e9)
    dense = program(pretraining(), 1, 1)
    assert cost.seconds(dense, 1e9) == cost.flops(dense) / 1e9

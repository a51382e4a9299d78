"""What a stage costs is counted as the compiler counts it, and as one counts it by hand."""

import jax
import jax.numpy as jnp
import pytest

from pretrain.config import FinetuneConfig, PretrainConfig
from pretrain.fields import split_traced
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


def test_the_rate_of_this_machine_is_that_of_a_machine():
    assert 1e8 < cost.flop_rate() < 1e16

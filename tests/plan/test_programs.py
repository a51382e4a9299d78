"""Pieces of programs are shared by stages that differ in what a piece does not read."""

import pytest

from tests.small_sweep import path

STARTS = {
    "finetune.encoder_init": ("pretrained", "he", "matched"),
    "finetune.codes": ("raw", "standardised"),
    "finetune.head_init": ("random", "zero"),
    "finetune.label_subset": ("first", "random"),
    "finetune.fresh_layers": (0, 1),
}
PIECES = ("init", "loop", "update", "finish")


def shared(planned, name, values):
    """Which pieces of the last stages of some arms are the same."""
    plan = planned(sweep=({name: values},))
    assert len(plan.trials) == len(values)
    first, *others = (path(plan, trial)[-1].traced for trial in range(len(values)))
    return [piece for piece in PIECES if all(getattr(each, piece) == getattr(first, piece) for each in others)]


@pytest.mark.parametrize("name", STARTS)
def test_arms_with_different_starts_share_their_updates_and_results(name, planned):
    assert shared(planned, name, STARTS[name]) == ["loop", "update", "finish"]


@pytest.mark.parametrize(
    ("name", "values", "pieces"),
    [
        ("finetune.frozen_layers", ("all", 0), ["finish"]),
        ("finetune.readout", ("ridge", "logistic"), []),
        ("finetune.epochs", (1, 2), ["finish"]),
        ("finetune.codes", ("raw", "whitened"), []),
        ("finetune.l2", (0.0, 0.1), PIECES),
    ],
)
def test_results_are_shared_by_what_differs_in_training_alone(name, values, pieces, planned):
    assert shared(planned, name, values) == [*pieces]
